//! Activation tensors: N,C,D,H,W, channel-blocked by four, cut into parts that fit a binding.
//!
//! Layout of a part that holds samples n0..n1 and blocks b0..b1 (block = 4 channels):
//! `[n - n0][b - b0][d][h][w][4]` f32; as a buffer the vec4 index is
//! `(((n - n0) * blocks + b - b0) * D + d) * H * W + h * W + w`; as a 3-D texture the texel is
//! `(w, h, ((n - n0) * blocks + b - b0) * D + d)`. Channels that pad the last block of a
//! segment are 0. A tensor of several *segments* is a concatenation: each segment begins at a
//! block of its own, so every producer writes its segment in place.

use crate::error::{Error, Result};
use crate::gpu::{Caps, Command, FILL_PITCH, Lifetime, SlotId, Slots};
use std::ops::Range;

/// Names a tensor of a [`Tensors`] table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TensorId(u32);

/// What a tensor lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    /// Storage buffers of vec4.
    Buffer,
    /// 3-D `rgba32float` textures.
    Texture,
}

/// A slot that holds some samples and channel blocks of a tensor.
#[derive(Clone, Debug)]
pub struct Part {
    /// Where it lies.
    pub slot: SlotId,
    /// Samples it holds.
    pub samples: Range<u32>,
    /// Channel blocks it holds.
    pub blocks: Range<u32>,
}

/// A tensor's shape and parts.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Number of samples N.
    pub samples: u32,
    /// Channels of each concatenated segment.
    pub segments: Vec<u32>,
    /// Edges D, H, W.
    pub spatial: [u32; 3],
    /// Buffer or texture.
    pub storage: Storage,
    /// Vec4s from one row along W to the next: W, but in staging buffers.
    pub pitch: u32,
    /// The slots.
    pub parts: Vec<Part>,
}

/// Channel blocks of so many channels.
pub fn blocks_of(channels: u32) -> u32 {
    channels.div_ceil(4)
}

/// A tensor, or one segment of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// The tensor.
    pub tensor: TensorId,
    /// `None`: all segments.
    pub segment: Option<u32>,
}

/// Where a region of a view lies within one slot: the vec4 index of (sample s, block b,
/// voxel v), all counted from the region's beginning, is
/// `(base + s * stride + b) * D*H*W + v`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The slot.
    pub slot: SlotId,
    /// Blocks before the region.
    pub base: u32,
    /// Blocks from one sample to the next.
    pub stride: u32,
}

/// Samples and blocks that lie in one slot of every view of an op.
#[derive(Clone, Debug)]
pub struct Region {
    /// Samples.
    pub samples: Range<u32>,
    /// Blocks, relative to the views' beginning.
    pub blocks: Range<u32>,
    /// One place for each view.
    pub places: Vec<Place>,
}

/// All tensors and slots of an engine instance.
#[derive(Clone, Debug)]
pub struct Tensors {
    /// The slot table, also for what is no activation tensor.
    pub slots: Slots,
    tensors: Vec<Tensor>,
    caps: Caps,
}

impl Tensors {
    /// An empty table for a device of these limits.
    pub fn new(caps: &Caps) -> Self {
        Tensors { slots: Slots::new(), tensors: Vec::new(), caps: caps.clone() }
    }

    /// The device's limits.
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// Adds a tensor, cut into as few parts as the device's limits allow.
    ///
    /// # Errors
    /// [`Error::Device`] when one channel block of one sample exceeds a binding or a texture.
    pub fn add(
        &mut self,
        name: &str,
        samples: u32,
        segments: &[u32],
        spatial: [u32; 3],
        storage: Storage,
        lifetime: Lifetime,
    ) -> Result<TensorId> {
        self.add_pitched(name, samples, segments, spatial, spatial[2], storage, lifetime)
    }

    /// A buffer in which to make what [`super::stage::Stage`] then puts into a texture, shaped as a view;
    /// rows begin where a texture can be filled from. `None` where kernels do well to write the view
    /// themselves: on software adapters a kernel's store into a texture takes several times as long.
    ///
    /// # Errors
    /// As [`Tensors::add`].
    pub fn add_staging(&mut self, of: View) -> Result<Option<View>> {
        let Tensor { samples, spatial, storage, .. } = *self.of(of);
        if storage != Storage::Texture || !self.caps.cpu {
            return Ok(None);
        }
        let (segments, pitch) = (self.segments(of), spatial[2].next_multiple_of(FILL_PITCH));
        let (buffer, life) = (Storage::Buffer, Lifetime::Transient);
        if self.blocks_a_part("staging", [spatial[0], spatial[1], pitch], buffer).is_err() {
            return Ok(None);
        }
        let id = self.add_pitched("staging", samples, &segments, spatial, pitch, buffer, life)?;
        Ok(Some(id.view()))
    }

    #[expect(clippy::too_many_arguments, reason = "all of a tensor")]
    fn add_pitched(
        &mut self,
        name: &str,
        samples: u32,
        segments: &[u32],
        spatial: [u32; 3],
        pitch: u32,
        storage: Storage,
        lifetime: Lifetime,
    ) -> Result<TensorId> {
        let blocks: u32 = segments.iter().map(|&c| blocks_of(c)).sum();
        let room = self.blocks_a_part(name, [spatial[0], spatial[1], pitch], storage)?;
        let (sample_step, block_step) = if u64::from(samples) * u64::from(blocks) <= room {
            (samples.max(1), blocks.max(1))
        } else if u64::from(blocks) <= room {
            ((room / u64::from(blocks)) as u32, blocks)
        } else {
            (1, room as u32)
        };
        let [d, h, w] = spatial;
        let mut parts = Vec::new();
        for n in (0..samples).step_by(sample_step as usize) {
            for b in (0..blocks).step_by(block_step as usize) {
                let n_end = (n + sample_step).min(samples);
                let b_end = (b + block_step).min(blocks);
                let count = (n_end - n) * (b_end - b);
                let slot = match storage {
                    Storage::Buffer => {
                        let bytes = u64::from(count) * bytes_of_block([d, h, pitch]);
                        self.slots.buffer(name, bytes, lifetime)
                    }
                    Storage::Texture => self.slots.texture(name, [w, h, count * d], lifetime),
                };
                parts.push(Part { slot, samples: n..n_end, blocks: b..b_end });
            }
        }
        let segments = segments.to_vec();
        self.tensors.push(Tensor { samples, segments, spatial, storage, pitch, parts });
        Ok(TensorId(self.tensors.len() as u32 - 1))
    }

    /// How many (sample, block) pairs one part may hold.
    fn blocks_a_part(&self, name: &str, spatial: [u32; 3], storage: Storage) -> Result<u64> {
        let [d, h, w] = spatial;
        let room = match storage {
            Storage::Buffer => self.caps.max_binding_bytes / bytes_of_block(spatial).max(1),
            Storage::Texture if h.max(w) > self.caps.max_texture_3d => 0,
            Storage::Texture => u64::from(self.caps.max_texture_3d / d.max(1)),
        };
        if room == 0 {
            return Err(Error::Device(format!(
                "'{name}' of {d} x {h} x {w} voxels exceeds what this device can bind at once"
            )));
        }
        Ok(room)
    }

    /// A tensor's description.
    pub fn get(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0 as usize]
    }

    /// The tensor behind a view.
    pub fn of(&self, view: View) -> &Tensor {
        self.get(view.tensor)
    }

    /// Channels of each segment of a view.
    pub fn segments(&self, view: View) -> Vec<u32> {
        let tensor = self.of(view);
        match view.segment {
            None => tensor.segments.clone(),
            Some(i) => vec![tensor.segments[i as usize]],
        }
    }

    /// Channels of a view.
    pub fn channels(&self, view: View) -> u32 {
        self.segments(view).iter().sum()
    }

    /// Channel blocks of a view, as a range of the tensor's blocks.
    pub fn block_range(&self, view: View) -> Range<u32> {
        let tensor = self.of(view);
        let sizes: Vec<u32> = tensor.segments.iter().map(|&c| blocks_of(c)).collect();
        match view.segment {
            None => 0..sizes.iter().sum(),
            Some(i) => {
                let start = sizes[..i as usize].iter().sum();
                start..start + sizes[i as usize]
            }
        }
    }

    /// Voxels of one sample.
    pub fn voxels(&self, view: View) -> u32 {
        self.of(view).spatial.iter().product()
    }

    /// For each physical channel of a view (blocks x 4) the logical channel, `None` for padding.
    pub fn logical_channels(&self, view: View) -> Vec<Option<u32>> {
        let mut channels = Vec::new();
        let mut next = 0;
        for segment in self.segments(view) {
            for i in 0..blocks_of(segment) * 4 {
                channels.push((i < segment).then(|| next + i));
            }
            next += segment;
        }
        channels
    }

    /// Cuts views of the same samples and number of blocks into regions that lie in one slot of
    /// each of them.
    pub fn regions(&self, views: &[View]) -> Vec<Region> {
        let Some(&first) = views.first() else { return Vec::new() };
        let samples = self.of(first).samples;
        let blocks = self.block_range(first).len() as u32;
        let mut sample_cuts = vec![0, samples];
        let mut block_cuts = vec![0, blocks];
        for &view in views {
            let range = self.block_range(view);
            for part in &self.of(view).parts {
                sample_cuts.push(part.samples.start);
                let start = part.blocks.start.clamp(range.start, range.end) - range.start;
                block_cuts.push(start);
            }
        }
        for cuts in [&mut sample_cuts, &mut block_cuts] {
            cuts.sort_unstable();
            cuts.dedup();
        }
        let mut regions = Vec::new();
        for n in sample_cuts.windows(2) {
            for b in block_cuts.windows(2) {
                let places = views.iter().filter_map(|&v| self.place(v, n[0], b[0])).collect();
                regions.push(Region { samples: n[0]..n[1], blocks: b[0]..b[1], places });
            }
        }
        regions
    }

    /// Copies one sample of a buffer tensor into another one of a single sample.
    pub fn copy_sample(&self, from: View, sample: u32, to: View) -> Vec<Command> {
        let bytes = bytes_of_block(self.of(from).spatial);
        let at = |place: Place| (place.slot, u64::from(place.base) * bytes);
        let blocks = 0..self.block_range(from).len() as u32;
        let copy = |block| {
            let (from, to) = (self.place(from, sample, block)?, self.place(to, 0, block)?);
            Some(Command::Copy { from: at(from), to: at(to), bytes })
        };
        blocks.filter_map(copy).collect()
    }

    /// Where (sample, block of the view) lies.
    fn place(&self, view: View, sample: u32, block: u32) -> Option<Place> {
        let block = self.block_range(view).start + block;
        let part = self
            .of(view)
            .parts
            .iter()
            .find(|p| p.samples.contains(&sample) && p.blocks.contains(&block))?;
        let stride = part.blocks.len() as u32;
        let base = (sample - part.samples.start) * stride + block - part.blocks.start;
        Some(Place { slot: part.slot, base, stride })
    }
}

fn bytes_of_block([d, h, w]: [u32; 3]) -> u64 {
    u64::from(d) * u64::from(h) * u64::from(w) * 16
}

impl From<TensorId> for View {
    fn from(tensor: TensorId) -> Self {
        View { tensor, segment: None }
    }
}

impl TensorId {
    /// One segment of the tensor.
    pub fn segment(self, index: u32) -> View {
        View { tensor: self, segment: Some(index) }
    }

    /// The whole tensor.
    pub fn view(self) -> View {
        View::from(self)
    }
}

/// Moves voxels between N,C,D,H,W on the host and channel blocks.
pub mod host {
    use super::{Tensors, View, blocks_of};
    use crate::error::Result;
    use crate::gpu::{Gpu, Memory};

    /// Writes `data` (N,C,D,H,W) into a buffer tensor's view; padding channels become 0.
    ///
    /// # Errors
    /// [`crate::Error::Device`] as [`Gpu::write`].
    pub fn upload(
        gpu: &Gpu,
        memory: &Memory,
        tensors: &Tensors,
        view: View,
        data: &[f32],
    ) -> Result<()> {
        let voxels = tensors.voxels(view) as usize;
        let channels = tensors.channels(view) as usize;
        let logical = tensors.logical_channels(view);
        for region in tensors.regions(&[view]) {
            let place = region.places[0];
            for n in region.samples.clone() {
                let mut blocked = vec![0f32; region.blocks.len() * voxels * 4];
                for (i, b) in region.blocks.clone().enumerate() {
                    for lane in 0..4 {
                        let Some(c) = logical[b as usize * 4 + lane] else { continue };
                        let source = (n as usize * channels + c as usize) * voxels;
                        let rows = blocked[i * voxels * 4..].as_chunks_mut::<4>().0;
                        let plane = &data[source..][..voxels];
                        rows.iter_mut().zip(plane).for_each(|(row, v)| row[lane] = *v);
                    }
                }
                let block = place.base + (n - region.samples.start) * place.stride;
                gpu.write(memory, place.slot, u64::from(block) * voxels as u64 * 16, &blocked)?;
            }
        }
        Ok(())
    }

    /// Reads a buffer tensor's view as N,C,D,H,W.
    ///
    /// # Errors
    /// [`crate::Error::Device`] as [`Gpu::read`].
    pub fn download(gpu: &Gpu, memory: &Memory, tensors: &Tensors, view: View) -> Result<Vec<f32>> {
        let voxels = tensors.voxels(view) as usize;
        let channels = tensors.channels(view) as usize;
        let logical = tensors.logical_channels(view);
        let samples = tensors.of(view).samples as usize;
        let mut data = vec![0f32; samples * channels * voxels];
        for region in tensors.regions(&[view]) {
            let place = region.places[0];
            for n in region.samples.clone() {
                let block = place.base + (n - region.samples.start) * place.stride;
                let offset = u64::from(block) * voxels as u64 * 16;
                let count = region.blocks.len() * voxels * 4;
                let blocked: Vec<f32> = gpu.read(memory, place.slot, offset, count)?;
                for (i, b) in region.blocks.clone().enumerate() {
                    for lane in 0..4 {
                        let Some(c) = logical[b as usize * 4 + lane] else { continue };
                        let target = (n as usize * channels + c as usize) * voxels;
                        let rows = blocked[i * voxels * 4..].as_chunks::<4>().0;
                        let plane = &mut data[target..][..voxels];
                        plane.iter_mut().zip(rows).for_each(|(v, row)| *v = row[lane]);
                    }
                }
            }
        }
        debug_assert_eq!(
            logical.len(),
            tensors.segments(view).iter().map(|&c| blocks_of(c) as usize * 4).sum::<usize>()
        );
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(binding: u64) -> Tensors {
        Tensors::new(&Caps { max_binding_bytes: binding, ..Caps::portable() })
    }

    #[test]
    fn segments_begin_at_blocks_of_their_own() {
        let mut tensors = table(1 << 20);
        let life = Lifetime::Transient;
        let id = tensors.add("cat", 2, &[30, 5], [2, 3, 4], Storage::Buffer, life).unwrap();
        assert_eq!(tensors.block_range(id.segment(1)), 8..10);
        assert_eq!(tensors.logical_channels(id.view())[32], Some(30));
        assert_eq!(tensors.logical_channels(id.view())[31], None);
        let region = &tensors.regions(&[id.segment(1)])[0];
        assert_eq!((region.places[0].base, region.places[0].stride), (8, 10));
    }

    #[test]
    fn parts_fit_the_binding_and_regions_cover_everything_once() {
        for binding in [16 * 24, 16 * 24 * 3, 16 * 24 * 7, 16 * 24 * 14, 1 << 20] {
            let mut tensors = table(binding);
            let life = Lifetime::Transient;
            let id = tensors.add("x", 3, &[25], [2, 3, 4], Storage::Buffer, life).unwrap();
            let other = tensors.add("y", 3, &[25], [4, 6, 8], Storage::Texture, life).unwrap();
            let mut seen = [0; 3 * 7];
            for region in tensors.regions(&[id.view(), other.view()]) {
                assert_eq!(region.places.len(), 2);
                for n in region.samples.clone() {
                    for b in region.blocks.clone() {
                        seen[(n * 7 + b) as usize] += 1;
                    }
                }
            }
            assert!(seen.iter().all(|&s| s == 1));
        }
        assert!(
            table(100).add("x", 1, &[4], [8, 8, 8], Storage::Buffer, Lifetime::Transient).is_err()
        );
    }
}
