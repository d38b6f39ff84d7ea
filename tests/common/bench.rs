//! Tensors, slots and a recording of a small test.

use super::text;
use asng_wgpu::gpu::{Caps, Gpu, Lifetime, Memory, MemoryPlan, Program, Recording, SlotId};
use asng_wgpu::ops::tensor::{Storage, Tensors, View};
use asng_wgpu::ops::{ConvVariant, Lowering, ParamRef};

/// Everything a test declares lives for ever.
pub const KEEP: Lifetime = Lifetime::Persistent;

/// Tensors, a recording, and after `place` the device's memory.
pub struct Bench {
    pub tensors: Tensors,
    pub recording: Recording,
    variant: ConvVariant,
}

impl Bench {
    pub fn new(gpu: &Gpu) -> Bench {
        Bench::of(gpu.caps(), ConvVariant::available(gpu.caps())[0])
    }

    /// For a device of (perhaps reduced) limits, and a variant of the convolutions.
    pub fn of(caps: &Caps, variant: ConvVariant) -> Bench {
        Bench { tensors: Tensors::new(caps), recording: Recording::new(), variant }
    }

    pub fn lowering(&mut self) -> Lowering<'_> {
        Lowering {
            tensors: &mut self.tensors,
            recording: &mut self.recording,
            variant: self.variant,
        }
    }

    /// A buffer tensor of N,C,D,H,W.
    pub fn view(&mut self, shape: &[usize]) -> Result<View, String> {
        let [n, c, d, h, w] = shape.iter().map(|&e| e as u32).collect::<Vec<_>>()[..] else {
            return Err(format!("{shape:?} is not N,C,D,H,W"));
        };
        let id = self.tensors.add("t", n, &[c], [d, h, w], Storage::Buffer, KEEP).map_err(text)?;
        Ok(id.view())
    }

    /// A flat run of f32 that fills a slot of its own.
    pub fn flat(&mut self, len: usize) -> ParamRef {
        let bytes = (len as u64 * 4).next_multiple_of(256);
        ParamRef {
            slot: self.tensors.slots.buffer("flat", bytes, KEEP),
            offset: 0,
            len: len as u64,
        }
    }

    pub fn slot(&mut self, bytes: usize) -> SlotId {
        self.tensors.slots.buffer("slot", bytes as u64, KEEP)
    }

    pub fn place(&self, gpu: &Gpu) -> Result<Memory, String> {
        let plan = MemoryPlan::new(&self.tensors.slots, &[&self.recording]);
        Memory::new(gpu, &self.tensors.slots, &plan).map_err(text)
    }

    pub fn run(&self, gpu: &Gpu, memory: &Memory) -> Result<(), String> {
        self.program(gpu, memory)?.submit(gpu).map_err(text)
    }

    pub fn program(&self, gpu: &Gpu, memory: &Memory) -> Result<Program, String> {
        Program::new(gpu, memory, &self.recording).map_err(text)
    }

    /// Memory and program.
    pub fn ready(&self, gpu: &Gpu) -> Result<(Memory, Program), String> {
        let memory = self.place(gpu)?;
        let program = self.program(gpu, &memory)?;
        Ok((memory, program))
    }
}
