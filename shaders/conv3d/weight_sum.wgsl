// Sums partial weight gradients over the chunks, in order, into canonical layout.
//
// partial: vec4 over output channels, [chunk][co_tile][ci_tile][t0][t1][t2][c 4 C][t T]; which axes
// the three loops over taps are, step0 .. step2 say.
// dw: f32, index co * co_stride + ci * ci_stride + tap (logical channels).
// One invocation: one vec4 position, all chunks. Bytes: 16 a chunk and position. For every device.
struct Params {
    total: u32, chunks: u32, t_blocks: u32, c_blocks: u32,
    ci_blocks: u32, co_stride: u32, ci_stride: u32, co_end: u32,
    segment: u32, segment_padded: u32, ci_count: u32, ci_first: u32,
    k0: u32, k1: u32, k2: u32, accumulate: u32,
    step0: u32, step1: u32, step2: u32, co_block_first: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dw: array<f32>;

fn put(co: u32, ci: u32, tap: u32, value: f32) {
    if co < p.co_end {
        let i = co * p.co_stride + ci * p.ci_stride + tap;
        dw[i] = select(value, dw[i] + value, p.accumulate == 1u);
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 32768u + group.x) * 64u + local;
    if i >= p.total {
        return;
    }
    var sum = vec4(0.0);
    for (var chunk = 0u; chunk < p.chunks; chunk++) {
        sum += partial[chunk * p.total + i];
    }
    var rest = i;
    let t = rest % p.t_blocks;
    rest /= p.t_blocks;
    let c = rest % (4u * p.c_blocks);
    rest /= 4u * p.c_blocks;
    let tap = rest / (p.k1 * p.k2) % p.k0 * p.step0 + rest / p.k2 % p.k1 * p.step1 + rest % p.k2 * p.step2;
    rest /= p.k0 * p.k1 * p.k2;
    let ci_tiles = (p.ci_blocks + p.c_blocks - 1u) / p.c_blocks;
    let block = rest % ci_tiles * p.c_blocks + c / 4u;
    var ci = (p.ci_first + block) * 4u + c % 4u;
    if ci >= p.segment_padded {
        ci = ci - p.segment_padded + p.segment;
    } else if ci >= p.segment {
        ci = p.ci_count;
    }
    if block >= p.ci_blocks || ci >= p.ci_count {
        return;
    }
    let co = (p.co_block_first + rest / ci_tiles * p.t_blocks + t) * 4u;
    put(co, ci, tap, sum.x);
    put(co + 1u, ci, tap, sum.y);
    put(co + 2u, ci, tap, sum.z);
    put(co + 3u, ci, tap, sum.w);
}
