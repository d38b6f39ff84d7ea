//! Outputs filled with NaN and fenced by sentinels: voxels that no kernel writes, and writes beside
//! the output, fail.

use super::bench::{Bench, KEEP};
use super::text;
use asng_wgpu::gpu::{Gpu, Memory};
use asng_wgpu::ops::stage::Stage;
use asng_wgpu::ops::tensor::{Storage, TensorId, View};
use asng_wgpu::ops::{Lowering, ParamRef};

/// What stands in the fences; no kernel can compute it from the tests' inputs.
pub const SENTINEL: f32 = -7.25e8;

/// An output N,C,D,H,W that is the middle one of three segments of a tensor.
#[derive(Clone, Copy, Debug)]
pub struct Fenced {
    host: TensorId,
    device: TensorId,
    channels: u32,
}

impl Fenced {
    pub fn add(
        b: &mut Bench,
        samples: u32,
        channels: u32,
        edges: [u32; 3],
        storage: Storage,
    ) -> Result<Fenced, String> {
        let mut add = |storage| {
            let segments = [1, channels, 1];
            b.tensors.add("fenced", samples, &segments, edges, storage, KEEP).map_err(text)
        };
        let device = add(storage)?;
        let host = if storage == Storage::Buffer { device } else { add(Storage::Buffer)? };
        Ok(Fenced { host, device, channels })
    }

    /// Where the op writes.
    pub fn view(&self) -> View {
        self.device.segment(1)
    }

    /// Must be recorded in front of the op.
    pub fn before(&self, l: &mut Lowering) {
        if self.host != self.device {
            Stage { from: self.host.view(), to: self.device.view() }.lower(l);
        }
    }

    /// Must be recorded behind the op.
    pub fn after(&self, l: &mut Lowering) {
        if self.host != self.device {
            Stage { from: self.device.view(), to: self.host.view() }.lower(l);
        }
    }

    /// Fills output and fences, before the program runs.
    pub fn poison(&self, gpu: &Gpu, memory: &Memory, b: &Bench) -> Result<(), String> {
        let tensor = b.tensors.get(self.host);
        let last = b.tensors.block_range(self.host.view()).end - 1;
        let lanes = 4 * tensor.spatial.iter().product::<u32>() as usize;
        for part in &tensor.parts {
            let mut values = Vec::new();
            for _ in part.samples.clone() {
                for block in part.blocks.clone() {
                    let fence = block == 0 || block == last;
                    let value = if fence { SENTINEL } else { f32::NAN };
                    values.resize(values.len() + lanes, value);
                }
            }
            gpu.write(memory, part.slot, 0, &values).map_err(text)?;
        }
        Ok(())
    }

    /// The output as N,C,D,H,W; an error where a fence was written or padding is not 0.
    pub fn take(&self, gpu: &Gpu, memory: &Memory, b: &Bench) -> Result<Vec<f32>, String> {
        let tensor = b.tensors.get(self.host);
        let last = b.tensors.block_range(self.host.view()).end - 1;
        let voxels = tensor.spatial.iter().product::<u32>() as usize;
        let channels = self.channels as usize;
        let mut out = vec![f32::NAN; tensor.samples as usize * channels * voxels];
        for part in &tensor.parts {
            let count = part.samples.len() * part.blocks.len() * voxels * 4;
            let raw: Vec<f32> = gpu.read(memory, part.slot, 0, count).map_err(text)?;
            let mut rows = raw.chunks_exact(voxels * 4);
            for n in part.samples.clone() {
                for block in part.blocks.clone() {
                    let Some(row) = rows.next() else { return Err("a part is too short".into()) };
                    if block == 0 || block == last {
                        if let Some(i) = row.iter().position(|v| *v != SENTINEL) {
                            let side = if block == 0 { "in front of" } else { "behind" };
                            return Err(format!(
                                "sample {n}: {} was written {side} the output, voxel {}",
                                row[i],
                                i / 4
                            ));
                        }
                        continue;
                    }
                    for (i, &value) in row.iter().enumerate() {
                        let c = (block as usize - 1) * 4 + i % 4;
                        if c < channels {
                            out[(n as usize * channels + c) * voxels + i / 4] = value;
                        } else if value != 0.0 {
                            return Err(format!(
                                "sample {n}: padding channel {c} of voxel {} is {value}",
                                i / 4
                            ));
                        }
                    }
                }
            }
        }
        Ok(out)
    }
}

/// Elements in front of and behind a flat output.
const MARGIN: u64 = 64;

/// A flat output with fences on both sides.
pub fn flat(b: &mut Bench, len: usize) -> ParamRef {
    let len = len as u64;
    let elements = MARGIN + len.next_multiple_of(64) + MARGIN;
    let slot = b.tensors.slots.buffer("fenced flat", elements * 4, KEEP);
    ParamRef { slot, offset: MARGIN, len }
}

/// Fills a flat output with `inside` and its fences with sentinels.
pub fn poison_flat(gpu: &Gpu, memory: &Memory, at: ParamRef, inside: &[f32]) -> Result<(), String> {
    let elements = (2 * MARGIN + at.len.next_multiple_of(64)) as usize;
    let mut values = vec![SENTINEL; elements];
    values[MARGIN as usize..][..inside.len()].copy_from_slice(inside);
    gpu.write(memory, at.slot, 0, &values).map_err(text)
}

/// The flat output; an error where a fence was written.
pub fn take_flat(gpu: &Gpu, memory: &Memory, at: ParamRef) -> Result<Vec<f32>, String> {
    let (start, end) = (at.offset as usize, (at.offset + at.len) as usize);
    let elements = (2 * MARGIN + at.len.next_multiple_of(64)) as usize;
    let values: Vec<f32> = gpu.read(memory, at.slot, 0, elements).map_err(text)?;
    let outside = (0..start).chain(end..elements).find(|&i| values[i] != SENTINEL);
    match outside {
        Some(i) => Err(format!(
            "{} was written to element {} of an output of {}",
            values[i],
            i as i64 - start as i64,
            at.len
        )),
        None => Ok(values[start..end].to_vec()),
    }
}
