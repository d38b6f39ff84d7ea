// Partial statistics of instance normalisation: per chunk of one channel block, with the chunk's
// first value K as shift, the sums of (z - K) and (z - K)^2, turned into mean and M2 (the sum of
// squared deviations): no cancellation where the mean is large against the spread.
//
// partial: vec4 [n * blocks][chunk][2]: mean, M2. A workgroup: one chunk, 64 places by a run of
// planes (norm/common), then a tree. Bytes: 16 a vec4. For every device.
{% include "norm/common" %}

@group(0) @binding(2) var<storage, read_write> partial: array<vec4<f32>>;
{% include "norm/pair_tree" %}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let shift = z_at(column_of(group, 0u), group.y * p.run);
    let c = column_of(group, local);
    var sum = vec4(0.0);
    var square = vec4(0.0);
    for (var d = c.first; d < c.end; d++) {
        let deviation = z_at(c, d) - shift;
        sum += deviation;
        square = fma(deviation, deviation, square);
    }
    add_pairs(local, sum, square);
    if local == 0u {
        let count = f32(min(64u, p.h * p.w - c.place) * (c.end - c.first));
        let mean = sh_first[0] / count;
        let i = (row_of(c) * p.chunks + c.chunk) * 2u;
        partial[i] = shift + mean;
        partial[i + 1u] = max(sh_second[0] - mean * sh_first[0], vec4(0.0));
    }
}
