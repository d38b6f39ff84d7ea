// Joins the partial statistics of one channel block.
//
//   n = na + nb; d = mean_b - mean_a; mean = mean_a + d nb/n; m2 = m2_a + m2_b + d^2 na nb/n
//   (Chan, Golub, LeVeque 1979); std = sqrt(m2 / n), population.
//
// Bindings: 1 partials [block][PARTS][4] vec4 (gamma/reduce), 2 stats [block][6] vec4:
// lo, hi, mean and std of the image (STAGE 0), mean and std of its gamma map (STAGE 1).
// One workgroup: one block; invocation i joins PARTS/64 consecutive partials, then a tree of six
// steps in workgroup memory. Fixed order, so the same bits every run. It also runs, on left-over
// numbers that nobody reads, for samples without gamma: it is tiny.
// FLOPs: 60 PARTS a block; bytes: 64 PARTS a block. Runs on every device.

struct Params {
    voxels: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> stats: array<vec4<f32>>;

struct Moments {
    low: vec4<f32>,
    high: vec4<f32>,
    mean: vec4<f32>,
    m2: vec4<f32>,
    count: f32,
}

var<workgroup> shared_: array<Moments, 64>;

fn join(a: Moments, b: Moments) -> Moments {
    let n = a.count + b.count;
    let share = b.count / max(n, 1.0);
    let d = b.mean - a.mean;
    return Moments(
        min(a.low, b.low),
        max(a.high, b.high),
        a.mean + d * share,
        a.m2 + b.m2 + d * d * (a.count * share),
        n,
    );
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let block = group.x;
    var all_ = Moments(vec4<f32>(3.0e38), vec4<f32>(-3.0e38), vec4<f32>(0.0), vec4<f32>(0.0), 0.0);
    for (var i = 0u; i < {{ PARTS // 64 }}u; i++) {
        let t = lane * {{ PARTS // 64 }}u + i;
        if (t < params.voxels) {
            let count = (params.voxels - t + {{ PARTS - 1 }}u) / {{ PARTS }}u;
            let at = (block * {{ PARTS }}u + t) * 4u;
            let part = Moments(
                partials[at],
                partials[at + 1u],
                partials[at + 2u],
                partials[at + 3u],
                f32(count),
            );
            all_ = join(all_, part);
        }
    }
    shared_[lane] = all_;
    workgroupBarrier();
    for (var step = 32u; step > 0u; step >>= 1u) {
        if (lane < step) {
            shared_[lane] = join(shared_[lane], shared_[lane + step]);
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        let result = shared_[0];
        let deviation = sqrt(result.m2 / max(result.count, 1.0));
{%- if STAGE == 0 %}
        stats[block * 6u] = result.low;
        stats[block * 6u + 1u] = result.high;
        stats[block * 6u + 2u] = result.mean;
        stats[block * 6u + 3u] = deviation;
{%- else %}
        stats[block * 6u + 4u] = result.mean;
        stats[block * 6u + 5u] = deviation;
{%- endif %}
    }
}
