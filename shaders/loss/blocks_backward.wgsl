// Gradient on some channel blocks of the logits of one sample, g_c = A_c t_c + B_c, M as loss/dice_finish
// says: softmax weight (p_c (g_c - sum_k p_k g_k) + (p_c - t_c) / M), the sum from the state;
// SIGMOID weight (p_c (1 - p_c) g_c + (p_c - t_c) / M). 0 at ignored voxels and in padding.
//
// coefficients: vec4, as loss/dice_finish leaves them. dlogits: channel blocks, buffer with rows out_pitch
// apart, or texture. One invocation: one voxel. Bytes: 32 a block, and 4 (softmax: 20) a voxel. For every
// device.
{% set UPDATES = 0 %}
{% include "loss/blocks_common" %}
@group(0) @binding({{ 4 - SIGMOID }}) var<storage, read> coefficients: array<vec4<f32>>;
{% if TEXTURE == 1 %}
@group(0) @binding({{ 5 - SIGMOID }}) var dlogits: texture_storage_3d<rgba32float, write>;
{% else %}
@group(0) @binding({{ 5 - SIGMOID }}) var<storage, read_write> dlogits: array<vec4<f32>>;
{% endif %}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let v = (group.y * 32768u + group.x) * 64u + local;
    if v >= p.voxels {
        return;
    }
    let label = labels[p.first_label + v];
    let inverse_count = coefficients[0].x;
{% if SIGMOID == 0 %}
    let s = state[v];
{% endif %}
    for (var b = 0u; b < p.blocks; b++) {
        let at = 1u + (p.sample * p.all_blocks + p.first_block + b) * 2u;
        let t = target_of(label, b);
        let g = coefficients[at] * t + coefficients[at + 1u];
        let l = logits[(p.base + b) * p.voxels + v];
{% if SIGMOID == 1 %}
        let q = probability(l);
        let r = p.weight * (q * (1.0 - q) * g + (q - t) * inverse_count);
{% else %}
        let q = probability(l, s);
        let r = p.weight * (q * (g - s.w) + (q - t) * inverse_count);
{% endif %}
        let taken = (channels_of(b) < vec4(p.classes)) & vec4(label != 255u);
        let value = select(vec4(0.0), r, taken);
        let block = p.out_base + b;
{% if TEXTURE == 1 %}
        textureStore(dlogits, vec3(v % p.w, v / p.w % p.h, block * p.d + v / (p.w * p.h)), value);
{% else %}
        dlogits[(block * (p.d * p.h) + v / p.w) * p.out_pitch + v % p.w] = value;
{% endif %}
    }
}
