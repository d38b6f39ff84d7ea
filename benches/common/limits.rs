//! What the device at hand can do at most.

use super::{Against, Ready, Result, Rig, milliseconds};
use asng_wgpu::gpu::{Binding, Dispatch, Gpu, Kernel, Lifetime, linear_groups};

const GROUPS: u32 = 1024;
/// FLOPs of one invocation and turn of the shader.
const FLOPS_A_TURN: u64 = 2 * 12 * 16;
/// Far larger than any cache, yet within every device's binding.
const COPY_BYTES: u64 = 120 << 20;

pub struct Limits {
    multiply_add: Ready,
    copy: Ready,
}

impl Limits {
    pub fn new(gpu: &Gpu) -> Result<Self> {
        // As many turns as take long enough to be timed.
        let mut turns = 64;
        let mut program = multiply_add(gpu, turns)?;
        milliseconds(gpu, &program)?;
        while milliseconds(gpu, &program)? < 25.0 && turns < 1 << 20 {
            turns *= 2;
            program = multiply_add(gpu, turns)?;
        }
        Ok(Limits { multiply_add: program, copy: copy(gpu)? })
    }

    pub fn of(&self, against: Against) -> &Ready {
        match against {
            Against::MultiplyAdd => &self.multiply_add,
            Against::Copy => &self.copy,
        }
    }

    /// Best of five.
    pub fn rate(&self, gpu: &Gpu, against: Against) -> Result<f64> {
        let program = self.of(against);
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            best = best.min(milliseconds(gpu, program)?);
        }
        Ok(program.rate(against, best))
    }
}

fn multiply_add(gpu: &Gpu, turns: u32) -> Result<Ready> {
    let mut rig = Rig::new(gpu);
    let invocations = u64::from(GROUPS) * 64;
    let out = rig.tensors.slots.buffer("out", invocations * 4, Lifetime::Persistent);
    let params = [turns, 0.999f32.to_bits(), 0.001f32.to_bits(), 0];
    let kernel = Kernel::plain("limit/multiply_add");
    let dispatch = Dispatch::new(kernel, &params, vec![Binding::write(out)], [GROUPS, 1, 1]);
    rig.recording.dispatch(dispatch.work(invocations * u64::from(turns) * FLOPS_A_TURN, 0));
    rig.ready(gpu)
}

fn copy(gpu: &Gpu) -> Result<Ready> {
    let mut rig = Rig::new(gpu);
    let mut buffer = |name| rig.tensors.slots.buffer(name, COPY_BYTES, Lifetime::Persistent);
    let bindings = vec![Binding::read(buffer("source")), Binding::write(buffer("result"))];
    let vec4s = COPY_BYTES / 16;
    let groups = linear_groups(vec4s.div_ceil(64));
    let params = [vec4s as u32, 0, 0, 0];
    let dispatch = Dispatch::new(Kernel::plain("limit/copy"), &params, bindings, groups);
    rig.recording.dispatch(dispatch.work(0, COPY_BYTES * 2));
    rig.ready(gpu)
}
