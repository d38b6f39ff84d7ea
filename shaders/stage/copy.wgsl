// Copies channel blocks between a buffer and a texture (or two buffers).
//
// Buffer: vec4 (base + n * stride + block) * D*H*W + voxel. Texture: texel
// (w, h, (base + n * stride + block) * D + d). Rows of a target buffer are to_pitch apart. One
// invocation: one vec4; 32 bytes each.
// UNROLL > 0: channel c of the target is channel 0 of the source at w + c - UNROLL / 2, zero outside.
struct Params {
    w: u32, h: u32, d: u32, blocks: u32,
    total: u32, from_base: u32, from_stride: u32, to_base: u32,
    to_stride: u32, to_pitch: u32, pad0: u32, pad1: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
{% if FROM_TEXTURE == 1 %}
@group(0) @binding(1) var source: texture_storage_3d<rgba32float, read>;
{% else %}
@group(0) @binding(1) var<storage, read> source: array<vec4<f32>>;
{% endif %}
{% if TO_TEXTURE == 1 %}
@group(0) @binding(2) var target_: texture_storage_3d<rgba32float, write>;
{% else %}
@group(0) @binding(2) var<storage, read_write> target_: array<vec4<f32>>;
{% endif %}

fn source_at(w: u32, h: u32, z: u32) -> vec4<f32> {
{% if FROM_TEXTURE == 1 %}
    return textureLoad(source, vec3(i32(w), i32(h), i32(z)));
{% else %}
    return source[(z * p.h + h) * p.w + w];
{% endif %}
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 32768u + group.x) * 64u + local;
    if i >= p.total {
        return;
    }
    let w = i % p.w;
    let h = i / p.w % p.h;
    let d = i / (p.w * p.h) % p.d;
    let block = i / (p.w * p.h * p.d) % p.blocks;
    let n = i / (p.w * p.h * p.d * p.blocks);
    let from_z = (p.from_base + n * p.from_stride + block) * p.d + d;
    let to_z = (p.to_base + n * p.to_stride + block) * p.d + d;
{% if UNROLL == 0 %}
    let value = source_at(w, h, from_z);
{% else %}
    var value = vec4(0.0);
{% for c in range(UNROLL) %}
    if w + {{ c }}u >= {{ UNROLL // 2 }}u && w + {{ c }}u < p.w + {{ UNROLL // 2 }}u {
        value[{{ c }}] = source_at(w + {{ c }}u - {{ UNROLL // 2 }}u, h, from_z).x;
    }
{% endfor %}
{% endif %}
{% if TO_TEXTURE == 1 %}
    textureStore(target_, vec3(i32(w), i32(h), i32(to_z)), value);
{% else %}
    target_[(to_z * p.h + h) * p.to_pitch + w] = value;
{% endif %}
}
