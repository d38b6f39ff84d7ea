// Part of the gather kernels: parameters, bias and the store of one vec4 of output.
//
// y[q * out_step + out_offset + c], c one of the outputs to which a point scatters, channel blocks, in a buffer (index
// (((y_base + n * y_stride + block) * D + d) * H + h) * W + w) or in a texture.
struct Params {
    q_d: u32, q_h: u32, q_w: u32, points: u32,
    x_d: u32, x_base: u32, x_stride: u32, ci_blocks: u32,
    y_d: u32, y_h: u32, y_w: u32, y_base: u32,
    y_stride: u32, co_blocks: u32, kd: u32, has_bias: u32,
    in_step_d: i32, in_step_h: i32, in_step_w: i32, pad0: u32,
    in_offset_d: i32, in_offset_h: i32, in_offset_w: i32, co_count: u32,
    out_step_d: u32, out_step_h: u32, out_step_w: u32, groups: u32,
    out_offset_d: u32, out_offset_h: u32, out_offset_w: u32, x_h: u32,
    x_w: u32, kw: u32, shift: u32, tiles_w: u32,
    bias_first: u32, on_load_base: u32, on_load_stride: u32, corners: u32,
    scatter_d: u32, scatter_h: u32, scatter_w: u32, z_base: u32,
    z_stride: u32, sums_base: u32, sums_stride: u32, chunks: u32,
    chunk_first: u32, pad1: u32, pad2: u32, pad3: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
{% if TEXTURE == 1 %}
@group(0) @binding(4) var y: texture_storage_3d<rgba32float, write>;
{% else %}
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
{% endif %}

fn bias_of(block: u32) -> vec4<f32> {
    var b = vec4(0.0);
    let c = block * 4u;
    if p.has_bias == 1u {
        if c < p.co_count { b.x = bias[p.bias_first + c]; }
        if c + 1u < p.co_count { b.y = bias[p.bias_first + c + 1u]; }
        if c + 2u < p.co_count { b.z = bias[p.bias_first + c + 2u]; }
        if c + 3u < p.co_count { b.w = bias[p.bias_first + c + 3u]; }
    }
    return b;
}

// Where (w, h, d) the outputs of a corner lie, of which point q's is q * out_step further.
fn first_of(corner: u32) -> vec3<u32> {
    let c = vec3(corner % p.scatter_w, corner / p.scatter_w % p.scatter_h, corner / (p.scatter_w * p.scatter_h));
    return c + vec3(p.out_offset_w, p.out_offset_h, p.out_offset_d);
}

// Where (w, h, d) of the output point q lies.
fn place_of(first: vec3<u32>, q: vec3<u32>) -> vec3<u32> {
    return q * vec3(p.out_step_w, p.out_step_h, p.out_step_d) + first;
}

// Index of point q of a channel block in a buffer of the output's shape.
fn index_of(n: u32, first: vec3<u32>, q: vec3<u32>, block: u32, base: u32, stride: u32) -> u32 {
    let place = place_of(first, q);
    return (((base + n * stride + block) * p.y_d + place.z) * p.y_h + place.y) * p.y_w + place.x;
}

// Stores the value of output point q (w, h, d) or, where ADD = 1, adds it; returns what is there then.
fn store(n: u32, first: vec3<u32>, q: vec3<u32>, block: u32, value: vec4<f32>) -> vec4<f32> {
{% if TEXTURE == 1 %}
    let place = place_of(first, q);
    let z = (p.y_base + n * p.y_stride + block) * p.y_d + place.z;
    textureStore(y, vec3(i32(place.x), i32(place.y), i32(z)), value);
    return value;
{% else %}
    let i = index_of(n, first, q, block, p.y_base, p.y_stride);
{% if ADD == 1 %}
    let sum = y[i] + value;
    y[i] = sum;
    return sum;
{% else %}
    y[i] = value;
    return value;
{% endif %}
{% endif %}
}
