//! A recording made ready for a device: pipelines, parameters and bind groups
//! exist, so running it again costs next to nothing on the host.

use super::device::{Gpu, Pipeline};
use super::limits;
use super::memory::{Memory, Resource};
use super::recording::{Access, Command, Dispatch, Recording};
use super::shader::BindingClass;
use crate::error::{Error, Result};
use std::sync::Arc;

/// FLOPs after which a submission ends, so that none lasts long: with its last dispatch 250 ms at the
/// rate below which a device counts as slow (CPU adapters have no time-out).
const FLOPS_A_SUBMISSION: u64 = 40_000_000_000;

enum Step {
    Dispatch {
        pipeline: Arc<Pipeline>,
        group: wgpu::BindGroup,
        groups: [u32; 3],
        flops: u64,
    },
    Copy {
        from: wgpu::Buffer,
        from_offset: u64,
        to: wgpu::Buffer,
        to_offset: u64,
        bytes: u64,
    },
    Fill {
        from: wgpu::Buffer,
        offset: u64,
        pitch: u32,
        to: wgpu::Texture,
        layer: u32,
        size: [u32; 3],
    },
    Clear(wgpu::Buffer),
}

/// What a profile says of a dispatch beside its time.
struct Label {
    kernel: String,
    flops: u64,
    bytes: u64,
    class: Option<String>,
}

/// A recording bound to a device and its memory.
pub struct Program {
    steps: Vec<Step>,
    labels: Vec<Label>,
}

/// GPU time of one dispatch.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Name of the kernel's variant.
    pub kernel: String,
    /// Milliseconds.
    pub ms: f64,
    /// FLOPs of the dispatch.
    pub flops: u64,
    /// Least bytes moved.
    pub bytes: u64,
    /// Class of work that its tile was chosen for.
    pub class: Option<String>,
}

fn mismatch(dispatch: &Dispatch, what: &str) -> Error {
    Error::Device(format!("kernel '{}': {what}", dispatch.kernel.name()))
}

/// Holds a dispatch against the device's limits and what naga reflects from its shader.
fn verify(gpu: &Gpu, memory: &Memory, dispatch: &Dispatch, pipeline: &Pipeline) -> Result<()> {
    limits::check(dispatch, |slot| memory.described(slot), gpu.caps())?;
    let classes = &pipeline.reflection.bindings;
    if classes.len() != dispatch.bindings.len() + 1 {
        return Err(mismatch(dispatch, "the number of bindings differs from the shader's"));
    }
    match classes[0] {
        BindingClass::Uniform(bytes)
            if bytes as usize == dispatch.params.len().next_multiple_of(16) => {}
        _ => return Err(mismatch(dispatch, "the parameters differ from the shader's uniform")),
    }
    for (binding, class) in dispatch.bindings.iter().zip(&classes[1..]) {
        let expected = match class {
            BindingClass::StorageRead | BindingClass::StorageTextureRead => Access::Read,
            _ => Access::Write,
        };
        if binding.access != expected {
            return Err(mismatch(dispatch, "a binding's access differs from the shader's"));
        }
    }
    Ok(())
}

impl Program {
    /// Compiles pipelines (in parallel), uploads the parameters and makes the bind groups.
    ///
    /// # Errors
    /// [`Error::Device`] when a shader or binding is wrong.
    pub fn new(gpu: &Gpu, memory: &Memory, recording: &Recording) -> Result<Self> {
        let kernels: Vec<_> = recording.dispatches().map(|d| d.kernel.clone()).collect();
        let mut pipelines = gpu.pipelines(&kernels)?.into_iter();
        let params = upload_params(gpu, recording);
        let mut steps = Vec::with_capacity(recording.commands.len());
        let mut labels = Vec::new();
        let mut position = 0;
        for command in &recording.commands {
            steps.push(match command {
                Command::Dispatch(dispatch) => {
                    let pipeline = pipelines
                        .next()
                        .ok_or_else(|| mismatch(dispatch, "its pipeline is missing"))?;
                    verify(gpu, memory, dispatch, &pipeline)?;
                    let offset = position;
                    position += slot_of(dispatch);
                    labels.push(Label {
                        kernel: dispatch.kernel.name(),
                        flops: dispatch.flops,
                        bytes: dispatch.bytes,
                        class: dispatch.tiled.as_ref().map(|tiled| tiled.class.clone()),
                    });
                    let group = bind(gpu, memory, dispatch, &pipeline, &params, offset)?;
                    Step::Dispatch {
                        pipeline,
                        group,
                        groups: dispatch.groups,
                        flops: dispatch.flops,
                    }
                }
                Command::Copy { from, to, bytes } => Step::Copy {
                    from: memory.buffer(from.0)?.clone(),
                    from_offset: from.1,
                    to: memory.buffer(to.0)?.clone(),
                    to_offset: to.1,
                    bytes: *bytes,
                },
                Command::Fill { from, pitch, to, size } => Step::Fill {
                    from: memory.buffer(from.0)?.clone(),
                    offset: from.1,
                    pitch: *pitch,
                    to: memory.texture(to.0)?.clone(),
                    layer: to.1,
                    size: *size,
                },
                Command::Clear(slot) => Step::Clear(memory.buffer(*slot)?.clone()),
            });
        }
        Ok(Program { steps, labels })
    }

    /// Submits the whole recording without waiting for it.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] when the device was lost.
    pub fn submit(&self, gpu: &Gpu) -> Result<()> {
        let mut start = 0;
        while start < self.steps.len() {
            let mut flops = 0;
            let mut end = start;
            while end < self.steps.len() && flops < FLOPS_A_SUBMISSION {
                if let Step::Dispatch { flops: f, .. } = &self.steps[end] {
                    flops += f;
                }
                end += 1;
            }
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            record(&mut encoder, &self.steps[start..end]);
            gpu.queue.submit([encoder.finish()]);
            gpu.submitted();
            start = end;
        }
        gpu.check()
    }

    /// Runs the recording once with timestamps around every dispatch.
    ///
    /// # Errors
    /// [`Error::Device`] when the adapter offers no timestamps or was lost.
    pub fn profile(&self, gpu: &Gpu) -> Result<Vec<Timing>> {
        if !gpu.caps().timestamps {
            return Err(Error::Device(format!("'{}' offers no timestamps", gpu.name())));
        }
        let mut timings = Vec::new();
        let mut labels = self.labels.iter();
        for chunk in self.steps.chunks(1024) {
            let count = 2 * chunk.len() as u32;
            let set = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("profile"),
                ty: wgpu::QueryType::Timestamp,
                count,
            });
            let buffer = |usage| {
                gpu.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("profile"),
                    size: u64::from(count) * 8,
                    usage,
                    mapped_at_creation: false,
                })
            };
            let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
            let staging = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
            let mut encoder = gpu.device.create_command_encoder(&Default::default());
            for (index, step) in (0..).zip(chunk) {
                let Step::Dispatch { pipeline, group, groups: [x, y, z], .. } = step else {
                    record(&mut encoder, std::slice::from_ref(step));
                    continue;
                };
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: None,
                    timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                        query_set: &set,
                        beginning_of_pass_write_index: Some(2 * index),
                        end_of_pass_write_index: Some(2 * index + 1),
                    }),
                });
                pass.set_pipeline(&pipeline.pipeline);
                pass.set_bind_group(0, group, &[]);
                pass.dispatch_workgroups(*x, *y, *z);
            }
            encoder.resolve_query_set(&set, 0..count, &resolved, 0);
            encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, u64::from(count) * 8);
            gpu.queue.submit([encoder.finish()]);
            let stamps: Vec<u64> = bytemuck::pod_collect_to_vec(&gpu.map(&staging)?);
            let period = f64::from(gpu.queue.get_timestamp_period());
            for (index, step) in chunk.iter().enumerate() {
                if matches!(step, Step::Dispatch { .. })
                    && let Some(label) = labels.next()
                {
                    let ticks = stamps[2 * index + 1].saturating_sub(stamps[2 * index]);
                    let ms = ticks as f64 * period * 1e-6;
                    timings.push(Timing {
                        kernel: label.kernel.clone(),
                        ms,
                        flops: label.flops,
                        bytes: label.bytes,
                        class: label.class.clone(),
                    });
                }
            }
        }
        Ok(timings)
    }
}

/// Uniform bytes of one dispatch in the parameter buffer.
fn slot_of(dispatch: &Dispatch) -> u64 {
    (dispatch.params.len() as u64).next_multiple_of(256)
}

fn upload_params(gpu: &Gpu, recording: &Recording) -> wgpu::Buffer {
    let mut bytes: Vec<u8> = Vec::new();
    for dispatch in recording.dispatches() {
        let end = bytes.len() as u64 + slot_of(dispatch);
        bytes.extend_from_slice(&dispatch.params);
        bytes.resize(end as usize, 0);
    }
    let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("parameters"),
        size: bytes.len().max(256) as u64,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    gpu.queue.write_buffer(&buffer, 0, &bytes);
    buffer
}

fn bind(
    gpu: &Gpu,
    memory: &Memory,
    dispatch: &Dispatch,
    pipeline: &Pipeline,
    params: &wgpu::Buffer,
    offset: u64,
) -> Result<wgpu::BindGroup> {
    let uniform = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer: params,
        offset,
        size: std::num::NonZeroU64::new((dispatch.params.len() as u64).next_multiple_of(16)),
    });
    let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: uniform }];
    for (number, binding) in (1..).zip(&dispatch.bindings) {
        let resource = match memory.resource(binding.slot)? {
            Resource::Texture(view) => wgpu::BindingResource::TextureView(view),
            Resource::Buffer(buffer) => {
                let (offset, bytes) = binding.range.unwrap_or((0, memory.bytes(binding.slot)));
                wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset,
                    size: std::num::NonZeroU64::new(bytes),
                })
            }
        };
        entries.push(wgpu::BindGroupEntry { binding: number, resource });
    }
    gpu.guarded(&format!("binding '{}'", dispatch.kernel.name()), || {
        gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.layout,
            entries: &entries,
        })
    })
}

/// Records [`Command::Fill`].
fn fill(
    encoder: &mut wgpu::CommandEncoder,
    (buffer, offset, pitch): (&wgpu::Buffer, u64, u32),
    (texture, layer): (&wgpu::Texture, u32),
    [width, height, depth]: [u32; 3],
) {
    let layout = wgpu::TexelCopyBufferLayout {
        offset,
        bytes_per_row: Some(pitch * 16),
        rows_per_image: Some(height),
    };
    encoder.copy_buffer_to_texture(
        wgpu::TexelCopyBufferInfo { buffer, layout },
        wgpu::TexelCopyTextureInfo {
            texture,
            mip_level: 0,
            origin: wgpu::Origin3d { x: 0, y: 0, z: layer },
            aspect: wgpu::TextureAspect::All,
        },
        wgpu::Extent3d { width, height, depth_or_array_layers: depth },
    );
}

/// Records steps: one pass for all dispatches between two copies.
fn record(encoder: &mut wgpu::CommandEncoder, steps: &[Step]) {
    let mut rest = steps;
    while let Some(first) = rest.first() {
        match first {
            Step::Copy { from, from_offset, to, to_offset, bytes } => {
                encoder.copy_buffer_to_buffer(from, *from_offset, to, *to_offset, *bytes);
                rest = &rest[1..];
            }
            Step::Fill { from, offset, pitch, to, layer, size } => {
                fill(encoder, (from, *offset, *pitch), (to, *layer), *size);
                rest = &rest[1..];
            }
            Step::Clear(buffer) => {
                encoder.clear_buffer(buffer, 0, None);
                rest = &rest[1..];
            }
            Step::Dispatch { .. } => {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                while let Some(Step::Dispatch { pipeline, group, groups: [x, y, z], .. }) =
                    rest.first()
                {
                    pass.set_pipeline(&pipeline.pipeline);
                    pass.set_bind_group(0, group, &[]);
                    pass.dispatch_workgroups(*x, *y, *z);
                    rest = &rest[1..];
                }
            }
        }
    }
}
