//! Twin of `noise/uniform.wgsl`, bit for bit.

fn mix(mut h: u32) -> u32 {
    h ^= h >> 16;
    h = h.wrapping_mul(0x7FEB_352D);
    h ^= h >> 15;
    h = h.wrapping_mul(0x846C_A68B);
    h ^ (h >> 16)
}

/// U(-1, 1) of (key, axis 0..3, voxel index).
pub fn uniform(key: u64, axis: u32, voxel: u32) -> f32 {
    let (low, high) = (key as u32, (key >> 32) as u32);
    let h = mix(voxel.wrapping_mul(0x9E37_79B9).wrapping_add(low));
    let h = mix(h ^ high.wrapping_add(axis.wrapping_mul(0x85EB_CA6B)));
    ((2 * (h >> 9) + 1) as f32 - 8_388_608.0) * (1.0 / 8_388_608.0)
}

/// The noise of a patch, \[3\]\[D*H*W\]; `planar`: equal slices along D, axis 0 zero.
pub fn field(key: u64, [d, h, w]: [usize; 3], planar: bool) -> Vec<f32> {
    let voxels = d * h * w;
    let value = |axis: usize, v: usize| match (planar, axis) {
        (true, 0) => 0.0,
        (true, _) => uniform(key, axis as u32, (v % (h * w)) as u32),
        (false, _) => uniform(key, axis as u32, v as u32),
    };
    (0..3 * voxels).map(|i| value(i / voxels, i % voxels)).collect()
}
