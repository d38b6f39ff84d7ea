//! Sets a recording up on a device: operands are made, filled and put where the ops read them.

use super::{Against, Result};
use asng_wgpu::gpu::{
    Command, Gpu, Lifetime, Memory, MemoryPlan, Program, Recording, SlotId, SlotKind,
};
use asng_wgpu::ops::stage::Stage;
use asng_wgpu::ops::tensor::{Storage, Tensors, View};
use asng_wgpu::ops::{ConvVariant, Lowering, ParamRef};

/// What is measured, while it is being recorded.
pub struct Rig {
    pub tensors: Tensors,
    pub recording: Recording,
    pub variant: ConvVariant,
    setup: Recording,
    filled: Vec<SlotId>,
}

/// A program with its memory and its work.
pub struct Ready {
    pub program: Program,
    pub memory: Memory,
    pub planned_bytes: u64,
    pub flops: u64,
    pub bytes: u64,
    pub dispatches: usize,
}

impl Rig {
    pub fn new(gpu: &Gpu) -> Self {
        Rig {
            tensors: Tensors::new(gpu.caps()),
            recording: Recording::new(),
            variant: ConvVariant::available(gpu.caps())[0],
            setup: Recording::new(),
            filled: Vec::new(),
        }
    }

    /// What ops lower with.
    pub fn lowering(&mut self) -> Lowering<'_> {
        let variant = self.variant;
        Lowering { tensors: &mut self.tensors, recording: &mut self.recording, variant }
    }

    /// A tensor that the recording writes.
    pub fn output(
        &mut self,
        samples: u32,
        segments: &[u32],
        edges: [u32; 3],
        storage: Storage,
    ) -> Result<View> {
        let keep = Lifetime::Persistent;
        Ok(self.tensors.add("tensor", samples, segments, edges, storage, keep)?.view())
    }

    /// A tensor of random values.
    pub fn input(
        &mut self,
        samples: u32,
        segments: &[u32],
        edges: [u32; 3],
        storage: Storage,
    ) -> Result<View> {
        let host = self.output(samples, segments, edges, Storage::Buffer)?;
        self.filled.extend(self.tensors.of(host).parts.iter().map(|p| p.slot));
        if storage == Storage::Buffer {
            return Ok(host);
        }
        let operand = self.output(samples, segments, edges, storage)?;
        let (tensors, variant) = (&mut self.tensors, self.variant);
        let mut l = Lowering { tensors, recording: &mut self.setup, variant };
        Stage { from: host, to: operand }.lower(&mut l);
        Ok(operand)
    }

    /// A flat buffer of random values.
    pub fn values(&mut self, len: u64) -> ParamRef {
        let slot = self.tensors.slots.buffer("values", len * 4, Lifetime::Persistent);
        self.filled.push(slot);
        ParamRef { slot, offset: 0, len }
    }

    /// Allocates, compiles and fills.
    pub fn ready(self, gpu: &Gpu) -> Result<Ready> {
        let plan = MemoryPlan::new(&self.tensors.slots, &[&self.setup, &self.recording]);
        let memory = Memory::new(gpu, &self.tensors.slots, &plan)?;
        for slot in self.filled {
            if let SlotKind::Buffer { bytes } = self.tensors.slots.kind(slot) {
                gpu.write(&memory, slot, 0, &random(bytes as usize / 4))?;
            }
        }
        Program::new(gpu, &memory, &self.setup)?.submit(gpu)?;
        gpu.wait()?;
        Ok(Ready {
            program: Program::new(gpu, &memory, &self.recording)?,
            memory,
            planned_bytes: plan.bytes(),
            flops: self.recording.flops(),
            bytes: self.recording.dispatches().map(|d| d.bytes).sum(),
            dispatches: self.recording.dispatches().count(),
        })
    }
}

/// Read and written by filling a texture, beside what kernels move.
pub fn fill_bytes(command: &Command) -> u64 {
    match command {
        Command::Fill { size, .. } => 32 * size.iter().map(|&n| u64::from(n)).product::<u64>(),
        _ => 0,
    }
}

impl Ready {
    /// GFLOP/s or GB/s of a run that took so long.
    pub fn rate(&self, against: Against, ms: f64) -> f64 {
        let work = match against {
            Against::MultiplyAdd => self.flops,
            Against::Copy => self.bytes,
        };
        work as f64 / ms * 1e-6
    }
}

/// Values in -1 .. 1 (the generator of Numerical Recipes: good enough to keep units busy).
fn random(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
