// Part of the normalisation kernels: statistics, scale and shift of a column's channels.
//
// stats: vec4 [n * blocks][2]: mean, 1 / standard deviation. gamma, beta: f32 [C].
{% include "norm/common" %}

@group(0) @binding(2) var<storage, read> stats: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> gamma: array<f32>;
@group(0) @binding(4) var<storage, read> beta: array<f32>;

struct Affine { mean: vec4<f32>, rstd: vec4<f32>, scale: vec4<f32>, shift: vec4<f32> }

// Channels that pad the last block have scale and shift 0.
fn affine_of(c: Column) -> Affine {
    var scale = vec4(0.0);
    var shift = vec4(0.0);
    let channel = (p.first_block + c.block) * 4u;
{% for i in range(4) %}
    if channel + {{ i }}u < p.channels {
        scale[{{ i }}] = gamma[channel + {{ i }}u];
        shift[{{ i }}] = beta[channel + {{ i }}u];
    }
{% endfor %}
    let row = row_of(c) * 2u;
    return Affine(stats[row], stats[row + 1u], scale, shift);
}
