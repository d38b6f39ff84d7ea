// Part of the normalisation's backward kernels: the gradient in front of the activation.
//
// da, da2: gradients on a, channel blocks as z (da2 only where TWO = 1).
{% include "norm/affine" %}

{% if IN == 1 %}
@group(0) @binding(5) var da: texture_storage_3d<rgba32float, read>;
{% else %}
@group(0) @binding(5) var<storage, read> da: array<vec4<f32>>;
{% endif %}
{% if TWO == 1 %}
{% if IN == 1 %}
@group(0) @binding(6) var da2: texture_storage_3d<rgba32float, read>;
{% else %}
@group(0) @binding(6) var<storage, read> da2: array<vec4<f32>>;
{% endif %}
{% endif %}

// (da + da2) leaky'(y).
fn gradient_at(c: Column, d: u32, y: vec4<f32>) -> vec4<f32> {
    let a_plane = (p.a_base + c.n * p.a_stride + c.block) * p.d + d;
{% if IN == 1 %}
    var g = textureLoad(da, vec3(c.w, c.h, a_plane));
{% else %}
    var g = da[a_plane * (p.h * p.w) + c.place];
{% endif %}
{% if TWO == 1 %}
    let b_plane = (p.b_base + c.n * p.b_stride + c.block) * p.d + d;
{% if IN == 1 %}
    g += textureLoad(da2, vec3(c.w, c.h, b_plane));
{% else %}
    g += da2[b_plane * (p.h * p.w) + c.place];
{% endif %}
{% endif %}
    return select(g * p.slope, g, y > vec4(0.0));
}
