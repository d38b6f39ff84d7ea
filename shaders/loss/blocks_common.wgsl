// Part of the loss kernels that loop over channel blocks: parameters, and what they read of one sample.
//
// logits: some consecutive channel blocks of the sample, in a buffer. labels: u32 [voxel], 255 = ignored.
// state (softmax alone): vec4 [voxel] of the sample: maximum of the logits, sum of exp(logit - maximum),
// the label's own logit, and the class of the maximum or, in the backward pass, sum_k p_k g_k.
struct Params {
    // Blocks in this dispatch: where they begin in the logits' slot and among all, and how many.
    voxels: u32, base: u32, first_block: u32, blocks: u32,
    sample: u32, first_label: u32, chunks: u32, total: u32,
    classes: u32, all_blocks: u32, out_base: u32, out_pitch: u32,
    d: u32, h: u32, w: u32, weight: f32,
{% if SIGMOID == 1 %}
    // Of each label index the regions that contain it, bit r for channel r.
    masks: array<vec4<u32>, 64>,
{% endif %}
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
{% if SIGMOID == 0 %}
@group(0) @binding(3) var<storage, {{ "read_write" if UPDATES == 1 else "read" }}> state: array<vec4<f32>>;
{% endif %}

// Channels of a block, counted among all.
fn channels_of(block: u32) -> vec4<u32> {
    return vec4<u32>(0u, 1u, 2u, 3u) + (p.first_block + block) * 4u;
}

// 1 where the label belongs to the channel; an ignored label belongs to none.
fn target_of(label: u32, block: u32) -> vec4<f32> {
{% if SIGMOID == 1 %}
    let index = min(label, 255u);
    let mask = p.masks[index / 4u][index % 4u];
    return vec4<f32>((vec4(mask) >> channels_of(block)) & vec4(1u));
{% else %}
    return select(vec4(0.0), vec4(1.0), channels_of(block) == vec4(label));
{% endif %}
}

{% if SIGMOID == 1 %}
fn probability(l: vec4<f32>) -> vec4<f32> {
    let e = exp(-abs(l));
    return select(e, vec4(1.0), l >= vec4(0.0)) / (1.0 + e);
}
{% else %}
fn probability(l: vec4<f32>, s: vec4<f32>) -> vec4<f32> {
    return exp(l - s.x) * (1.0 / s.y);
}
{% endif %}
