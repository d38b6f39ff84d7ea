// db[o] = sum over samples and voxels of dy[n][o][v], in a fixed order.
//
// dy: channel blocks, buffer or texture (layout as in conv3d/gather_subgroup). db: f32 [Co].
// One workgroup: one channel block; 64 invocations stride over the voxels, then a tree.
// Bytes: 16 a voxel and block. For every device.
struct Params {
    voxels: u32, samples: u32, base: u32, stride: u32,
    co_count: u32, d: u32, h: u32, w: u32,
    accumulate: u32, block_first: u32, pad1: u32, pad2: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
{% if TEXTURE == 1 %}
@group(0) @binding(1) var dy: texture_storage_3d<rgba32float, read>;
{% else %}
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
{% endif %}
@group(0) @binding(2) var<storage, read_write> db: array<f32>;
var<workgroup> sh_sum: array<vec4<f32>, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    var sum = vec4(0.0);
    for (var n = 0u; n < p.samples; n++) {
        let block = p.base + n * p.stride + group.x;
        // Partial sums of a slice keep f32 exact enough for millions of voxels.
        for (var row = local; row < p.d * p.h; row += 64u) {
            var part = vec4(0.0);
            for (var w = 0u; w < p.w; w++) {
{% if TEXTURE == 1 %}
                part += textureLoad(dy, vec3(i32(w), i32(row % p.h), i32(block * p.d + row / p.h)));
{% else %}
                part += dy[block * p.voxels + row * p.w + w];
{% endif %}
            }
            sum += part;
        }
    }
    sh_sum[local] = sum;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            sh_sum[local] += sh_sum[local + half];
        }
    }
    if local == 0u {
        for (var i = 0u; i < 4u; i++) {
            let c = (p.block_first + group.x) * 4u + i;
            if c < p.co_count {
                db[c] = select(sh_sum[0][i], db[c] + sh_sum[0][i], p.accumulate == 1u);
            }
        }
    }
}
