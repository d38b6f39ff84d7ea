// Partial sums of the backward pass of a = leaky(gamma xhat + beta): with
// g = (da + da2) leaky'(n), the sums of g and of g xhat over a chunk.
//
// da, da2: gradients on a, channel blocks in buffers (da2 only where TWO = 1).
// partial: vec4 [n * blocks][chunk][2]. A workgroup: one chunk; 64 invocations, then a tree.
// Bytes: 16 (2 + TWO) a vec4. For every device.
{% include "norm/common" %}

@group(0) @binding(5) var<storage, read> da: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> partial: array<vec4<f32>>;
{% if TWO == 1 %}
@group(0) @binding(7) var<storage, read> da2: array<vec4<f32>>;
{% endif %}
var<workgroup> sh_g: array<vec4<f32>, 64>;
var<workgroup> sh_gx: array<vec4<f32>, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let number = group.y * 32768u + group.x;
    if number >= p.groups {
        return;
    }
    let chunk = number % p.chunks;
    let block = number / p.chunks % p.blocks;
    let n = number / (p.chunks * p.blocks);
    let row = ((p.first_sample + n) * p.sample_blocks + p.first_block + block) * 2u;
    let mean = stats[row];
    let rstd = stats[row + 1u];
    let scale = of_channels_gamma(p.first_block + block);
    let shift = of_channels_beta(p.first_block + block);
    let end = min((chunk + 1u) * p.chunk_voxels, p.voxels);
    var sum = vec4(0.0);
    var product = vec4(0.0);
    for (var v = chunk * p.chunk_voxels + local; v < end; v += 64u) {
        let xhat = (z[(p.z_base + n * p.z_stride + block) * p.voxels + v] - mean) * rstd;
        let y = scale * xhat + shift;
        var g = da[(p.a_base + n * p.a_stride + block) * p.voxels + v];
{% if TWO == 1 %}
        g += da2[(p.b_base + n * p.b_stride + block) * p.voxels + v];
{% endif %}
        g = select(g * p.slope, g, y > vec4(0.0));
        sum += g;
        product = fma(g, xhat, product);
    }
    sh_g[local] = sum;
    sh_gx[local] = product;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            sh_g[local] += sh_g[local + half];
            sh_gx[local] += sh_gx[local + half];
        }
    }
    if local == 0u {
        let row = (p.first_sample + n) * p.sample_blocks + p.first_block + block;
        let i = (row * p.chunks + chunk) * 2u;
        partial[i] = sh_g[0];
        partial[i + 1u] = sh_gx[0];
    }
}
