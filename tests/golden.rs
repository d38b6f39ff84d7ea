//! Every golden file of a folder through the real kernels, in every variant of this device.
//! `ASNG_WGPU_GOLDEN` names another folder of the same format.

mod common;

use asng_wgpu::ops::ConvVariant;
use common::{Golden, close, golden_folder, gpu};

fn one(outcome: Result<(), String>) -> Vec<(String, Result<(), String>)> {
    vec![("f32".to_string(), outcome)]
}

#[test]
fn golden() {
    let folder = golden_folder();
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of golden files can be read")
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    paths.sort();
    let (mut passed, mut failures) = (0, Vec::new());
    for path in &paths {
        let golden = match Golden::load(path) {
            Ok(golden) => golden,
            Err(e) => {
                failures.push(format!("{}: {e}", path.display()));
                continue;
            }
        };
        let outcomes: Vec<(String, Result<(), String>)> = match golden.op.as_str() {
            "conv3d" | "conv_transpose3d" | "conv3d(generated inputs)" => {
                ConvVariant::available(gpu().caps())
                    .into_iter()
                    .map(|v| (format!("{v:?}"), common::conv::run_golden(&golden, gpu(), v)))
                    .collect()
            }
            "instance_norm3d affine"
            | "instance_norm3d affine(generated inputs)"
            | "leaky_relu" => one(common::dense::run_norm(&golden, gpu())),
            "softmax+CE+softDice (nnU-Net v1 DC_and_CE_loss)" => {
                one(common::dense::run_loss(&golden, gpu()))
            }
            "deep supervision sum (MultipleOutputLoss2)" => {
                one(common::dense::run_deep_supervision(&golden, gpu()))
            }
            "label downsampling for deep supervision (order 0)" => {
                one(common::dense::run_downsample(&golden, gpu()))
            }
            "Generic_UNet train steps" => ConvVariant::available(gpu().caps())
                .into_iter()
                .map(|v| (format!("{v:?}"), common::unet::run(&golden, gpu(), v)))
                .collect(),
            "sliding window gaussian and tile starts" => one(common::window::run_weights(&golden)),
            "sliding window prediction (predict_3D)" => ConvVariant::available(gpu().caps())
                .into_iter()
                .map(|v| (format!("{v:?}"), common::window::run_prediction(&golden, gpu(), v)))
                .collect(),
            "adam" | "sgd" => one(common::dense::run_optimizer(&golden, gpu())),
            other => {
                println!("skipped {}: op '{other}' is out of scope", golden.name);
                continue;
            }
        };
        for (variant, outcome) in outcomes {
            match outcome {
                Ok(()) => passed += 1,
                Err(e) => failures.push(format!("{} ({variant}): {e}", golden.name)),
            }
        }
    }
    println!("{passed} passed, {} failed", failures.len());
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    assert!(passed > 0, "no golden file in {}", folder.display());
}

#[test]
fn the_comparer_rejects_what_is_wrong() {
    assert!(close("length", &[1.0], &[1.0, 2.0], 1.0).is_err());
    assert!(close("nan", &[f32::NAN, 1.0], &[1.0, 1.0], 1.0).is_err());
    assert!(close("infinite", &[f32::INFINITY], &[1.0], 1.0).is_err());
    assert!(close("reference nan", &[1.0], &[f32::NAN], 1.0).is_err());
    assert!(close("one of many", &[1.0, 2.1, 3.0], &[1.0, 2.0, 3.0], 0.03).is_err());
    assert!(close("zero reference", &[1e-5], &[0.0], 1.0).is_err());
    assert!(close("within", &[1.0, 2.05, 3.0], &[1.0, 2.0, 3.0], 0.03).is_ok());
}
