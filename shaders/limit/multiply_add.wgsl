// The device's multiply-add limit, for benches: 12 independent chains a = a m + c, 16 multiply-adds
// each a turn, no memory but one store at the end.
//
// out: f32, one an invocation. FLOPs: 2 * 12 * 16 a turn and invocation. For every device. One
// multiply-add a chain and turn measures the loop instead; 16 chains and more spill on llvmpipe.
struct Params { turns: u32, factor: f32, term: f32, pad: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let factor = p.factor;
    let term = p.term;
{% for c in range(12) %}
    var a{{ c }} = f32(local + {{ c }}u);
{% endfor %}
    for (var turn = 0u; turn < p.turns; turn++) {
{% for k in range(16) %}
{% for c in range(12) %}
        a{{ c }} = fma(a{{ c }}, factor, term);
{% endfor %}
{% endfor %}
    }
    out[group.x * 64u + local] = a0{% for c in range(1, 12) %} + a{{ c }}{% endfor %};
}
