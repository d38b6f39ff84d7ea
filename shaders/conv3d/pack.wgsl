// Packs canonical convolution weights for one list of taps.
//
// Out, vec4 over output channels, index
//   ((((tile * ci_blocks + ci_block) * kd + td) * kh + th) * kw + tw) * 4T + c * T + t
// holds w[co = 4 (tile T + t) + 0..3][ci = 4 ci_block + c][tap0 + tap_step * (td, th, tw)].
// Physical channels that pad a segment get 0. Canonical index of a weight:
// co * co_stride + ci * ci_stride + tap, so that the same kernel serves both directions.
// One invocation: one vec4. Bytes: 16 read and 16 written a vec4. For every device.
struct Params {
    total: u32, t_blocks: u32, ci_blocks: u32, co_blocks: u32,
    kd: u32, kh: u32, kw: u32, full_kh: u32,
    tap0_d: i32, tap0_h: i32, tap0_w: i32, full_kw: u32,
    tap_step_d: i32, tap_step_h: i32, tap_step_w: i32, ci_first: u32,
    co_stride: u32, ci_stride: u32, co_first: u32, co_count: u32,
    segment: u32, segment_padded: u32, ci_count: u32, pad: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<f32>;
{% if TEXTURE == 1 %}
@group(0) @binding(2) var packed: texture_storage_3d<rgba32float, write>;
{% else %}
@group(0) @binding(2) var<storage, read_write> packed: array<vec4<f32>>;
{% endif %}

fn weight(co_physical: u32, ci: u32, tap: u32) -> f32 {
    if co_physical >= p.co_count || ci >= p.ci_count {
        return 0.0;
    }
    return w[(p.co_first + co_physical) * p.co_stride + ci * p.ci_stride + tap];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 32768u + group.x) * 64u + local;
    if i >= p.total {
        return;
    }
    var rest = i;
    let t = rest % p.t_blocks;
    rest /= p.t_blocks;
    let c = rest % 4u;
    rest /= 4u;
    let tw = rest % p.kw;
    rest /= p.kw;
    let th = rest % p.kh;
    rest /= p.kh;
    let td = rest % p.kd;
    rest /= p.kd;
    let ci_block = rest % p.ci_blocks;
    let tile = rest / p.ci_blocks;
    let tap = u32((p.tap0_d + p.tap_step_d * i32(td)) * i32(p.full_kh * p.full_kw)
        + (p.tap0_h + p.tap_step_h * i32(th)) * i32(p.full_kw)
        + p.tap0_w + p.tap_step_w * i32(tw));
    // Physical to logical input channel: the second segment begins at a block of its own.
    var ci = (p.ci_first + ci_block) * 4u + c;
    if ci >= p.segment_padded {
        ci = ci - p.segment_padded + p.segment;
    } else if ci >= p.segment {
        ci = p.ci_count;
    }
    let co = (tile * p.t_blocks + t) * 4u;
    let value = vec4(weight(co, ci, tap), weight(co + 1u, ci, tap), weight(co + 2u, ci, tap), weight(co + 3u, ci, tap));
{% if TEXTURE == 1 %}
    textureStore(packed, vec3(i32(i % 1024u), i32(i / 1024u), 0), value);
{% else %}
    packed[i] = value;
{% endif %}
}
