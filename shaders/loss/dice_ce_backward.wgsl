// dlogits = weight (p_c (g_c - sum_k p_k g_k) + (p_c - t_c) / M), g_c = A_c t_c + B_c, M = the voxels
// that count; 0 at ignored voxels (label 255).
//
// logits: channel blocks in a buffer. coefficients: vec4, as loss/dice_finish leaves them. dlogits:
// channel blocks, buffer with rows out_pitch apart, or texture. An invocation takes 32 voxels of a
// sample, 64 apart: coefficients cost as much as a voxel. Few blocks only (loss/blocks_backward takes
// many). Bytes: 32 BLOCKS + 4 a voxel. For every device.
struct Params {
    voxels: u32, base: u32, stride: u32, first_sample: u32,
    out_base: u32, out_stride: u32, total: u32, weight: f32,
    d: u32, h: u32, w: u32, chunks: u32,
    out_pitch: u32, first_label: u32, pad0: u32, pad1: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> coefficients: array<vec4<f32>>;
{% if TEXTURE == 1 %}
@group(0) @binding(4) var dlogits: texture_storage_3d<rgba32float, write>;
{% else %}
@group(0) @binding(4) var<storage, read_write> dlogits: array<vec4<f32>>;
{% endif %}
const CLASS_IDS = vec4<u32>(0u, 1u, 2u, 3u);

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let number = group.y * 32768u + group.x;
    if number >= p.total {
        return;
    }
    let n = number / p.chunks;
    let chunk = number % p.chunks;
    let inverse_count = coefficients[0].x;
    let first = 1u + (p.first_sample + n) * {{ 2 * BLOCKS }}u;
{% for b in range(BLOCKS) %}
    let own{{ b }} = coefficients[first + {{ 2 * b }}u];
    let all{{ b }} = coefficients[first + {{ 2 * b + 1 }}u];
{% endfor %}
    for (var k = 0u; k < 32u; k++) {
        let v = chunk * 2048u + k * 64u + local;
        if v >= p.voxels {
            break;
        }
{% include "loss/softmax" %}
        // An ignored voxel has no probabilities and no target, hence no gradient.
        let inverse = select(0.0, 1.0 / sum, counts);
        var mean = 0.0;
{% for b in range(BLOCKS) %}
        let q{{ b }} = e{{ b }} * inverse;
        let t{{ b }} = select(vec4(0.0), vec4(1.0), CLASS_IDS + {{ b * 4 }}u == vec4(label));
        let g{{ b }} = own{{ b }} * t{{ b }} + all{{ b }};
        mean += dot(q{{ b }}, g{{ b }});
{% endfor %}
{% for b in range(BLOCKS) %}
        let r{{ b }} = p.weight * (q{{ b }} * (g{{ b }} - mean) + (q{{ b }} - t{{ b }}) * inverse_count);
        let at{{ b }} = p.out_base + n * p.out_stride + {{ b }}u;
{% if TEXTURE == 1 %}
        textureStore(dlogits, vec3(v % p.w, v / p.w % p.h, at{{ b }} * p.d + v / (p.w * p.h)), r{{ b }});
{% else %}
        dlogits[(at{{ b }} * (p.d * p.h) + v / p.w) * p.out_pitch + v % p.w] = r{{ b }};
{% endif %}
{% endfor %}
    }
}
