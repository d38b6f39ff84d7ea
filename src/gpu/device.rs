//! An open device: pipelines made once, buffers written and read, errors as ours.

use super::adapter::{AdapterChoice, choose};
use super::caps::{Caps, MOST_BINDING_BYTES, WorkLimits};
use super::fault::{Failing, Fault};
use super::memory::{Memory, Resource};
use super::recording::Kernel;
use super::shader::{self, BindingClass, Reflection};
use super::slot::{SlotId, SlotKind};
use super::tiles::Tiles;
use crate::crash;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long a read waits for its callback once the device is idle: another thread that polls the
/// same device may be the one that runs it.
const READ_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// A compiled variant of a shader.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
    pub reflection: Reflection,
}

/// An open device with its queue and compiled pipelines.
#[derive(Debug)]
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    caps: Caps,
    name: String,
    driver: String,
    checked: bool,
    pipelines: Mutex<HashMap<Kernel, Arc<Pipeline>>>,
    failure: Arc<Mutex<Option<Failure>>>,
    fault: Option<Arc<Fault>>,
}

/// What a device reported by itself, at no particular call.
#[derive(Debug)]
enum Failure {
    /// It is lost; the driver's reason.
    Lost(String),
    OutOfMemory,
    Other(String),
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// Opens the adapter that the flags ask for. `checked` keeps bounds checks in the shaders.
    ///
    /// # Errors
    /// [`Error::Device`] when there is no such adapter or it refuses a device.
    pub fn open(choice: &AdapterChoice, checked: bool) -> Result<Self> {
        let adapter = choose(choice)?;
        let info = adapter.get_info();
        let limits = adapter.limits();
        let optional =
            wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY;
        let features = adapter.features() & optional;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("asng-wgpu"),
            required_features: features,
            required_limits: limits.clone(),
            ..Default::default()
        };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&descriptor)).map_err(|e| {
                Error::Device(format!(
                    "adapter '{}' refused to open ({e}); choose another with --device",
                    info.name
                ))
            })?;
        let failure = Arc::new(Mutex::new(None));
        let lost = failure.clone();
        device.set_device_lost_callback(move |reason, text| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                // wgpu gives a device up when a submission finds no memory.
                *locked(&lost) = Some(match text.to_lowercase().contains("memory") {
                    true => Failure::OutOfMemory,
                    false => Failure::Lost(text),
                });
            }
        });
        let uncaptured = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            locked(&uncaptured).get_or_insert(match error {
                wgpu::Error::OutOfMemory { .. } => Failure::OutOfMemory,
                other => Failure::Other(other.to_string()),
            });
        }));
        let one_size = info.subgroup_min_size == info.subgroup_max_size;
        let has_subgroups = features.contains(wgpu::Features::SUBGROUP);
        let cpu = info.device_type == wgpu::DeviceType::Cpu;
        let caps = Caps {
            max_binding_bytes: limits.max_storage_buffer_binding_size.min(MOST_BINDING_BYTES),
            max_buffer_bytes: limits.max_buffer_size,
            max_groups: limits.max_compute_workgroups_per_dimension,
            max_texture_3d: limits.max_texture_dimension_3d,
            max_texture_2d: limits.max_texture_dimension_2d,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            offset_alignment: 256,
            subgroup_lanes: (has_subgroups && one_size).then_some(info.subgroup_min_size),
            cpu,
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            f16: features.contains(wgpu::Features::SHADER_F16),
            work: WorkLimits::of(cpu),
            tiles: Tiles::default(),
        };
        let gpu = Gpu {
            device,
            queue,
            caps,
            name: info.name,
            driver: format!("{:?} {} {}", info.backend, info.driver, info.driver_info),
            checked,
            pipelines: Mutex::new(HashMap::new()),
            failure,
            fault: choice.fault.clone(),
        };
        crash::note(|facts| facts.adapter = Some(format!("{} ({})", gpu.name(), gpu.driver())));
        Ok(gpu)
    }

    /// Limits and features.
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// Changes which tiles kernels take from now on.
    pub fn set_tiles(&mut self, tiles: Tiles) {
        self.caps.tiles = tiles;
    }

    /// The adapter's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Backend, driver and its version.
    pub fn driver(&self) -> &str {
        self.driver.trim()
    }

    /// Runs `work` and turns validation, memory and device errors into ours.
    ///
    /// # Errors
    /// [`Error::Device`] with what was being done.
    pub(super) fn guarded<T>(&self, doing: &str, work: impl FnOnce() -> T) -> Result<T> {
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let value = work();
        let memory = pollster::block_on(memory.pop());
        let validation = pollster::block_on(validation.pop());
        // What a lost device says of the work is of no use.
        self.check()?;
        if memory.is_some() {
            return Err(self.out_of_memory(&format!(" while {doing}")));
        }
        if let Some(error) = validation {
            return Err(Error::Device(format!("'{}' failed while {doing}: {error}", self.name)));
        }
        Ok(value)
    }

    /// Fails if the device was lost or reported an error since.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] and [`Error::Device`].
    pub fn check(&self) -> Result<()> {
        match locked(&self.failure).as_ref() {
            None => Ok(()),
            Some(Failure::Lost(why)) => Err(self.lost(why)),
            Some(Failure::OutOfMemory) => Err(self.out_of_memory("")),
            Some(Failure::Other(text)) => Err(Error::Device(format!(
                "'{}' failed: {text}; repeat the command, or choose another adapter with --device",
                self.name
            ))),
        }
    }

    fn lost(&self, why: &str) -> Error {
        Error::DeviceLost(format!(
            "the device '{}' was lost ({why}); repeat the command once it is back, or choose \
             another one with --device",
            self.name
        ))
    }

    fn out_of_memory(&self, when: &str) -> Error {
        Error::Device(format!(
            "'{}' ran out of memory{when}; close other programs that use it, or train with a \
             smaller --patch, --features or --batch-size",
            self.name
        ))
    }

    /// Counts a submission for the fault that a test wants, and provokes it when it is due.
    pub(super) fn submitted(&self) {
        match self.fault.as_ref().and_then(|fault| fault.count()) {
            None => {}
            Some(Failing::Lost) => {
                self.device.destroy();
                *locked(&self.failure) = Some(Failure::Lost("by a test".into()));
            }
            Some(Failing::Memory) => *locked(&self.failure) = Some(Failure::OutOfMemory),
            Some(Failing::Panic) => panic!("a panic that a test asked for"),
        }
    }

    pub(super) fn create(&self, kind: SlotKind, name: &str) -> Resource {
        match kind {
            SlotKind::Buffer { bytes } => {
                Resource::Buffer(self.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some(name),
                    size: bytes,
                    usage: wgpu::BufferUsages::STORAGE
                        | wgpu::BufferUsages::COPY_SRC
                        | wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                }))
            }
            SlotKind::Texture { size: [width, height, depth] } => {
                let texture = self.device.create_texture(&wgpu::TextureDescriptor {
                    label: Some(name),
                    size: wgpu::Extent3d { width, height, depth_or_array_layers: depth },
                    mip_level_count: 1,
                    sample_count: 1,
                    dimension: wgpu::TextureDimension::D3,
                    format: wgpu::TextureFormat::Rgba32Float,
                    usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
                    view_formats: &[],
                });
                Resource::Texture(texture.create_view(&wgpu::TextureViewDescriptor::default()))
            }
        }
    }

    /// The compiled pipelines of `kernels`, made in parallel where missing.
    ///
    /// # Errors
    /// [`Error::Device`] when a shader does not compile.
    pub(super) fn pipelines(&self, kernels: &[Kernel]) -> Result<Vec<Arc<Pipeline>>> {
        use rayon::prelude::*;
        let mut missing: Vec<Kernel> = {
            let known = locked(&self.pipelines);
            kernels.iter().filter(|k| !known.contains_key(k)).cloned().collect()
        };
        missing.sort();
        missing.dedup();
        let made: Result<Vec<_>> =
            missing.into_par_iter().map(|k| Ok((k.clone(), Arc::new(self.compile(&k)?)))).collect();
        let mut known = locked(&self.pipelines);
        known.extend(made?);
        Ok(kernels.iter().filter_map(|k| known.get(k).cloned()).collect())
    }

    fn compile(&self, kernel: &Kernel) -> Result<Pipeline> {
        let name = kernel.name();
        let text = shader::expand(kernel)?;
        let module = shader::parse(kernel, &text)?;
        let reflection = shader::reflect(kernel, &module)?;
        let entries: Vec<wgpu::BindGroupLayoutEntry> = (0..)
            .zip(&reflection.bindings)
            .map(|(binding, class)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: binding_type(*class),
                count: None,
            })
            .collect();
        self.guarded(&format!("compiling '{name}'"), || {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(&name),
                source: wgpu::ShaderSource::Wgsl(text.into()),
            };
            #[allow(unsafe_code)]
            let module = if self.checked {
                self.device.create_shader_module(descriptor)
            } else {
                // SAFETY: every kernel keeps its indices inside its bindings; the tests run
                // all of them with checks on and compare both. Indices are u32 counts of elements
                // of at least 4 bytes, and no binding exceeds MOST_BINDING_BYTES = 4 GiB, to which
                // Caps is clamped, so sizes beyond those of the tests do not overflow them.
                unsafe {
                    self.device.create_shader_module_trusted(
                        descriptor,
                        wgpu::ShaderRuntimeChecks::unchecked(),
                    )
                }
            };
            let layout = self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label: Some(&name),
                entries: &entries,
            });
            let pipeline_layout =
                self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                    label: Some(&name),
                    bind_group_layouts: &[Some(&layout)],
                    immediate_size: 0,
                });
            let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&name),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: None,
            });
            Pipeline { pipeline, layout, reflection }
        })
    }

    /// Writes `data` into a buffer slot from `offset` bytes (multiples of 4).
    ///
    /// # Errors
    /// [`Error::Device`] when the range lies outside the slot.
    pub fn write<T: bytemuck::NoUninit>(
        &self,
        memory: &Memory,
        slot: SlotId,
        offset: u64,
        data: &[T],
    ) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        if offset + bytes.len() as u64 > memory.bytes(slot) {
            return Err(Error::Device(format!("a write of {} bytes is too long", bytes.len())));
        }
        self.queue.write_buffer(memory.buffer(slot)?, offset, bytes);
        Ok(())
    }

    /// Reads `count` values from a buffer slot, after all submitted work.
    ///
    /// # Errors
    /// [`Error::Device`] when the device is lost or the range lies outside the slot.
    pub fn read<T: bytemuck::Pod>(
        &self,
        memory: &Memory,
        slot: SlotId,
        offset: u64,
        count: usize,
    ) -> Result<Vec<T>> {
        let bytes = (count * size_of::<T>()) as u64;
        if offset + bytes > memory.bytes(slot) {
            return Err(Error::Device(format!("a read of {bytes} bytes is too long")));
        }
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read-back"),
            size: bytes.next_multiple_of(4),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(
            memory.buffer(slot)?,
            offset,
            &staging,
            0,
            bytes.next_multiple_of(4),
        );
        self.queue.submit([encoder.finish()]);
        let raw = self.map(&staging)?;
        Ok(bytemuck::pod_collect_to_vec(&raw[..bytes as usize]))
    }

    pub(super) fn map(&self, staging: &wgpu::Buffer) -> Result<Vec<u8>> {
        let (sender, receiver) = std::sync::mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is gone only when reading was given up.
            let _ = sender.send(result);
        });
        self.wait()?;
        let failed =
            |text: String| Error::Device(format!("'{}' cannot be read back: {text}", self.name));
        let answer = receiver.recv_timeout(READ_TIMEOUT);
        self.check()?;
        match answer {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(failed(e.to_string())),
            Err(e) => return Err(failed(e.to_string())),
        }
        let view = staging.get_mapped_range(..).map_err(|e| failed(e.to_string()))?;
        Ok(view.to_vec())
    }

    /// Waits for all submitted work.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] when the device was lost.
    pub fn wait(&self) -> Result<()> {
        // Where waiting for a device fails because it is lost, wgpu panics.
        let polled = crash::contain(|| self.device.poll(wgpu::PollType::wait_indefinitely()));
        self.check()?;
        match polled {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(Error::Device(format!("'{}' does not answer: {e}", self.name))),
            Err(why) => Err(self.lost(why.lines().last().unwrap_or_default().trim())),
        }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        if matches!(*locked(&self.failure), Some(Failure::Lost(_))) {
            // The queue of a lost device waits for its work when it is dropped, and panics where
            // that never ends; so it is kept.
            std::mem::forget((self.device.clone(), self.queue.clone()));
        }
    }
}

fn binding_type(class: BindingClass) -> wgpu::BindingType {
    let buffer =
        |ty| wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None };
    let storage = |access| wgpu::BindingType::StorageTexture {
        access,
        format: wgpu::TextureFormat::Rgba32Float,
        view_dimension: wgpu::TextureViewDimension::D3,
    };
    match class {
        BindingClass::Uniform(_) => buffer(wgpu::BufferBindingType::Uniform),
        BindingClass::StorageRead => buffer(wgpu::BufferBindingType::Storage { read_only: true }),
        BindingClass::StorageReadWrite => {
            buffer(wgpu::BufferBindingType::Storage { read_only: false })
        }
        BindingClass::StorageTextureRead => storage(wgpu::StorageTextureAccess::ReadOnly),
        BindingClass::StorageTexture => storage(wgpu::StorageTextureAccess::WriteOnly),
    }
}
