// Part of the normalisation kernels: n = gamma (z - mean) rstd + beta of one vec4, and stores.
struct Params {
    voxels: u32, blocks: u32, total: u32, channels: u32,
    z_base: u32, z_stride: u32, a_base: u32, a_stride: u32,
    b_base: u32, b_stride: u32, out_base: u32, out_stride: u32,
    first_block: u32, sample_blocks: u32, first_sample: u32, slope: f32,
    d: u32, h: u32, w: u32, chunks: u32,
    chunk_voxels: u32, groups: u32, frozen: u32, first: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> z: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> stats: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> gamma: array<f32>;
@group(0) @binding(4) var<storage, read> beta: array<f32>;

// Channels that pad the last block have gamma 0 and beta 0.
fn of_channels_gamma(block: u32) -> vec4<f32> {
    var g = vec4(0.0);
    let c = block * 4u;
    if c < p.channels { g.x = gamma[c]; }
    if c + 1u < p.channels { g.y = gamma[c + 1u]; }
    if c + 2u < p.channels { g.z = gamma[c + 2u]; }
    if c + 3u < p.channels { g.w = gamma[c + 3u]; }
    return g;
}

fn of_channels_beta(block: u32) -> vec4<f32> {
    var b = vec4(0.0);
    let c = block * 4u;
    if c < p.channels { b.x = beta[c]; }
    if c + 1u < p.channels { b.y = beta[c + 1u]; }
    if c + 2u < p.channels { b.z = beta[c + 2u]; }
    if c + 3u < p.channels { b.w = beta[c + 3u]; }
    return b;
}
