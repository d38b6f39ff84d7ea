// dz = gamma rstd (g - mean(g) - xhat mean(g xhat)), g = (da + da2) leaky'(n); with frozen
// statistics dz = gamma rstd g.
//
// sums: vec4 [n * blocks][2] from norm/backward_combine. dz: channel blocks, buffer or texture.
// One invocation: one vec4. Bytes: 16 (3 + TWO). For every device.
{% include "norm/common" %}

@group(0) @binding(5) var<storage, read> da: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> sums: array<vec4<f32>>;
{% if TEXTURE == 1 %}
@group(0) @binding(7) var dz: texture_storage_3d<rgba32float, write>;
{% else %}
@group(0) @binding(7) var<storage, read_write> dz: array<vec4<f32>>;
{% endif %}
{% if TWO == 1 %}
@group(0) @binding(8) var<storage, read> da2: array<vec4<f32>>;
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
    let rstd = stats[row + 1u];
    let xhat = (z[(p.z_base + n * p.z_stride + block) * p.voxels + v] - stats[row]) * rstd;
    let scale = of_channels_gamma(p.first_block + block);
    let y = scale * xhat + of_channels_beta(p.first_block + block);
    var g = da[(p.a_base + n * p.a_stride + block) * p.voxels + v];
{% if TWO == 1 %}
    g += da2[(p.b_base + n * p.b_stride + block) * p.voxels + v];
{% endif %}
    g = select(g * p.slope, g, y > vec4(0.0));
    if p.frozen == 0u {
        let m = 1.0 / f32(p.voxels);
        g = g - sums[row] * m - xhat * (sums[row + 1u] * m);
    }
    let value = scale * rstd * g;
    let at = p.out_base + n * p.out_stride + block;
{% if TEXTURE == 1 %}
    textureStore(dz, vec3(i32(v % p.w), i32(v / p.w % p.h), i32(at * p.d + v / (p.w * p.h))), value);
{% else %}
    dz[at * p.voxels + v] = value;
{% endif %}
}
