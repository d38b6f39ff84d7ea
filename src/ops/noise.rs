//! Counter-based noise of the elastic displacement.

use super::Lowering;
use crate::error::Result;
use crate::gpu::{Binding, Dispatch, Kernel, SlotId, linear_groups};

/// `out[v] = (u_D, u_H, u_W, 0)`, each U(-1, 1) from the sample's key; see `noise/uniform.wgsl`.
/// Does nothing where the draw is not elastic.
#[derive(Clone, Debug)]
pub struct Noise {
    /// Records, \[N\] [`super::warp::WarpRecord`].
    pub draws: SlotId,
    /// Which record.
    pub sample: u32,
    /// Edges D, H, W.
    pub shape: [u32; 3],
    /// Output, vec4 \[D*H*W\].
    pub out: SlotId,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    sample: u32,
    voxels: u32,
    slice: u32,
    groups: u32,
}

impl Noise {
    /// Appends one dispatch.
    ///
    /// # Errors
    /// None at present.
    pub fn lower(&self, l: &mut Lowering) -> Result<()> {
        let [d, h, w] = self.shape;
        let voxels = d * h * w;
        let groups = voxels.div_ceil(64);
        let params = Params { sample: self.sample, voxels, slice: h * w, groups };
        let bindings = vec![Binding::read(self.draws), Binding::write(self.out)];
        l.recording.dispatch(
            Dispatch::new(
                Kernel::plain("noise/uniform"),
                &params,
                bindings,
                linear_groups(u64::from(groups)),
            )
            .work(u64::from(voxels) * 6, u64::from(voxels) * 16),
        );
        Ok(())
    }
}
