// Sums of the softmax cross entropy and soft Dice loss over some voxels of one sample: per class
// sum p t, sum p, sum t, hard true positives, hard predictions; and the cross entropy's sum.
//
// logits: channel blocks in a buffer, {{ CLASSES }} classes in {{ BLOCKS }} blocks. target: u32 [n][voxel].
// partial: vec4 [n][invocation][5 BLOCKS + 1]. An invocation takes 32 voxels, 64 apart.
// Bytes: 16 BLOCKS + 4 a voxel. For every device.
struct Params {
    voxels: u32, base: u32, stride: u32, first_sample: u32,
    invocations: u32, total: u32, pad0: u32, pad1: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;
const CLASS_IDS = vec4<u32>(0u, 1u, 2u, 3u);

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 32768u + group.x) * 64u + local;
    if i >= p.total {
        return;
    }
    let n = i / p.invocations;
    let mine = i % p.invocations;
    var ce = 0.0;
{% for b in range(BLOCKS) %}
    var tp{{ b }} = vec4(0.0);
    var sp{{ b }} = vec4(0.0);
    var st{{ b }} = vec4(0.0);
    var htp{{ b }} = vec4(0.0);
    var hp{{ b }} = vec4(0.0);
{% endfor %}
    for (var k = 0u; k < 32u; k++) {
        let v = mine / 64u * 2048u + k * 64u + mine % 64u;
        if v >= p.voxels {
            break;
        }
{% include "loss/softmax" %}
        var own = 0.0;
        var best = 0xffffffffu;
{% for b in range(BLOCKS) %}
        let t{{ b }} = select(vec4(0.0), vec4(1.0), CLASS_IDS + {{ b * 4 }}u == vec4(label));
        own += dot(select(vec4(0.0), l{{ b }}, t{{ b }} > vec4(0.0)), vec4(1.0));
{% for c in range(4) %}
        if best == 0xffffffffu && l{{ b }}[{{ c }}] == top { best = {{ b * 4 + c }}u; }
{% endfor %}
{% endfor %}
        ce += top + log(sum) - own;
        let inverse = 1.0 / sum;
{% for b in range(BLOCKS) %}
        let q{{ b }} = e{{ b }} * inverse;
        tp{{ b }} += q{{ b }} * t{{ b }};
        sp{{ b }} += q{{ b }};
        st{{ b }} += t{{ b }};
        let h{{ b }} = select(vec4(0.0), vec4(1.0), CLASS_IDS + {{ b * 4 }}u == vec4(best));
        htp{{ b }} += h{{ b }} * t{{ b }};
        hp{{ b }} += h{{ b }};
{% endfor %}
    }
    let out = ((p.first_sample + n) * p.invocations + mine) * {{ 5 * BLOCKS + 1 }}u;
{% for b in range(BLOCKS) %}
    partial[out + {{ 5 * b }}u] = tp{{ b }};
    partial[out + {{ 5 * b + 1 }}u] = sp{{ b }};
    partial[out + {{ 5 * b + 2 }}u] = st{{ b }};
    partial[out + {{ 5 * b + 3 }}u] = htp{{ b }};
    partial[out + {{ 5 * b + 4 }}u] = hp{{ b }};
{% endfor %}
    partial[out + {{ 5 * BLOCKS }}u] = vec4(ce, 0.0, 0.0, 0.0);
}
