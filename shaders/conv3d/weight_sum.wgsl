// Sums partial weight gradients over the chunks, in order, into canonical layout.
//
// partial: vec4 over output channels, [chunk][co_tile][ci_block][td][th][tw][c 4][t T].
// dw: f32, index co * co_stride + ci * ci_stride + tap (logical channels).
// One invocation: one vec4 position, all chunks. Bytes: 16 a chunk and position. For every device.
struct Params {
    total: u32, chunks: u32, t_blocks: u32, ci_blocks: u32,
    taps: u32, co_stride: u32, ci_stride: u32, co_count: u32,
    segment: u32, segment_padded: u32, ci_count: u32, ci_first: u32,
    accumulate: u32, co_block_first: u32, pad1: u32, pad2: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dw: array<f32>;

fn put(co: u32, ci: u32, tap: u32, value: f32) {
    if co < p.co_count {
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
    let t = i % p.t_blocks;
    let c = i / p.t_blocks % 4u;
    let tap = i / (p.t_blocks * 4u) % p.taps;
    let block = i / (p.t_blocks * 4u * p.taps);
    var ci = (p.ci_first + block % p.ci_blocks) * 4u + c;
    if ci >= p.segment_padded {
        ci = ci - p.segment_padded + p.segment;
    } else if ci >= p.segment {
        ci = p.ci_count;
    }
    if ci >= p.ci_count {
        return;
    }
    let co = (p.co_block_first + block / p.ci_blocks * p.t_blocks + t) * 4u;
    put(co, ci, tap, sum.x);
    put(co + 1u, ci, tap, sum.y);
    put(co + 2u, ci, tap, sum.z);
    put(co + 3u, ci, tap, sum.w);
}
