// Combines chunk statistics, always in one order (Chan, Golub, LeVeque 1979), to mean and
// 1 / sqrt(variance + 1e-5), biased variance (torch.nn.InstanceNorm3d).
//
// partial: vec4 [n * blocks][chunk][2]: mean, M2, of chunks of chunk_d x chunk_h x chunk_w voxels, fewer at the far
// edges, numbered d, h, w with w fastest. stats: vec4 [n * blocks][2]: mean, rstd. A workgroup: one channel block of
// one sample; an invocation every 64th chunk, then a tree. Bytes: 32 a chunk. For every device.
struct Params {
    d: u32, h: u32, w: u32, rows: u32,
    chunk_d: u32, chunk_h: u32, chunk_w: u32, pad0: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> stats: array<vec4<f32>>;

var<workgroup> sh_count: array<f32, 64>;
var<workgroup> sh_mean: array<vec4<f32>, 64>;
var<workgroup> sh_m2: array<vec4<f32>, 64>;

struct Moments { count: f32, mean: vec4<f32>, m2: vec4<f32> }

fn joined(a: Moments, b: Moments) -> Moments {
    let count = a.count + b.count;
    let share = b.count / max(count, 1.0);
    let delta = b.mean - a.mean;
    return Moments(count, a.mean + delta * share, a.m2 + b.m2 + delta * delta * (a.count * share));
}

fn shared_at(i: u32) -> Moments {
    return Moments(sh_count[i], sh_mean[i], sh_m2[i]);
}

fn share(i: u32, moments: Moments) {
    sh_count[i] = moments.count;
    sh_mean[i] = moments.mean;
    sh_m2[i] = moments.m2;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = group.x;
    let edges = vec3(p.d, p.h, p.w);
    let chunk_edges = vec3(p.chunk_d, p.chunk_h, p.chunk_w);
    let counts = (edges + chunk_edges - 1u) / chunk_edges;
    let chunks = counts.x * counts.y * counts.z;
    var moments = Moments(0.0, vec4(0.0), vec4(0.0));
    for (var chunk = local; chunk < chunks; chunk += 64u) {
        let place = vec3(chunk / (counts.y * counts.z), chunk / counts.z % counts.y, chunk % counts.z);
        let extent = min(chunk_edges, edges - place * chunk_edges);
        let i = (row * chunks + chunk) * 2u;
        moments = joined(moments, Moments(f32(extent.x * extent.y * extent.z), partial[i], partial[i + 1u]));
    }
    share(local, moments);
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            share(local, joined(shared_at(local), shared_at(local + half)));
        }
    }
    if local == 0u {
        stats[row * 2u] = sh_mean[0];
        stats[row * 2u + 1u] = 1.0 / sqrt(sh_m2[0] / f32(p.d * p.h * p.w) + 1e-5);
    }
}
