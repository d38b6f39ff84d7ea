// dlogits = weight (p_c (g_c - sum_k p_k g_k) + (p_c - t_c) / (N V)), g_c = A_c t_c + B_c.
//
// logits: channel blocks in a buffer. coefficients: f32 [n][class][2]. dlogits: channel blocks,
// buffer or texture. One invocation: one voxel. Bytes: 32 BLOCKS + 4. For every device.
struct Params {
    voxels: u32, base: u32, stride: u32, first_sample: u32,
    out_base: u32, out_stride: u32, total: u32, weight: f32,
    d: u32, h: u32, w: u32, inverse_count: f32,
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
    let v = i % p.voxels;
    let n = i / p.voxels;
    let label = labels[(p.first_sample + n) * p.voxels + v];
    var top = -3.4e38;
{% for b in range(BLOCKS) %}
    let valid{{ b }} = CLASS_IDS + {{ b * 4 }}u < vec4({{ CLASSES }}u);
    let l{{ b }} = select(vec4(-3.4e38), logits[(p.base + n * p.stride + {{ b }}u) * p.voxels + v], valid{{ b }});
    top = max(top, max(max(l{{ b }}.x, l{{ b }}.y), max(l{{ b }}.z, l{{ b }}.w)));
{% endfor %}
    var sum = 0.0;
{% for b in range(BLOCKS) %}
    let e{{ b }} = select(vec4(0.0), exp(l{{ b }} - top), valid{{ b }});
    sum += e{{ b }}.x + e{{ b }}.y + e{{ b }}.z + e{{ b }}.w;
{% endfor %}
    let inverse = 1.0 / sum;
    var mean = 0.0;
{% for b in range(BLOCKS) %}
    let q{{ b }} = e{{ b }} * inverse;
    let t{{ b }} = select(vec4(0.0), vec4(1.0), CLASS_IDS + {{ b * 4 }}u == vec4(label));
    let g{{ b }} = coefficient(p.first_sample + n, {{ b }}u, 0u) * t{{ b }} + coefficient(p.first_sample + n, {{ b }}u, 1u);
    mean += dot(q{{ b }}, g{{ b }});
{% endfor %}
{% for b in range(BLOCKS) %}
    let r{{ b }} = p.weight * (q{{ b }} * (g{{ b }} - mean) + (q{{ b }} - t{{ b }}) * p.inverse_count);
    let at{{ b }} = p.out_base + n * p.out_stride + {{ b }}u;
{% if TEXTURE == 1 %}
    textureStore(dlogits, vec3(i32(v % p.w), i32(v / p.w % p.h), i32(at{{ b }} * p.d + v / (p.w * p.h))), r{{ b }});
{% else %}
    dlogits[at{{ b }} * p.voxels + v] = r{{ b }};
{% endif %}
{% endfor %}
}
