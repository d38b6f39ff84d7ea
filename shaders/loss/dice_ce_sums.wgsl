// Sums of the softmax cross entropy and soft Dice loss over some voxels of one sample: per class
// sum p t, sum p, sum t, hard true positives, hard predictions; and the cross entropy's sum with
// the number of ignored voxels (label 255), which take part in nothing else.
//
// logits: channel blocks in a buffer, {{ CLASSES }} classes in {{ BLOCKS }} blocks. labels: u32 [n][voxel].
// partial: vec4 [n][chunk][block][6]. A workgroup: one chunk of 2048 voxels, 64 apart for an
// invocation, then their sums added (loss/add_lanes). Few blocks only: the sums are kept in registers
// (loss/blocks_sums takes many). Bytes: 16 BLOCKS + 4 a voxel. For every device.
struct Params {
    voxels: u32, base: u32, stride: u32, first_sample: u32,
    chunks: u32, total: u32, first_label: u32, pad: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;
const CLASS_IDS = vec4<u32>(0u, 1u, 2u, 3u);
{% set SLOTS = 6 * BLOCKS %}
{% include "loss/add_lanes" %}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let number = group.y * 32768u + group.x;
    if number >= p.total {
        return;
    }
    let n = number / p.chunks;
    let chunk = number % p.chunks;
    var ce = 0.0;
    var ignored = 0.0;
{% for b in range(BLOCKS) %}
    var tp{{ b }} = vec4(0.0);
    var sp{{ b }} = vec4(0.0);
    var st{{ b }} = vec4(0.0);
    var htp{{ b }} = vec4(0.0);
    var hp{{ b }} = vec4(0.0);
{% endfor %}
    for (var k = 0u; k < 32u; k++) {
        let v = chunk * 2048u + k * 64u + local;
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
        best = select(0xffffffffu, best, counts);
        ce += select(0.0, top + log(sum) - own, counts);
        ignored += select(1.0, 0.0, counts);
        // An ignored voxel has no probabilities.
        let inverse = select(0.0, 1.0 / sum, counts);
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
{% for b in range(BLOCKS) %}
    sh_sum[{{ b * 6 * 64 }}u + local] = tp{{ b }};
    sh_sum[{{ (b * 6 + 1) * 64 }}u + local] = sp{{ b }};
    sh_sum[{{ (b * 6 + 2) * 64 }}u + local] = st{{ b }};
    sh_sum[{{ (b * 6 + 3) * 64 }}u + local] = htp{{ b }};
    sh_sum[{{ (b * 6 + 4) * 64 }}u + local] = hp{{ b }};
    sh_sum[{{ (b * 6 + 5) * 64 }}u + local] = {% if b == 0 %}vec4(ce, ignored, 0.0, 0.0){% else %}vec4(0.0){% endif %};
{% endfor %}
    let sum = add_lanes(local);
    if local < {{ SLOTS }}u {
        partial[((p.first_sample + n) * p.chunks + chunk) * {{ SLOTS }}u + local] = sum;
    }
}
