// Counter-based noise of the elastic displacement, U(-1, 1), keyed by (key, axis, voxel).
//
//   mix(h): h ^= h >> 16; h *= 0x7FEB352D; h ^= h >> 15; h *= 0x846CA68B; h ^= h >> 16
//   h = mix(mix(v * 0x9E3779B9 + key_low) ^ (key_high + axis * 0x85EBCA6B))
//   value = (2 (h >> 9) + 1 - 2^23) / 2^23          (exact in f32, symmetric, never -1, 0 or 1)
// All arithmetic on wrapping u32; the mixer is the "lowbias32" finaliser (C. Wellons, public
// domain). The CPU twin, reference::noise, gives the same bits. v is the voxel's row-major index
// in the patch; with the planar flag the index within its slice, and axis 0 is 0.
//
// Bindings: 1 draws [sample] Record, 2 target [D*H*W] vec4 (axes D, H, W, 0).
// One invocation: one voxel. Leaves at once where the sample has no elastic part.
// FLOPs: 6 a voxel (and about 40 integer operations); bytes: 16 written a voxel.
// Runs on every device. Drawing the noise again inside the first smoothing pass would save one
// buffer, but the smoothing then could not be fed with given noise.

{% include "warp/record" %}

struct Params {
    sample: u32,
    voxels: u32,
    slice: u32,
    groups: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> draws: array<Record>;
@group(0) @binding(2) var<storage, read_write> target_: array<vec4<f32>>;

fn mix_bits(seed: u32) -> u32 {
    var h = seed;
    h ^= h >> 16u;
    h *= 0x7FEB352Du;
    h ^= h >> 15u;
    h *= 0x846CA68Bu;
    h ^= h >> 16u;
    return h;
}

fn unit(h: u32) -> f32 {
    return (f32(2u * (h >> 9u) + 1u) - 8388608.0) * (1.0 / 8388608.0);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let v = (group.y * 32768u + group.x) * 64u + lane;
    let flags = draws[params.sample].flags;
    if ((flags & 2u) == 0u || v >= params.voxels) {
        return;
    }
    let planar = (flags & 128u) != 0u;
    let index = select(v, v % params.slice, planar);
    let low = draws[params.sample].key_low;
    let high = draws[params.sample].key_high;
    let h = mix_bits(index * 0x9E3779B9u + low);
    let x = unit(mix_bits(h ^ high));
    let y = unit(mix_bits(h ^ (high + 0x85EBCA6Bu)));
    let z = unit(mix_bits(h ^ (high + 0x0BD794D6u)));
    target_[v] = vec4<f32>(select(x, 0.0, planar), y, z, 0.0);
}
