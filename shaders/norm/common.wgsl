// Part of the normalisation kernels: parameters, z, and the column of voxels of one invocation.
//
// z: channel blocks, texture or buffer. Workgroups: x 64 places (h, w) of a plane from first_tile on, y a
// run of planes, z samples and channel blocks from first_row on; an invocation stays at its place and walks the run, so that what it
// looks up once (statistics, scale, its place) serves many voxels.
struct Params {
    d: u32, h: u32, w: u32, blocks: u32,
    z_base: u32, z_stride: u32, a_base: u32, a_stride: u32,
    b_base: u32, b_stride: u32, out_base: u32, out_stride: u32,
    first_block: u32, sample_blocks: u32, first_sample: u32, slope: f32,
    channels: u32, run: u32, tiles: u32, chunks: u32,
    frozen: u32, first_row: u32, out_pitch: u32, first_tile: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
{% if IN == 1 %}
@group(0) @binding(1) var z: texture_storage_3d<rgba32float, read>;
{% else %}
@group(0) @binding(1) var<storage, read> z: array<vec4<f32>>;
{% endif %}

struct Column {
    n: u32, block: u32,
    // Place within a plane: linear, and along w and h.
    place: u32, w: u32, h: u32,
    // Planes first .. end; none for an invocation beyond the plane.
    first: u32, end: u32,
    // Chunk of the channel block, for partial sums.
    chunk: u32,
}

fn column_of(group: vec3<u32>, local: u32) -> Column {
    let tile = p.first_tile + group.x;
    let place = tile * 64u + local;
    let first = group.y * p.run;
    let end = select(first, min(first + p.run, p.d), place < p.h * p.w);
    let row = p.first_row + group.z;
    return Column(
        row / p.blocks, row % p.blocks, place, place % p.w, place / p.w, first, end,
        group.y * p.tiles + tile,
    );
}

// Row of a column's channel block in statistics and sums.
fn row_of(c: Column) -> u32 {
    return (p.first_sample + c.n) * p.sample_blocks + p.first_block + c.block;
}

fn z_at(c: Column, d: u32) -> vec4<f32> {
    let plane = (p.z_base + c.n * p.z_stride + c.block) * p.d + d;
{% if IN == 1 %}
    return textureLoad(z, vec3(c.w, c.h, plane));
{% else %}
    return z[plane * (p.h * p.w) + c.place];
{% endif %}
}
