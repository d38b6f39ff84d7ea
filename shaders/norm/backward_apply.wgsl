// dz = gamma rstd (g - mean(g) - xhat mean(g xhat)), g = (da + da2) leaky'(n); with frozen
// statistics dz = gamma rstd g.
//
// sums: vec4 [n * blocks][2] from norm/backward_combine. dz: channel blocks, texture or buffer.
// Work of an invocation as norm/common says. Bytes: 16 (3 + TWO) a vec4. For every device.
{% include "norm/gradient" %}

@group(0) @binding({{ 6 + TWO }}) var<storage, read> sums: array<vec4<f32>>;
{% if OUT == 1 %}
@group(0) @binding({{ 7 + TWO }}) var dz: texture_storage_3d<rgba32float, write>;
{% else %}
@group(0) @binding({{ 7 + TWO }}) var<storage, read_write> dz: array<vec4<f32>>;
{% endif %}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = column_of(group, local);
    let f = affine_of(c);
    let row = row_of(c) * 2u;
    let share = select(1.0 / f32(p.d * p.h * p.w), 0.0, p.frozen == 1u);
    let mean_g = sums[row] * share;
    let mean_gx = sums[row + 1u] * share;
    let first_plane = (p.out_base + c.n * p.out_stride + c.block) * p.d;
    for (var d = c.first; d < c.end; d++) {
        let xhat = (z_at(c, d) - f.mean) * f.rstd;
        let g = gradient_at(c, d, f.scale * xhat + f.shift);
        let value = f.scale * f.rstd * (g - mean_g - xhat * mean_gx);
{% if OUT == 1 %}
        textureStore(dz, vec3(c.w, c.h, first_plane + d), value);
{% else %}
        dz[((first_plane + d) * p.h + c.h) * p.out_pitch + c.w] = value;
{% endif %}
    }
}
