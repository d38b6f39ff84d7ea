//! Burn's device for an adapter as the main package numbers it.

use crate::bench::Result;
use asng_wgpu::gpu::{AdapterSummary, list_adapters};
use burn::prelude::*;
use burn::tensor::wgpu::WgpuBackend;

fn adapters(number: usize) -> Result<Vec<AdapterSummary>> {
    let adapters = list_adapters("").map_err(|e| e.to_string())?;
    if number < adapters.len() {
        return Ok(adapters);
    }
    let count = adapters.len();
    Err(format!("--adapter {number} is none of {count}; 'asng-wgpu devices' lists them"))
}

/// An adapter's name with its driver.
pub fn name(number: usize) -> Result<String> {
    let chosen = &adapters(number)?[number];
    Ok(format!("{} ({})", chosen.name, chosen.driver))
}

/// An adapter's device.
pub fn open(number: usize) -> Result<Device> {
    let adapters = adapters(number)?;
    let chosen = &adapters[number];
    Device::wgpu_options()
        .device_kind(kind(&adapters, chosen)?)
        .graphics_api(api(chosen)?)
        .init()
        .map_err(|e| format!("Burn cannot open '{}': {e}", chosen.name))
}

/// Burn counts the adapters of one kind and graphics API.
fn kind(adapters: &[AdapterSummary], chosen: &AdapterSummary) -> Result<DeviceKind> {
    let before = &adapters[..chosen.index];
    let alike = |a: &&AdapterSummary| a.kind == chosen.kind && a.backend == chosen.backend;
    let place = before.iter().filter(alike).count();
    match chosen.kind.as_str() {
        "DiscreteGpu" => Ok(DeviceKind::DiscreteGpu(place)),
        "IntegratedGpu" => Ok(DeviceKind::IntegratedGpu(place)),
        "VirtualGpu" => Ok(DeviceKind::VirtualGpu(place)),
        "Cpu" if place == 0 => Ok(DeviceKind::Cpu),
        kind => Err(format!("Burn cannot choose adapter {} of kind {kind}", chosen.index)),
    }
}

fn api(chosen: &AdapterSummary) -> Result<WgpuBackend> {
    match chosen.backend.as_str() {
        "Vulkan" => Ok(WgpuBackend::Vulkan),
        "Metal" => Ok(WgpuBackend::Metal),
        "Dx12" => Ok(WgpuBackend::Dx12),
        "Gl" => Ok(WgpuBackend::Gl),
        other => Err(format!("Burn cannot choose the graphics API {other}")),
    }
}
