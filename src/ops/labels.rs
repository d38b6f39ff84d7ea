//! Label maps of a batch, u32 \[n\]\[d\]\[h\]\[w\], bound by samples: a whole batch may exceed a binding.

use crate::gpu::{Binding, Caps, SlotId};
use std::ops::Range;

/// Bytes of a label.
const BYTES: u64 = 4;

/// The labels of some samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelRange {
    slot: SlotId,
    range: (u64, u64),
    /// Element of the binding where the first of the samples begins: bindings begin at multiples of
    /// the device's alignment, samples need not.
    pub first: u32,
}

impl LabelRange {
    /// The labels of `samples` in a map of `voxels` voxels per sample.
    pub fn of(caps: &Caps, slot: SlotId, voxels: u32, samples: Range<u32>) -> Self {
        let at = |sample: u32| u64::from(sample) * u64::from(voxels) * BYTES;
        let (start, end) = (at(samples.start), at(samples.end));
        let offset = start / caps.offset_alignment * caps.offset_alignment;
        LabelRange { slot, range: (offset, end - offset), first: ((start - offset) / BYTES) as u32 }
    }

    /// Read by a kernel.
    pub fn read(&self) -> Binding {
        Binding::read(self.slot).range(self.range.0, self.range.1)
    }

    /// Written by a kernel.
    pub fn write(&self) -> Binding {
        Binding::write(self.slot).range(self.range.0, self.range.1)
    }
}

/// Runs of samples whose labels fit a binding each, with `voxels` voxels per sample.
pub fn sample_runs(caps: &Caps, voxels: u32, samples: u32) -> impl Iterator<Item = Range<u32>> {
    let room = caps.max_binding_bytes.saturating_sub(caps.offset_alignment);
    let most = (room / (u64::from(voxels) * BYTES).max(1)).clamp(1, u64::from(samples.max(1)));
    let step = most as u32;
    (0..samples).step_by(step as usize).map(move |n| n..samples.min(n + step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Lifetime, Slots};

    #[test]
    fn ranges_are_aligned_and_hold_their_samples() {
        let slot = Slots::new().buffer("labels", 1 << 20, Lifetime::Persistent);
        let caps = Caps { max_binding_bytes: 4096, ..Caps::portable() };
        for voxels in [1u32, 7, 64, 105, 343, 900] {
            let mut next = 0;
            for samples in sample_runs(&caps, voxels, 11) {
                assert_eq!(samples.start, next);
                next = samples.end;
                let labels = LabelRange::of(&caps, slot, voxels, samples.clone());
                let (offset, bytes) = labels.read().range.unwrap();
                assert!(offset % 256 == 0 && bytes <= 4096, "{voxels} {samples:?}");
                let first = offset / 4 + u64::from(labels.first);
                assert_eq!(first, u64::from(samples.start * voxels));
                assert_eq!(offset + bytes, u64::from(samples.end * voxels) * 4);
            }
            assert_eq!(next, 11);
        }
    }
}
