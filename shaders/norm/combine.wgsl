// Combines chunk statistics in order (Chan, Golub, LeVeque 1979) to mean and
// 1 / sqrt(variance + 1e-5), biased variance (torch.nn.InstanceNorm3d).
//
// partial: vec4 [n * blocks][chunk][2]: mean, M2. stats: vec4 [n * blocks][2]: mean, rstd.
// One invocation: one channel block of one sample. For every device.
struct Params {
    d: u32, plane: u32, run: u32, tiles: u32,
    chunks: u32, rows: u32, sample_blocks: u32, region_blocks: u32,
    first: u32, pad0: u32, pad1: u32, pad2: u32,
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
    var count = 0.0;
    var mean = vec4(0.0);
    var m2 = vec4(0.0);
    for (var chunk = 0u; chunk < p.chunks; chunk++) {
        let i = (row * p.chunks + chunk) * 2u;
        let places = min(64u, p.plane - chunk % p.tiles * 64u);
        let size = f32(places * min(p.run, p.d - chunk / p.tiles * p.run));
        let delta = partial[i] - mean;
        let total = count + size;
        mean += delta * (size / total);
        m2 += partial[i + 1u] + delta * delta * (count * size / total);
        count = total;
    }
    let out = (p.first + row / p.region_blocks * p.sample_blocks + row % p.region_blocks) * 2u;
    stats[out] = mean;
    stats[out + 1u] = 1.0 / sqrt(m2 / f32(p.d * p.plane) + 1e-5);
}
