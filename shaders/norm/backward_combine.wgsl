// Sums the chunks, always in one order: per sample and channel the sums of g and g xhat; over the samples they
// are the gradients on beta and gamma.
//
// partial: vec4 [n * blocks][chunk][2]. sums: vec4 [n * blocks][2]. dgamma, dbeta: f32 [C].
// A workgroup: one channel block; an invocation every 64th chunk, then a tree. Bytes: 32 a chunk. For every device.
struct Params { chunks: u32, blocks: u32, samples: u32, channels: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dgamma_dbeta: array<f32>;

{% include "norm/pair_tree" %}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let block = group.x;
    var all_g = vec4(0.0);
    var all_gx = vec4(0.0);
    for (var n = 0u; n < p.samples; n++) {
        let row = n * p.blocks + block;
        var g = vec4(0.0);
        var gx = vec4(0.0);
        for (var chunk = local; chunk < p.chunks; chunk += 64u) {
            let i = (row * p.chunks + chunk) * 2u;
            g += partial[i];
            gx += partial[i + 1u];
        }
        // The sums of the sample before must have been read.
        workgroupBarrier();
        add_pairs(local, g, gx);
        if local == 0u {
            sums[row * 2u] = sh_first[0];
            sums[row * 2u + 1u] = sh_second[0];
            all_g += sh_first[0];
            all_gx += sh_second[0];
        }
    }
    if local > 0u {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        let c = block * 4u + i;
        if c < p.channels {
            dgamma_dbeta[c] = all_gx[i];
            dgamma_dbeta[p.channels + c] = all_g[i];
        }
    }
}
