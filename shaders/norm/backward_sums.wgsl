// Partial sums of the backward pass of a = leaky(gamma xhat + beta): with
// g = (da + da2) leaky'(n), the sums of g and of g xhat over a chunk.
//
// da, da2: gradients on a, channel blocks as z (da2 only where TWO = 1).
// partial: vec4 [n * blocks][chunk][2]. A workgroup: one chunk as in norm/statistics, then a tree.
// Bytes: 16 (2 + TWO) a vec4. For every device.
{% include "norm/gradient" %}

@group(0) @binding({{ 6 + TWO }}) var<storage, read_write> partial: array<vec4<f32>>;
{% include "norm/pair_tree" %}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = column_of(group, local);
    let f = affine_of(c);
    var sum = vec4(0.0);
    var product = vec4(0.0);
    for (var d = c.first; d < c.end; d++) {
        let xhat = (z_at(c, d) - f.mean) * f.rstd;
        let g = gradient_at(c, d, f.scale * xhat + f.shift);
        sum += g;
        product = fma(g, xhat, product);
    }
    add_pairs(local, sum, product);
    if local == 0u {
        let i = (row_of(c) * p.chunks + c.chunk) * 2u;
        partial[i] = sh_first[0];
        partial[i + 1u] = sh_second[0];
    }
}
