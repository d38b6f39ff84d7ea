// dlogits = weight (p_c (g_c - sum_k p_k g_k) + (p_c - t_c) / (N V)), g_c = A_c t_c + B_c.
//
// logits: channel blocks in a buffer. coefficients: f32 [n][class][2]. dlogits: channel blocks, buffer with
// rows out_pitch apart, or texture. An invocation takes 32 voxels of a sample, 64 apart: coefficients cost as
// much as a voxel. Bytes: 32 BLOCKS + 4 a voxel. For every device.
struct Params {
    voxels: u32, base: u32, stride: u32, first_sample: u32,
    out_base: u32, out_stride: u32, total: u32, weight: f32,
    d: u32, h: u32, w: u32, inverse_count: f32,
    invocations: u32, out_pitch: u32, pad0: u32, pad1: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> coefficients: array<f32>;
{% if TEXTURE == 1 %}
@group(0) @binding(4) var dlogits: texture_storage_3d<rgba32float, write>;
{% else %}
@group(0) @binding(4) var<storage, read_write> dlogits: array<vec4<f32>>;
{% endif %}
const CLASS_IDS = vec4<u32>(0u, 1u, 2u, 3u);

fn coefficient(n: u32, block: u32, kind: u32) -> vec4<f32> {
    var value = vec4(0.0);
    for (var i = 0u; i < 4u; i++) {
        let c = block * 4u + i;
        if c < {{ CLASSES }}u {
            value[i] = coefficients[(n * {{ CLASSES }}u + c) * 2u + kind];
        }
    }
    return value;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 32768u + group.x) * 64u + local;
    if i >= p.total {
        return;
    }
    let n = i / p.invocations;
    let mine = i % p.invocations;
{% for b in range(BLOCKS) %}
    let own{{ b }} = coefficient(p.first_sample + n, {{ b }}u, 0u);
    let all{{ b }} = coefficient(p.first_sample + n, {{ b }}u, 1u);
{% endfor %}
    for (var k = 0u; k < 32u; k++) {
        let v = mine / 64u * 2048u + k * 64u + mine % 64u;
        if v >= p.voxels {
            break;
        }
{% include "loss/softmax" %}
        let inverse = 1.0 / sum;
        var mean = 0.0;
{% for b in range(BLOCKS) %}
        let q{{ b }} = e{{ b }} * inverse;
        let t{{ b }} = select(vec4(0.0), vec4(1.0), CLASS_IDS + {{ b * 4 }}u == vec4(label));
        let g{{ b }} = own{{ b }} * t{{ b }} + all{{ b }};
        mean += dot(q{{ b }}, g{{ b }});
{% endfor %}
{% for b in range(BLOCKS) %}
        let r{{ b }} = p.weight * (q{{ b }} * (g{{ b }} - mean) + (q{{ b }} - t{{ b }}) * p.inverse_count);
        let at{{ b }} = p.out_base + n * p.out_stride + {{ b }}u;
{% if TEXTURE == 1 %}
        textureStore(dlogits, vec3(v % p.w, v / p.w % p.h, at{{ b }} * p.d + v / (p.w * p.h)), r{{ b }});
{% else %}
        dlogits[(at{{ b }} * (p.d * p.h) + v / p.w) * p.out_pitch + v % p.w] = r{{ b }};
{% endif %}
{% endfor %}
    }
}
