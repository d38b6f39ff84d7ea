//! Which adapter to use.

use super::fault::Fault;
use crate::error::{Error, Result};
use std::sync::Arc;

/// The `--device` and `--backend` flags.
#[derive(Clone, Debug, Default)]
pub struct AdapterChoice {
    /// `auto` (or empty), `cpu`, a number of the list, or a part of a name.
    pub device: String,
    /// `vulkan`, `metal`, `dx12`, `gl`, or empty for all.
    pub backend: String,
    /// What a test lets go wrong on the device.
    pub fault: Option<Arc<Fault>>,
}

/// One adapter, as `devices` shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AdapterSummary {
    /// Number for `--device`.
    pub index: usize,
    /// Device name.
    pub name: String,
    /// `Vulkan`, `Metal`, `Dx12` or `Gl`.
    pub backend: String,
    /// Driver and its version.
    pub driver: String,
    /// `DiscreteGpu`, `IntegratedGpu`, `VirtualGpu`, `Cpu` or `Other`.
    pub kind: String,
    /// Largest storage binding in bytes.
    pub max_binding_bytes: u64,
    /// Largest buffer in bytes.
    pub max_buffer_bytes: u64,
    /// Smallest and largest subgroup.
    pub subgroup_size: [u32; 2],
    /// Optional features that matter here.
    pub features: Vec<&'static str>,
    /// True for the one that `auto` takes.
    pub auto: bool,
}

fn instance(backend: &str) -> Result<wgpu::Instance> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    // Validation layers are for developers of drivers; they cost start-up time.
    descriptor.flags = wgpu::InstanceFlags::empty();
    descriptor.backends = match backend {
        "" => descriptor.backends,
        "vulkan" => wgpu::Backends::VULKAN,
        "metal" => wgpu::Backends::METAL,
        "dx12" => wgpu::Backends::DX12,
        "gl" => wgpu::Backends::GL,
        other => {
            return Err(Error::Usage(format!(
                "--backend '{other}' is unknown; use vulkan, metal, dx12 or gl"
            )));
        }
    };
    Ok(wgpu::Instance::new(descriptor))
}

/// Real GPUs first, software last; within a class Vulkan, Metal and DX12 before GL.
fn rank(info: &wgpu::AdapterInfo) -> (u8, u8) {
    let class = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    (class, u8::from(info.backend == wgpu::Backend::Gl))
}

fn enumerate(backend: &str) -> Result<Vec<wgpu::Adapter>> {
    let instance = instance(backend)?;
    let mut adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    adapters.retain(|a| a.get_downlevel_capabilities().is_webgpu_compliant());
    adapters.sort_by_key(|a| rank(&a.get_info()));
    Ok(adapters)
}

/// All adapters that can run the kernels, best first.
///
/// # Errors
/// [`Error::Usage`] for an unknown backend.
pub fn list_adapters(backend: &str) -> Result<Vec<AdapterSummary>> {
    let adapters = enumerate(backend)?;
    let summaries = adapters.iter().enumerate().map(|(index, adapter)| {
        let info = adapter.get_info();
        let limits = adapter.limits();
        let has = adapter.features();
        let named = [
            (wgpu::Features::SHADER_F16, "f16"),
            (wgpu::Features::SUBGROUP, "subgroups"),
            (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
            (wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, "cooperative matrices"),
        ];
        AdapterSummary {
            index,
            name: info.name.clone(),
            backend: format!("{:?}", info.backend),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            kind: format!("{:?}", info.device_type),
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            subgroup_size: [info.subgroup_min_size, info.subgroup_max_size],
            features: named.iter().filter(|(f, _)| has.contains(*f)).map(|(_, n)| *n).collect(),
            auto: index == 0,
        }
    });
    Ok(summaries.collect())
}

/// The adapter that the flags ask for.
///
/// # Errors
/// [`Error::Device`] when there is none, with the way out.
pub(super) fn choose(choice: &AdapterChoice) -> Result<wgpu::Adapter> {
    let mut adapters = enumerate(&choice.backend)?;
    if adapters.is_empty() {
        return Err(Error::Device(
            "no GPU adapter was found; install a Vulkan driver (the package mesa-vulkan-drivers \
             also brings a software one) or check --backend"
                .into(),
        ));
    }
    let wanted = choice.device.as_str();
    let found = match wanted {
        "" | "auto" => Some(0),
        "cpu" => adapters.iter().position(|a| a.get_info().device_type == wgpu::DeviceType::Cpu),
        number if number.chars().all(|c| c.is_ascii_digit()) => {
            number.parse().ok().filter(|&n: &usize| n < adapters.len())
        }
        name => {
            let name = name.to_lowercase();
            adapters.iter().position(|a| a.get_info().name.to_lowercase().contains(&name))
        }
    };
    match found {
        Some(index) => Ok(adapters.swap_remove(index)),
        None => Err(Error::Device(format!(
            "--device '{wanted}' matches none of the {} adapters; 'asng-wgpu devices' lists them",
            adapters.len()
        ))),
    }
}
