// Partial statistics of one sample's channels: STAGE 0 of the image x, STAGE 1 of its gamma map y.
//
//   y = ((x - lo)/(hi - lo + 1e-7))^g * (hi - lo + 1e-7) + lo     (batchgenerators augment_gamma,
//   per channel; golden README "gamma")
//   partial = (min, max, mean, sum of squared deviations from the mean), shifted by the first
//   value that an invocation sees, so that no large squares are subtracted.
//
// Bindings: 1 draws [sample] Record, 2 image, channel-blocked vec4, 3 stats [block][6] vec4
// (read in stage 1; see gamma/finish), 4 partials [block][PARTS][4] vec4.
// One invocation: voxels t, t + PARTS, t + 2 PARTS, ... of one channel block; fixed order, so the
// same bits every run. Leaves at once where the sample has no gamma.
// FLOPs: 20 (stage 0) or 60 (stage 1) a voxel and block; bytes: 16 read a voxel and block.
// Runs on every device.

{% include "warp/record" %}

struct Params {
    sample: u32,
    voxels: u32,
    blocks: u32,
    base: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> draws: array<Record>;
@group(0) @binding(2) var<storage, read> image: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> stats: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> partials: array<vec4<f32>>;

{% if STAGE == 1 -%}
fn power(t: vec4<f32>, g: vec4<f32>) -> vec4<f32> {
    let p = pow(max(t, vec4<f32>(1e-30)), g);
    return select(p, vec4<f32>(0.0), t <= vec4<f32>(0.0));
}
{%- endif %}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x * 64u + lane;
    let block = id / {{ PARTS }}u;
    let t = id % {{ PARTS }}u;
    if ((draws[params.sample].flags & 4u) == 0u || block >= params.blocks) {
        return;
    }
    let base = params.base + block * params.voxels;
{%- if STAGE == 1 %}
    let exponent = draws[params.sample].gamma[block];
    let floor_ = stats[block * 6u];
    let range = stats[block * 6u + 1u] - floor_ + 1e-7;
{%- else %}
    // Stage 0 has no statistics yet; the binding is there for one layout.
    let unused = arrayLength(&stats);
{%- endif %}
    var low = vec4<f32>(3.0e38);
    var high = vec4<f32>(-3.0e38);
    var pivot = vec4<f32>(0.0);
    var sum = vec4<f32>(0.0);
    var squares = vec4<f32>(0.0);
    var count = 0.0;
    for (var v = t; v < params.voxels; v += {{ PARTS }}u) {
        var x = image[base + v];
{%- if STAGE == 1 %}
        x = power((x - floor_) / range, exponent) * range + floor_;
{%- endif %}
        if (v == t) {
            pivot = x;
        }
        low = min(low, x);
        high = max(high, x);
        let y = x - pivot;
        sum += y;
        squares += y * y;
        count += 1.0;
    }
    let shift = sum / max(count, 1.0);
    let at = id * 4u;
    partials[at] = low;
    partials[at + 1u] = high;
    partials[at + 2u] = pivot + shift;
    partials[at + 3u] = max(squares - sum * shift, vec4<f32>(0.0));
}
