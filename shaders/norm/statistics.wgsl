// Partial statistics of instance normalisation: per chunk of one channel block, with the chunk's
// first value K as shift, the sums of (z - K) and (z - K)^2, turned into mean and M2 (the sum of
// squared deviations): no cancellation where the mean is large against the spread.
//
// z: channel blocks, vec4 (base + n * stride + block) * voxels + v.
// partial: vec4 [n][block][chunk][2]: mean, M2. A workgroup: one chunk; 64 invocations stride over
// it, then a tree. Bytes: 16 a vec4. For every device.
struct Params {
    voxels: u32, base: u32, stride: u32, blocks: u32,
    chunks: u32, chunk_voxels: u32, groups: u32, first: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> z: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> partial: array<vec4<f32>>;
var<workgroup> sh_sum: array<vec4<f32>, 64>;
var<workgroup> sh_square: array<vec4<f32>, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let number = group.y * 32768u + group.x;
    if number >= p.groups {
        return;
    }
    let chunk = number % p.chunks;
    let block = number / p.chunks % p.blocks;
    let n = number / (p.chunks * p.blocks);
    let origin = (p.base + n * p.stride + block) * p.voxels;
    let begin = chunk * p.chunk_voxels;
    let end = min(begin + p.chunk_voxels, p.voxels);
    let shift = z[origin + begin];
    var sum = vec4(0.0);
    var square = vec4(0.0);
    for (var v = begin + local; v < end; v += 64u) {
        let deviation = z[origin + v] - shift;
        sum += deviation;
        square = fma(deviation, deviation, square);
    }
    sh_sum[local] = sum;
    sh_square[local] = square;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            sh_sum[local] += sh_sum[local + half];
            sh_square[local] += sh_square[local + half];
        }
    }
    if local == 0u {
        let count = f32(end - begin);
        let mean = sh_sum[0] / count;
        let i = (p.first + number) * 2u;
        partial[i] = shift + mean;
        partial[i + 1u] = max(sh_square[0] - mean * sh_sum[0], vec4(0.0));
    }
}
