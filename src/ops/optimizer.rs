//! One pass over all parameters: gradient norm, Adam, SGD. Flat buffers of f32.

use super::Lowering;
use crate::gpu::{Binding, Dispatch, Kernel, Lifetime, SlotId, linear_groups};

/// Runs of elements: first element (a multiple of 64) and length.
pub type Ranges = Vec<(u64, u64)>;

/// L2 norm of a gradient over ranges: `out[0]`, and `out[1]` = 1 where it is not finite.
#[derive(Clone, Debug)]
pub struct GradientNorm {
    /// Flat gradient.
    pub gradient: SlotId,
    /// What counts.
    pub ranges: Ranges,
    /// f32 output, 2 elements.
    pub out: SlotId,
}

/// Which rule, with its state buffers.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Adam; with `vmax` amsgrad.
    Adam {
        /// First moment.
        m: SlotId,
        /// Second moment.
        v: SlotId,
        /// Largest second moment.
        vmax: Option<SlotId>,
    },
    /// SGD with Nesterov momentum.
    Sgd {
        /// Momentum buffer.
        momentum: SlotId,
    },
}

/// One optimizer step over ranges of the flat buffers.
#[derive(Clone, Debug)]
pub struct OptimizerStep {
    /// The rule.
    pub rule: Rule,
    /// Parameters.
    pub parameters: SlotId,
    /// Gradient.
    pub gradient: SlotId,
    /// What is stepped.
    pub ranges: Ranges,
    /// Eight f32 from [`adam_hyper`] or [`sgd_hyper`].
    pub hyper: SlotId,
    /// Output of [`GradientNorm`].
    pub norm: SlotId,
    /// `Some`: leave everything as it is and write the stepped parameters there.
    pub trial: Option<SlotId>,
}

/// `result = (a + b) * scale` over `len` elements.
#[derive(Clone, Debug)]
pub struct Average {
    /// First source.
    pub a: SlotId,
    /// Second source.
    pub b: SlotId,
    /// Destination, another buffer.
    pub result: SlotId,
    /// Factor.
    pub scale: f32,
    /// Elements.
    pub len: u64,
}

/// Values that a step reads and writes of one parameter, at most: gradient, parameter, three moments.
const ELEMENT_PARTS: u64 = 9;

/// The values of one Adam step, t = 1, 2, ...; betas 0.9 and 0.999. `clip` 0 is off.
pub fn adam_hyper(lr: f64, weight_decay: f64, clip: f64, t: u64) -> [f32; 8] {
    let power = t.min(i32::MAX as u64) as i32;
    let first = lr / (1.0 - 0.9f64.powi(power));
    let second = 1.0 / (1.0 - 0.999f64.powi(power)).sqrt();
    [first as f32, weight_decay as f32, second as f32, clip as f32, 0.0, 0.0, 0.0, 0.0]
}

/// The values of one SGD step, t = 1, 2, ...
pub fn sgd_hyper(lr: f64, weight_decay: f64, momentum: f64, clip: f64, t: u64) -> [f32; 8] {
    let first_step = if t <= 1 { 1.0 } else { 0.0 };
    let (wd, mu) = (weight_decay as f32, momentum as f32);
    [lr as f32, wd, mu, clip as f32, first_step, 0.0, 0.0, 0.0]
}

/// Cuts ranges into pieces of at most so many bytes, so that each can be bound.
fn pieces(ranges: &Ranges, most_bytes: u64) -> Vec<(u64, u64)> {
    let most = (most_bytes / 4 / 64 * 64).max(64);
    let mut list = Vec::new();
    for &(start, len) in ranges {
        let mut done = 0;
        while done < len {
            let now = most.min(len - done);
            list.push((start + done, now));
            done += now;
        }
    }
    list
}

fn bound(binding: Binding, (start, len): (u64, u64)) -> Binding {
    binding.range(start * 4, (len * 4).next_multiple_of(16))
}

impl GradientNorm {
    /// Appends both stages.
    pub fn lower(&self, l: &mut Lowering) {
        let pieces = pieces(&self.ranges, l.tensors.caps().max_binding_bytes);
        let groups_of = |len: u64| len.div_ceil(4 * 2048) as u32;
        let count: u32 = pieces.iter().map(|&(_, len)| groups_of(len)).sum();
        let life = Lifetime::Transient;
        let partial = l.tensors.slots.buffer("gradient norm partial", u64::from(count) * 4, life);
        let mut first = 0;
        for piece in pieces {
            let groups = groups_of(piece.1);
            let params = [piece.1.div_ceil(4) as u32, first, groups, 0];
            let bindings =
                vec![bound(Binding::read(self.gradient), piece), Binding::write(partial)];
            let kernel = Kernel::plain("optimizer/norm_partial");
            let grid = linear_groups(u64::from(groups));
            l.recording.dispatch(
                Dispatch::new(kernel, &params, bindings, grid).work(piece.1 * 2, piece.1 * 4),
            );
            first += groups;
        }
        let bindings = vec![Binding::read(partial), Binding::write(self.out)];
        let kernel = Kernel::plain("optimizer/norm_finish");
        l.recording.dispatch(Dispatch::new(kernel, &[count, 0, 0, 0], bindings, [1, 1, 1]));
    }
}

impl OptimizerStep {
    /// Appends one dispatch a piece.
    pub fn lower(&self, l: &mut Lowering) {
        let trial = i64::from(self.trial.is_some());
        let state = |slot| if trial == 1 { Binding::read(slot) } else { Binding::write(slot) };
        let caps = l.tensors.caps();
        // An element's parts all count as work.
        let most_bytes = caps.max_binding_bytes.min(caps.work.bytes / ELEMENT_PARTS);
        for piece in pieces(&self.ranges, most_bytes) {
            let mut bindings = vec![
                bound(Binding::read(self.gradient), piece),
                Binding::read(self.hyper),
                Binding::read(self.norm),
                bound(state(self.parameters), piece),
            ];
            let kernel = match self.rule {
                Rule::Adam { m, v, vmax } => {
                    bindings.extend([m, v].map(|slot| bound(state(slot), piece)));
                    bindings.extend(vmax.map(|slot| bound(state(slot), piece)));
                    let amsgrad = i64::from(vmax.is_some());
                    Kernel::with("optimizer/adam", &[("TRIAL", trial), ("AMSGRAD", amsgrad)])
                }
                Rule::Sgd { momentum } => {
                    bindings.push(bound(state(momentum), piece));
                    Kernel::with("optimizer/sgd", &[("TRIAL", trial)])
                }
            };
            bindings.extend(self.trial.map(|slot| bound(Binding::write(slot), piece)));
            let params = [piece.1.div_ceil(4) as u32, 0, 0, 0];
            let grid = linear_groups(piece.1.div_ceil(256));
            let bytes = piece.1 * 4 * ELEMENT_PARTS;
            l.recording
                .dispatch(Dispatch::new(kernel, &params, bindings, grid).work(piece.1 * 14, bytes));
        }
    }
}

impl Average {
    /// Appends the dispatches.
    pub fn lower(&self, l: &mut Lowering) {
        for piece in pieces(&vec![(0, self.len)], l.tensors.caps().max_binding_bytes) {
            let params = [piece.1.div_ceil(4) as u32, self.scale.to_bits(), 0, 0];
            let bindings = vec![
                bound(Binding::read(self.a), piece),
                bound(Binding::read(self.b), piece),
                bound(Binding::write(self.result), piece),
            ];
            let kernel = Kernel::plain("optimizer/average");
            let grid = linear_groups(piece.1.div_ceil(256));
            l.recording.dispatch(
                Dispatch::new(kernel, &params, bindings, grid).work(piece.1, piece.1 * 12),
            );
        }
    }
}
