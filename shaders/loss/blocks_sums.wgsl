// Sums of the loss over a chunk of voxels of one sample, a channel block per workgroup: per channel
// sum p t, sum p, sum t, hard true positives, hard predictions; and the cross entropy's sum (of softmax in
// block 0 alone) with the number of ignored voxels.
//
// SIGMOID: p = 1 / (1 + exp(-l)), binary cross entropy max(l, 0) - l t + log(1 + exp(-|l|)), a hard
// prediction where l > 0. Otherwise softmax by the state of loss/blocks_softmax.
// partial: vec4 [n][chunk][block][6]. A workgroup: one block of a chunk of 2048 voxels, 64 apart for an
// invocation, then their sums added (loss/add_lanes). Bytes: 16 a block and voxel, and 4 (softmax: 20) for
// what all read. For every device.
{% set UPDATES = 0 %}
{% include "loss/blocks_common" %}
@group(0) @binding({{ 4 - SIGMOID }}) var<storage, read_write> partial: array<vec4<f32>>;
{% set SLOTS = 6 %}
{% include "loss/add_lanes" %}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let number = group.y * 32768u + group.x;
    if number >= p.total {
        return;
    }
    let block = number / p.chunks;
    let chunk = number % p.chunks;
    let ids = channels_of(block);
    let valid = ids < vec4(p.classes);
    var ce = 0.0;
    var ignored = 0.0;
    var tp = vec4(0.0);
    var sp = vec4(0.0);
    var st = vec4(0.0);
    var htp = vec4(0.0);
    var hp = vec4(0.0);
    for (var k = 0u; k < 32u; k++) {
        let v = chunk * 2048u + k * 64u + local;
        if v >= p.voxels {
            break;
        }
        let label = labels[p.first_label + v];
        let counts = label != 255u;
        let taken = valid & vec4(counts);
        let l = logits[(p.base + block) * p.voxels + v];
        let t = select(vec4(0.0), target_of(label, block), taken);
{% if SIGMOID == 1 %}
        let q = select(vec4(0.0), probability(l), taken);
        let h = select(vec4(0.0), vec4(1.0), (l > vec4(0.0)) & taken);
        let loss = max(l, vec4(0.0)) - l * t + log(1.0 + exp(-abs(l)));
        ce += dot(select(vec4(0.0), loss, taken), vec4(1.0));
{% else %}
        let s = state[v];
        let q = select(vec4(0.0), probability(l, s), taken);
        let h = select(vec4(0.0), vec4(1.0), (vec4<f32>(ids) == vec4(s.w)) & taken);
        ce += select(0.0, s.x + log(s.y) - s.z, counts);
{% endif %}
        ignored += select(1.0, 0.0, counts);
        tp += q * t;
        sp += q;
        st += t;
        htp += h * t;
        hp += h;
    }
    sh_sum[local] = tp;
    sh_sum[64u + local] = sp;
    sh_sum[128u + local] = st;
    sh_sum[192u + local] = htp;
    sh_sum[256u + local] = hp;
{% if SIGMOID == 1 %}
    sh_sum[320u + local] = vec4(ce, ignored, 0.0, 0.0);
{% else %}
    sh_sum[320u + local] = select(vec4(0.0), vec4(ce, ignored, 0.0, 0.0), ids.x == 0u);
{% endif %}
    let sum = add_lanes(local);
    if local < 6u {
        let row = (p.sample * p.chunks + chunk) * p.all_blocks + p.first_block + block;
        partial[row * 6u + local] = sum;
    }
}
