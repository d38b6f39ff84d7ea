// Adds p_k g_k over some channel blocks of a sample to its voxels' sum, g_k = A_k t_k + B_k; the blocks may
// come in several dispatches, in order.
//
// state: as loss/blocks_common says. coefficients: vec4, as loss/dice_finish leaves them.
// One invocation: one voxel. Bytes: 16 a block and 36 a voxel. For every device.
{% set SIGMOID = 0 %}
{% set UPDATES = 1 %}
{% include "loss/blocks_common" %}
@group(0) @binding(4) var<storage, read> coefficients: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let v = (group.y * 32768u + group.x) * 64u + local;
    if v >= p.voxels {
        return;
    }
    let s = state[v];
    let label = labels[p.first_label + v];
    var mean = select(s.w, 0.0, p.first_block == 0u);
    for (var b = 0u; b < p.blocks; b++) {
        let at = 1u + (p.sample * p.all_blocks + p.first_block + b) * 2u;
        let g = coefficients[at] * target_of(label, b) + coefficients[at + 1u];
        let q = probability(logits[(p.base + b) * p.voxels + v], s);
        mean += dot(select(vec4(0.0), q * g, channels_of(b) < vec4(p.classes)), vec4(1.0));
    }
    state[v] = vec4(s.xyz, mean);
}
