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

/// The graphics interfaces by the names that `--backend` and `WGPU_BACKEND` take, the usual one first.
const BACKENDS: [(&[&str], wgpu::Backends); 4] = [
    (&["vulkan", "vk"], wgpu::Backends::VULKAN),
    (&["metal", "mtl"], wgpu::Backends::METAL),
    (&["dx12", "d3d12"], wgpu::Backends::DX12),
    (&["gl", "opengl", "gles"], wgpu::Backends::GL),
];

/// The environment's variable that chooses backends where `--backend` does not.
const VARIABLE: &str = "WGPU_BACKEND";

/// Which backends may be used, and who says so.
struct Wanted {
    backends: wgpu::Backends,
    /// `--backend x` or `WGPU_BACKEND=x`; none where all may be used.
    source: Option<String>,
}

impl Wanted {
    /// By the flag; else by the environment, where an empty variable says nothing; else all.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that is none of a backend.
    fn new(flag: &str) -> Result<Self> {
        let variable = std::env::var_os(VARIABLE).unwrap_or_default();
        Self::of(flag, &variable.to_string_lossy())
    }

    fn of(flag: &str, variable: &str) -> Result<Self> {
        let (flag, variable) = (flag.trim(), variable.trim());
        let (source, names) = match (flag, variable) {
            ("", "") => return Ok(Wanted { backends: wgpu::Backends::all(), source: None }),
            ("", variable) => (format!("{VARIABLE}={variable}"), variable),
            (flag, _) => (format!("--backend {flag}"), flag),
        };
        let mut backends = wgpu::Backends::empty();
        for name in names.split(',').map(|name| name.trim().to_lowercase()) {
            let known = BACKENDS.iter().find(|(names, _)| names.contains(&name.as_str()));
            let Some((_, backend)) = known else {
                let place = if flag.is_empty() { VARIABLE } else { "--backend" };
                return Err(Error::Usage(format!(
                    "{place} '{name}' is unknown; use {}",
                    names_of(wgpu::Backends::all())
                )));
            };
            backends |= *backend;
        }
        Ok(Wanted { backends, source: Some(source) })
    }

    /// Why there is no adapter, and what to do.
    fn without_adapter(&self) -> Error {
        let install = "install a Vulkan driver (the package mesa-vulkan-drivers also brings a \
                       software one)";
        let Some(source) = &self.source else {
            return Error::Device(format!("no GPU adapter was found; {install}"));
        };
        let offered = wgpu::Instance::enabled_backend_features();
        if !offered.intersects(self.backends) {
            return Error::Device(format!(
                "{source} is not available on this system; use {}",
                names_of(offered)
            ));
        }
        let others: wgpu::Backends = adapters(wgpu::Backends::all())
            .iter()
            .map(|adapter| wgpu::Backends::from(adapter.get_info().backend))
            .collect();
        let mut ways = Vec::new();
        if self.backends.contains(wgpu::Backends::VULKAN) || others.is_empty() {
            ways.push(install.to_owned());
        }
        if !others.is_empty() {
            ways.push(format!("use {}, which has one", names_of(others)));
        }
        Error::Device(format!("{source} has no GPU adapter here; {}", ways.join(", or ")))
    }
}

/// The first name of each backend, as in `vulkan, metal or gl`.
fn names_of(backends: wgpu::Backends) -> String {
    let named = BACKENDS.iter().filter(|(_, backend)| backends.contains(*backend));
    let names: Vec<&str> = named.map(|(names, _)| names[0]).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
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

/// The adapters of some backends that can run the kernels, best first.
fn adapters(backends: wgpu::Backends) -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    // Validation layers are for developers of drivers; they cost start-up time.
    descriptor.flags = wgpu::InstanceFlags::empty();
    descriptor.backends = backends;
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    adapters.retain(|a| a.get_downlevel_capabilities().is_webgpu_compliant());
    adapters.sort_by_key(|a| rank(&a.get_info()));
    adapters
}

/// All adapters that can run the kernels, best first; of the backend that the flag or the
/// environment names, else of all.
///
/// # Errors
/// [`Error::Usage`] for an unknown backend.
pub fn list_adapters(backend: &str) -> Result<Vec<AdapterSummary>> {
    let adapters = adapters(Wanted::new(backend)?.backends);
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

/// The error of a list without adapters: what is missing and what to install or to choose.
pub fn no_adapter(backend: &str) -> Error {
    Wanted::new(backend).map_or_else(|error| error, |wanted| wanted.without_adapter())
}

/// The adapter that the flags ask for.
///
/// # Errors
/// [`Error::Usage`] for an unknown backend; [`Error::Device`] when there is no such adapter, naming
/// those that there are or what to install.
pub(super) fn choose(choice: &AdapterChoice) -> Result<wgpu::Adapter> {
    let backends = Wanted::new(&choice.backend)?;
    let mut adapters = adapters(backends.backends);
    if adapters.is_empty() {
        return Err(backends.without_adapter());
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
        None => {
            let named = adapters.iter().map(wgpu::Adapter::get_info).enumerate();
            let named: Vec<String> =
                named.map(|(i, info)| format!("{i} '{}'", info.name)).collect();
            Err(Error::Device(format!(
                "--device '{wanted}' matches no adapter; use auto, cpu, or the number or a part of \
                 the name of one of these: {}",
                named.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_variable_and_an_empty_one_says_nothing() {
        let backends = |flag, variable| Wanted::of(flag, variable).unwrap().backends;
        for empty in ["", " "] {
            assert_eq!(backends(empty, empty), wgpu::Backends::all());
            assert_eq!(backends("Vulkan", empty), wgpu::Backends::VULKAN);
        }
        assert_eq!(backends("gl", "vulkan"), wgpu::Backends::GL);
        assert_eq!(backends("", "vk, GL"), wgpu::Backends::VULKAN | wgpu::Backends::GL);
        for (flag, variable, place) in [("vulcan", "gl", "--backend"), ("", "gl,vulcan", VARIABLE)]
        {
            let error = Wanted::of(flag, variable).err().unwrap();
            assert_eq!(error.exit_code(), 2);
            let text = format!("{place} 'vulcan' is unknown; use vulkan, metal, dx12 or gl");
            assert_eq!(error.to_string(), text);
        }
    }
}
