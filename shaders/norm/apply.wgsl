// a = leaky(gamma (z - mean) rstd + beta), leaky(n) = n > 0 ? n : slope n.
//
// z: channel blocks in a buffer. stats: vec4 [n * blocks][2]. a: channel blocks, buffer or texture.
// One invocation: one vec4. Bytes: 32. For every device.
{% include "norm/common" %}

{% if TEXTURE == 1 %}
@group(0) @binding(5) var a: texture_storage_3d<rgba32float, write>;
{% else %}
@group(0) @binding(5) var<storage, read_write> a: array<vec4<f32>>;
{% endif %}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 32768u + group.x) * 64u + local;
    if i >= p.total {
        return;
    }
    let v = i % p.voxels;
    let block = i / p.voxels % p.blocks;
    let n = i / (p.voxels * p.blocks);
    let row = ((p.first_sample + n) * p.sample_blocks + p.first_block + block) * 2u;
    let xhat = (z[(p.z_base + n * p.z_stride + block) * p.voxels + v] - stats[row]) * stats[row + 1u];
    let y = of_channels_gamma(p.first_block + block) * xhat + of_channels_beta(p.first_block + block);
    let value = select(y * p.slope, y, y > vec4(0.0));
    let at = p.out_base + n * p.out_stride + block;
{% if TEXTURE == 1 %}
    textureStore(a, vec3(i32(v % p.w), i32(v / p.w % p.h), i32(at * p.d + v / (p.w * p.h))), value);
{% else %}
    a[at * p.voxels + v] = value;
{% endif %}
}
