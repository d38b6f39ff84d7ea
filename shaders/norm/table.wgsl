// What convolutions apply to a segment of their input while they load it (norm/on_load): statistics, scale,
// shift and slope, or, where NORM = 0, what leaves values as they are.
//
// table: vec4 [n][table_blocks][5]: mean, 1 / standard deviation, scale, shift, slope. stats: vec4
// [n][blocks][2] from norm/combine. One invocation: one channel block of one sample. For every device.
struct Params {
    rows: u32, blocks: u32, table_blocks: u32, first_block: u32,
    channels: u32, slope: f32, pad0: u32, pad1: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> table: array<vec4<f32>>;
{% if NORM == 1 %}
@group(0) @binding(2) var<storage, read> stats: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> gamma: array<f32>;
@group(0) @binding(4) var<storage, read> beta: array<f32>;
{% endif %}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = group.x * 64u + local;
    if row >= p.rows {
        return;
    }
    let block = row % p.blocks;
    let out = (row / p.blocks * p.table_blocks + p.first_block + block) * 5u;
{% if NORM == 1 %}
    // Channels that pad the last block have scale and shift 0.
    var scale = vec4(0.0);
    var shift = vec4(0.0);
    for (var i = 0u; i < 4u; i++) {
        let channel = block * 4u + i;
        if channel < p.channels {
            scale[i] = gamma[channel];
            shift[i] = beta[channel];
        }
    }
    table[out] = stats[row * 2u];
    table[out + 1u] = stats[row * 2u + 1u];
    table[out + 2u] = scale;
    table[out + 3u] = shift;
{% else %}
    table[out] = vec4(0.0);
    table[out + 1u] = vec4(1.0);
    table[out + 2u] = vec4(1.0);
    table[out + 3u] = vec4(0.0);
{% endif %}
    table[out + 4u] = vec4(p.slope);
}
