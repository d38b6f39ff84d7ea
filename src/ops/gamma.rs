//! Gamma with retained statistics, in place.

use super::Lowering;
use super::tensor::{View, blocks_of};
use super::warp::sample_place;
use crate::error::Result;
use crate::gpu::{Binding, Dispatch, Kernel, Lifetime, SlotId, linear_groups};

/// `image = gamma(image)` of one sample, per channel, mean and standard deviation kept; see
/// `gamma/apply.wgsl`. Does nothing where the draw has no gamma.
#[derive(Clone, Debug)]
pub struct Gamma {
    /// Records, \[N\] [`super::warp::WarpRecord`].
    pub draws: SlotId,
    /// Which record and which sample of the image.
    pub sample: u32,
    /// Image, N,C,D,H,W in buffers.
    pub image: View,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params([u32; 4]);

/// Partial statistics of one channel block.
const PARTS: u32 = 1024;
/// Voxels that one invocation maps.
const RUN: u32 = 8;

impl Gamma {
    /// Appends five dispatches: statistics of the image, of the map (each in two stages), the map.
    ///
    /// # Errors
    /// As [`super::warp::Warp::lower`].
    pub fn lower(&self, l: &mut Lowering) -> Result<()> {
        let place = sample_place(l.tensors, self.image, self.sample)?;
        let voxels = l.tensors.voxels(self.image);
        let channels = l.tensors.channels(self.image);
        let blocks = blocks_of(channels);
        let base = place.base * voxels;
        let slots = &mut l.tensors.slots;
        let room = u64::from(blocks * PARTS * 4) * 16;
        let partials = slots.buffer("gamma partials", room, Lifetime::Transient);
        let stats = slots.buffer("gamma stats", u64::from(blocks) * 96, Lifetime::Transient);
        let work = u64::from(voxels) * u64::from(blocks);
        for stage in 0..2i64 {
            let constants = [("PARTS", i64::from(PARTS)), ("STAGE", stage)];
            let reduce = Dispatch::new(
                Kernel::with("gamma/reduce", &constants),
                &Params([self.sample, voxels, blocks, base]),
                vec![
                    Binding::read(self.draws),
                    Binding::read(place.slot),
                    Binding::read(stats),
                    Binding::write(partials),
                ],
                [blocks * PARTS / 64, 1, 1],
            );
            l.recording.dispatch(reduce.work(work * (80 + 160 * stage as u64), work * 16));
            let finish = Dispatch::new(
                Kernel::with("gamma/finish", &constants),
                &Params([voxels, 0, 0, 0]),
                vec![Binding::read(partials), Binding::write(stats)],
                [blocks, 1, 1],
            );
            let parts = u64::from(blocks * PARTS);
            l.recording.dispatch(finish.work(parts * 60, parts * 64));
        }
        let apply = Dispatch::new(
            Kernel::with(
                "gamma/apply",
                &[
                    ("BLOCKS", i64::from(blocks)),
                    ("CHANNELS", i64::from(channels)),
                    ("RUN", i64::from(RUN)),
                ],
            ),
            &Params([self.sample, voxels, base, 0]),
            vec![Binding::read(self.draws), Binding::read(stats), Binding::write(place.slot)],
            linear_groups(u64::from(voxels).div_ceil(u64::from(64 * RUN))),
        );
        l.recording.dispatch(apply.work(work * 240, work * 32));
        Ok(())
    }
}
