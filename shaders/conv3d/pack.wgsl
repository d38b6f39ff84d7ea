// Packs canonical convolution weights for one list of taps.
//
// Out, vec4 over output channels, index
//   ((((tile * ci_blocks + ci_block) * k0 + t0) * k1 + t1) * k2 + t2) * 4T + c * T + t
// holds w[co = 4 (tile T + t) + 0..3][ci = 4 ci_block + c][tap + step * (t0, t1, t2)]. Which axes
// the three loops are is the reader's choice: d, h, w for simt, d, w, h for subgroup.
// WINOGRAD = 1: the three taps of the innermost loop become the four factors of F(2,3):
// g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2; k2 is then 4.
// Physical channels that pad a segment get 0. Canonical index of a weight:
// co * co_stride + ci * ci_stride + tap, so that the same kernel serves both directions.
// One invocation: the vec4s along t2. Bytes: 16 read a tap and 16 written a vec4. For every device.
struct Params {
    rows: u32, t_blocks: u32, ci_blocks: u32, pad0: u32,
    k0: u32, k1: u32, k2: u32, tap: i32,
    step0: i32, step1: i32, step2: i32, ci_first: u32,
    co_stride: u32, ci_stride: u32, co_first: u32, co_count: u32,
    segment: u32, segment_padded: u32, ci_count: u32, pad1: u32,
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

fn weights(co: u32, ci: u32, tap: i32) -> vec4<f32> {
    let t = u32(tap);
    return vec4(weight(co, ci, t), weight(co + 1u, ci, t), weight(co + 2u, ci, t), weight(co + 3u, ci, t));
}

fn put(i: u32, value: vec4<f32>) {
{% if TEXTURE == 1 %}
    textureStore(packed, vec3(i32(i % 1024u), i32(i / 1024u), 0), value);
{% else %}
    packed[i] = value;
{% endif %}
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 32768u + group.x) * 64u + local;
    if i >= p.rows {
        return;
    }
    var rest = i;
    let t = rest % p.t_blocks;
    rest /= p.t_blocks;
    let c = rest % 4u;
    rest /= 4u;
    let first = (rest * p.k2 * 4u + c) * p.t_blocks + t;
    let next = 4u * p.t_blocks;
    let t1 = rest % p.k1;
    rest /= p.k1;
    let t0 = rest % p.k0;
    rest /= p.k0;
    let ci_block = rest % p.ci_blocks;
    let tile = rest / p.ci_blocks;
    let tap = p.tap + p.step0 * i32(t0) + p.step1 * i32(t1);
    // Physical to logical input channel: the second segment begins at a block of its own.
    var ci = (p.ci_first + ci_block) * 4u + c;
    if ci >= p.segment_padded {
        ci = ci - p.segment_padded + p.segment;
    } else if ci >= p.segment {
        ci = p.ci_count;
    }
    let co = (tile * p.t_blocks + t) * 4u;
{% if WINOGRAD == 1 %}
    let g0 = weights(co, ci, tap);
    let g1 = weights(co, ci, tap + p.step2);
    let g2 = weights(co, ci, tap + 2 * p.step2);
    put(first, g0);
    put(first + next, 0.5 * ((g0 + g2) + g1));
    put(first + 2u * next, 0.5 * ((g0 + g2) - g1));
    put(first + 3u * next, g2);
{% else %}
    for (var t2 = 0u; t2 < p.k2; t2++) {
        put(first + t2 * next, weights(co, ci, tap + p.step2 * i32(t2)));
    }
{% endif %}
}
