// out[i] = in[floor((i + 0.5) * n_in / n_out)] per axis: nearest label for a head below full
// resolution (nnU-Net v1, downsample_seg_for_ds_transform2), in integers.
//
// in: u32 [n][d][h][w] from an element on. out: the same with other edges. One invocation: one voxel.
struct Params {
    in_d: u32, in_h: u32, in_w: u32, total: u32,
    out_d: u32, out_h: u32, out_w: u32, first_in: u32,
    first_out: u32, pad0: u32, pad1: u32, pad2: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> source: array<u32>;
@group(0) @binding(2) var<storage, read_write> result: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 32768u + group.x) * 64u + local;
    if i >= p.total {
        return;
    }
    let w = i % p.out_w;
    let h = i / p.out_w % p.out_h;
    let d = i / (p.out_w * p.out_h) % p.out_d;
    let n = i / (p.out_w * p.out_h * p.out_d);
    let sw = min((2u * w + 1u) * p.in_w / (2u * p.out_w), p.in_w - 1u);
    let sh = min((2u * h + 1u) * p.in_h / (2u * p.out_h), p.in_h - 1u);
    let sd = min((2u * d + 1u) * p.in_d / (2u * p.out_d), p.in_d - 1u);
    result[p.first_out + i] = source[p.first_in + ((n * p.in_d + sd) * p.in_h + sh) * p.in_w + sw];
}
