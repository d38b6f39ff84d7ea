// a = leaky(gamma (z - mean) rstd + beta), leaky(n) = n > 0 ? n : slope n.
//
// a: channel blocks, texture or buffer. Work of an invocation as norm/common says. Bytes: 32 a vec4.
// For every device. Lost on llvmpipe: one vec4 an invocation (scale and statistics from buffers cost
// ten times the voxel itself).
{% include "norm/affine" %}

{% if OUT == 1 %}
@group(0) @binding(5) var a: texture_storage_3d<rgba32float, write>;
{% else %}
@group(0) @binding(5) var<storage, read_write> a: array<vec4<f32>>;
{% endif %}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let c = column_of(group, local);
    let f = affine_of(c);
    let first_plane = (p.out_base + c.n * p.out_stride + c.block) * p.d;
    for (var d = c.first; d < c.end; d++) {
        let y = f.scale * ((z_at(c, d) - f.mean) * f.rstd) + f.shift;
        let value = select(y * p.slope, y, y > vec4(0.0));
{% if OUT == 1 %}
        textureStore(a, vec3(c.w, c.h, first_plane + d), value);
{% else %}
        a[((first_plane + d) * p.h + c.h) * p.out_pitch + c.w] = value;
{% endif %}
    }
}
