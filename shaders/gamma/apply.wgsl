// Gamma with retained statistics, in place.
//
//   y = ((x - lo)/(hi - lo + 1e-7))^g * (hi - lo + 1e-7) + lo
//   x' = (y - mean(y)) / (std(y) + 1e-8) * std(x) + mean(x)     (batchgenerators augment_gamma,
//   per channel, retain_stats; golden README "gamma")
// With the flag `mask`, voxels whose channels were all 0 become 0 again (data normalised inside
// a non-zero mask).
//
// Bindings: 1 draws [sample] Record, 2 stats [block][6] vec4 (gamma/finish), 3 image,
// channel-blocked vec4. Channels that pad the last block stay 0.
// One invocation: RUN voxels, a workgroup's lanes side by side, all blocks of each, so that the
// mask is known before anything is written. Leaves at once where the sample has no gamma.
// FLOPs: 60 a voxel and block; bytes: 32 a voxel and block. Runs on every device.

{% include "warp/record" %}

struct Params {
    sample: u32,
    voxels: u32,
    base: u32,
    pad0: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> draws: array<Record>;
@group(0) @binding(2) var<storage, read> stats: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> image: array<vec4<f32>>;

fn power(t: vec4<f32>, g: vec4<f32>) -> vec4<f32> {
    let p = pow(max(t, vec4<f32>(1e-30)), g);
    return select(p, vec4<f32>(0.0), t <= vec4<f32>(0.0));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = (group.y * 32768u + group.x) * {{ 64 * RUN }}u + lane;
    let flags = draws[params.sample].flags;
    if ((flags & 4u) == 0u) {
        return;
    }
    let masked = (flags & 8u) != 0u;
{%- for b in range(BLOCKS) %}
    let exponent{{ b }} = draws[params.sample].gamma[{{ b }}];
    let low{{ b }} = stats[{{ 6 * b }}];
    let range{{ b }} = stats[{{ 6 * b + 1 }}] - low{{ b }} + 1e-7;
    let scale{{ b }} = stats[{{ 6 * b + 3 }}] / (stats[{{ 6 * b + 5 }}] + 1e-8);
    let mean{{ b }} = stats[{{ 6 * b + 2 }}];
    let mapped{{ b }} = stats[{{ 6 * b + 4 }}];
{%- endfor %}
    for (var i = 0u; i < {{ RUN }}u; i++) {
        let v = first + i * 64u;
        if (v >= params.voxels) {
            break;
        }
        var some = false;
{%- for b in range(BLOCKS) %}
        let x{{ b }} = image[params.base + {{ b }}u * params.voxels + v];
        some = some || any(x{{ b }} != vec4<f32>(0.0));
{%- endfor %}
        let keep = some || !masked;
{%- for b in range(BLOCKS) %}
        {
            let y = power((x{{ b }} - low{{ b }}) / range{{ b }}, exponent{{ b }}) * range{{ b }} + low{{ b }};
            let z = (y - mapped{{ b }}) * scale{{ b }} + mean{{ b }};
            let real = vec4<bool>({% for j in range(4) %}{{ "true" if b * 4 + j < CHANNELS else "false" }}{% if j < 3 %}, {% endif %}{% endfor %});
            image[params.base + {{ b }}u * params.voxels + v] = select(vec4<f32>(0.0), z, real & vec4<bool>(keep));
        }
{%- endfor %}
    }
}
