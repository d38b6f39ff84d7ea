//! Every shader of a training step, in each variant, through naga to SPIR-V, MSL and HLSL.

use asng_wgpu::gpu::{Caps, Kernel, Lifetime, Recording, shader};
use asng_wgpu::nn::plan::NetworkPlan;
use asng_wgpu::nn::step::{Batch, LossPlan, Optimizer, TrainingState, record_step};
use asng_wgpu::nn::unet::UNet;
use asng_wgpu::ops::ConvVariant;
use asng_wgpu::ops::tensor::{Storage, Tensors};
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::collections::BTreeSet;

/// All kernels of training steps on an isotropic and an anisotropic network.
fn kernels(variant: ConvVariant, caps: &Caps) -> BTreeSet<Kernel> {
    let mut all = BTreeSet::new();
    for (spacing, features, classes, optimizer) in
        [([1.0; 3], 12, 3, Optimizer::Adam), ([3.6, 0.6, 0.6], 30, 6, Optimizer::Sgd)]
    {
        let plan = NetworkPlan::from_spacing(2, classes, features, [16, 32, 32], 2, spacing, 4);
        let net = UNet::new(plan.clone());
        let mut tensors = Tensors::new(caps);
        let state = TrainingState::new(&mut tensors, &net, optimizer);
        let (buffer, keep) = (Storage::Buffer, Lifetime::Persistent);
        let image = tensors.add("image", 2, &[2], plan.patch, buffer, keep).unwrap().view();
        let labels = tensors.slots.buffer("labels", 1 << 20, keep);
        let loss = LossPlan { head_weights: plan.head_weights(), batch_dice: true };
        let batch = Batch { image, labels };
        let (recording, _): (Recording, _) =
            record_step(&mut tensors, variant, &net, &state, batch, &loss).unwrap();
        all.extend(recording.dispatches().map(|d| d.kernel.clone()));
    }
    all
}

fn translate(kernel: &Kernel) -> Result<(), String> {
    let text = shader::expand(kernel).map_err(|e| e.to_string())?;
    let module = shader::parse(kernel, &text).map_err(|e| e.to_string())?;
    shader::reflect(kernel, &module).map_err(|e| e.to_string())?;
    let capabilities = Capabilities::SUBGROUP | Capabilities::SUBGROUP_BARRIER;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| e.emit_to_string(&text))?;
    let options = spv::Options { lang_version: (1, 3), ..Default::default() };
    spv::write_vec(&module, &info, &options, None).map_err(|e| format!("SPIR-V: {e}"))?;
    let options =
        msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
    msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
        .map_err(|e| format!("MSL: {e}"))?;
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_0,
        fake_missing_bindings: true,
        ..Default::default()
    };
    let mut out = String::new();
    hlsl::Writer::new(&mut out, &options, &hlsl::PipelineOptions::default())
        .write(&module, &info, None)
        .map_err(|e| format!("HLSL: {e}"))?;
    Ok(())
}

#[test]
fn every_kernel_of_a_step_translates_to_all_backends() {
    let caps = Caps { subgroup_lanes: Some(8), cpu: true, ..Caps::portable() };
    let mut failures = Vec::new();
    for variant in [ConvVariant::Simt, ConvVariant::Subgroup] {
        let all = kernels(variant, &caps);
        assert!(all.len() > 20);
        for kernel in all {
            if let Err(e) = translate(&kernel) {
                failures.push(format!("{}: {e}", kernel.name()));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn workgroup_memory_fits_the_least_that_devices_grant() {
    for kernel in kernels(ConvVariant::Simt, &Caps::portable()) {
        let text = shader::expand(&kernel).unwrap();
        let module = shader::parse(&kernel, &text).unwrap();
        let reflection = shader::reflect(&kernel, &module).unwrap();
        assert!(reflection.workgroup_bytes <= 16384, "{}", kernel.name());
        assert!(reflection.workgroup_size.iter().product::<u32>() <= 256, "{}", kernel.name());
    }
}

#[test]
fn every_file_below_shaders_is_listed() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut found = BTreeSet::new();
    for folder in std::fs::read_dir(&root).unwrap() {
        let folder = folder.unwrap().path();
        for file in std::fs::read_dir(&folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().with_extension("");
            found.insert(name.to_string_lossy().replace('\\', "/"));
        }
    }
    let listed: BTreeSet<String> =
        shader::SOURCES.iter().map(|(path, _)| (*path).to_string()).collect();
    assert_eq!(found, listed);
}
