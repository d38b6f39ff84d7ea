//! Trainings of sizes that no test can run, recorded whole without a device and held against its limits.

use super::blueprint::Blueprint;
use super::options::{TrainOptions, example};
use super::planning::Wanted;
use crate::gpu::{Caps, Command, Recording, SlotKind};
use crate::nn::heads::Heads;
use crate::ops::ConvVariant;

/// What every WebGPU device grants, and what large GPUs do; each for both variants of the convolutions.
fn devices() -> Vec<(&'static str, Caps)> {
    let portable = Caps::portable();
    let large = Caps {
        max_binding_bytes: 4 << 30,
        max_buffer_bytes: 1 << 40,
        max_texture_3d: 16384,
        ..portable.clone()
    };
    let software = |caps: &Caps| Caps { subgroup_lanes: Some(8), cpu: true, ..caps.clone() };
    vec![
        ("portable software", software(&portable)),
        ("portable", portable),
        ("large software", software(&large)),
        ("large", large),
    ]
}

/// Patch and batch of the trainings that are recorded.
const SIZES: [([u32; 3], u32); 3] = [([192; 3], 2), ([16, 2048, 2048], 1), ([152; 3], 2)];

fn chosen(caps: &Caps, classes: usize, patch: [u32; 3], batch: u32) -> crate::Result<Blueprint> {
    let options = TrainOptions {
        patch: Some(patch),
        batch: batch as _,
        features: 32,
        levels: 0,
        memory_bytes: None,
        ..example()
    };
    let wanted = Wanted {
        options: &options,
        channels: 1,
        heads: Heads::Softmax,
        classes,
        spacing_mm: if patch[0] == 16 { [6.0, 1.0, 1.0] } else { [1.0; 3] },
        median_shape: patch.map(|edge| edge as usize),
        largest: patch.iter().map(|&edge| edge as usize).product(),
        searching: true,
    };
    wanted.choose(caps, ConvVariant::available(caps)[0])
}

/// The first thing in a recording that the device would not take.
fn beyond(recording: &Recording, blueprint: &Blueprint, caps: &Caps) -> Option<String> {
    let slots = &blueprint.tensors.slots;
    for command in &recording.commands {
        let Command::Dispatch(dispatch) = command else { continue };
        if dispatch.groups.iter().any(|&groups| groups > 65535) {
            return Some(format!("{}: {:?} workgroups", dispatch.kernel.name(), dispatch.groups));
        }
        for binding in &dispatch.bindings {
            let SlotKind::Buffer { bytes } = slots.kind(binding.slot) else { continue };
            let (offset, bound) = binding.range.unwrap_or((0, bytes));
            if bound > caps.max_binding_bytes || offset % 256 != 0 || offset + bound > bytes {
                let name = slots.name(binding.slot);
                return Some(format!("{}: {bound} bytes of {name}", dispatch.kernel.name()));
            }
        }
    }
    None
}

#[test]
fn what_planning_accepts_is_within_the_limits_and_the_rest_is_refused_in_one_sentence() {
    let mut accepted = Vec::new();
    for (name, caps) in devices() {
        for (patch, batch) in SIZES {
            for classes in [2, 32, 105] {
                let what = format!("{name}: {patch:?} batch {batch}, {classes} classes");
                match chosen(&caps, classes, patch, batch) {
                    Ok(blueprint) => {
                        for recording in blueprint.recordings.all() {
                            let fault = beyond(recording, &blueprint, &caps);
                            assert_eq!(fault, None, "{what}");
                        }
                        blueprint.placed.check(&caps).unwrap();
                        accepted.push(what);
                    }
                    Err(e) => {
                        let text = e.to_string();
                        assert_eq!(e.exit_code(), 2, "{what}: {text}");
                        assert!(
                            text.starts_with("--patch ") && text.contains(" would fit"),
                            "{text}"
                        );
                        assert!(!text.contains('\n'), "{text}");
                        println!("{what}: {text}");
                    }
                }
            }
        }
    }
    let count = |name: &str| accepted.iter().filter(|what| what.starts_with(name)).count();
    // A large GPU takes all of them; the convolutions for software adapters have a workgroup per row of a
    // plane, too many of 2048^2.
    assert_eq!((count("large:"), count("large software:")), (3 * 3, 2 * 3), "{accepted:#?}");
    // The least that devices grant binds a channel block of 192^3 voxels, of 16 planes of 2048^2 it does not.
    let least = (count("portable:"), count("portable software:"));
    assert_eq!(least, (2 * 3, 2 * 3), "{accepted:#?}");
}
