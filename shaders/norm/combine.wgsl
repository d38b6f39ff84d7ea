// Combines chunk statistics in order (Chan, Golub, LeVeque 1979) to mean and
// 1 / sqrt(variance + 1e-5), biased variance (torch.nn.InstanceNorm3d).
//
// partial: vec4 [n * blocks][chunk][2]: mean, M2, of chunks of chunk_d x chunk_h x chunk_w voxels, fewer at the far
// edges, numbered d, h, w with w fastest. stats: vec4 [n * blocks][2]: mean, rstd. One invocation: one channel
// block of one sample. Bytes: 32 a chunk. For every device.
struct Params {
    d: u32, h: u32, w: u32, rows: u32,
    chunk_d: u32, chunk_h: u32, chunk_w: u32, pad0: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> stats: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = group.x * 64u + local;
    if row >= p.rows {
        return;
    }
    let edges = vec3(p.d, p.h, p.w);
    let chunk_edges = vec3(p.chunk_d, p.chunk_h, p.chunk_w);
    let counts = (edges + chunk_edges - 1u) / chunk_edges;
    let chunks = counts.x * counts.y * counts.z;
    var count = 0.0;
    var mean = vec4(0.0);
    var m2 = vec4(0.0);
    for (var chunk = 0u; chunk < chunks; chunk++) {
        let place = vec3(chunk / (counts.y * counts.z), chunk / counts.z % counts.y, chunk % counts.z);
        let extent = min(chunk_edges, edges - place * chunk_edges);
        let size = f32(extent.x * extent.y * extent.z);
        let i = (row * chunks + chunk) * 2u;
        let delta = partial[i] - mean;
        let total = count + size;
        mean += delta * (size / total);
        m2 += partial[i + 1u] + delta * delta * (count * size / total);
        count = total;
    }
    stats[row * 2u] = mean;
    stats[row * 2u + 1u] = 1.0 / sqrt(m2 / f32(p.d * p.h * p.w) + 1e-5);
}
