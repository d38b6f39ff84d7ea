// Takes some channel blocks of a sample into the softmax of its voxels: maximum, sum of exponentials, own
// logit, class of the maximum (loss/blocks_common). The blocks may come in several dispatches, in order.
//
// One invocation: one voxel. Bytes: 16 a block and 36 a voxel. For every device.
{% set SIGMOID = 0 %}
{% set UPDATES = 1 %}
{% include "loss/blocks_common" %}

fn logits_at(block: u32, v: u32) -> vec4<f32> {
    let l = logits[(p.base + block) * p.voxels + v];
    return select(vec4(-3.4e38), l, channels_of(block) < vec4(p.classes));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let v = (group.y * 32768u + group.x) * 64u + local;
    if v >= p.voxels {
        return;
    }
    var before = vec4(-3.4e38, 0.0, 0.0, 0.0);
    if p.first_block > 0u {
        before = state[v];
    }
    let label = labels[p.first_label + v];
    var top = before.x;
    var own = before.z;
    var best = before.w;
    for (var b = 0u; b < p.blocks; b++) {
        let l = logits_at(b, v);
        let most = max(max(l.x, l.y), max(l.z, l.w));
        if most > top {
            // The first of those that are equal.
            let lane = select(select(select(3u, 2u, l.z == most), 1u, l.y == most), 0u, l.x == most);
            top = most;
            best = f32((p.first_block + b) * 4u + lane);
        }
        own += dot(select(vec4(0.0), l, channels_of(b) == vec4(label)), vec4(1.0));
    }
    var sum = before.y * exp(before.x - top);
    for (var b = 0u; b < p.blocks; b++) {
        let l = logits_at(b, v);
        sum += dot(select(vec4(0.0), exp(l - top), channels_of(b) < vec4(p.classes)), vec4(1.0));
    }
    state[v] = vec4(top, sum, own, best);
}
