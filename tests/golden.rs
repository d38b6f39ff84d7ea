//! Every golden file of a folder through the real kernels, in every variant of this device.
//! `ASNG_WGPU_GOLDEN` names another folder of the same formats.

mod common;

use asng_wgpu::ops::ConvVariant;
use common::{Covered, Golden, Outcome, golden_folder, gpu};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What became of one file.
enum Fate {
    /// One outcome and its seconds a variant.
    Ran(Vec<(String, Outcome, f64)>),
    /// Nothing of it concerns this engine.
    Skipped(String),
}

fn timed(variant: String, run: impl FnOnce() -> Outcome) -> (String, Outcome, f64) {
    let start = Instant::now();
    let outcome = run();
    (variant, outcome, start.elapsed().as_secs_f64())
}

fn one(run: impl FnOnce() -> Outcome) -> Fate {
    Fate::Ran(vec![timed(String::new(), run)])
}

fn each(run: impl Fn(ConvVariant) -> Outcome) -> Fate {
    let variants = ConvVariant::available(gpu().caps());
    Fate::Ran(variants.into_iter().map(|v| timed(format!(" ({v:?})"), || run(v))).collect())
}

fn safetensors(path: &Path) -> Fate {
    let golden = match Golden::load(path) {
        Ok(golden) => golden,
        Err(e) => return one(|| Err(e)),
    };
    let g = &golden;
    // An op's name is its first words; what follows tells which library it is taken from.
    let ops: [(&str, &dyn Fn() -> Fate); 19] = [
        ("conv3d", &|| each(|v| common::conv::run_golden(g, gpu(), v))),
        ("conv_transpose3d", &|| each(|v| common::conv::run_golden(g, gpu(), v))),
        ("instance_norm3d", &|| one(|| common::dense::run_norm(g, gpu()))),
        ("leaky_relu", &|| one(|| common::dense::run_norm(g, gpu()))),
        ("softmax+CE+softDice", &|| one(|| common::dense::run_loss(g, gpu()))),
        ("deep supervision", &|| one(|| common::dense::run_deep_supervision(g, gpu()))),
        ("label downsampling", &|| one(|| common::dense::run_downsample(g, gpu()))),
        ("adam", &|| one(|| common::dense::run_optimizer(g, gpu()))),
        ("sgd", &|| one(|| common::dense::run_optimizer(g, gpu()))),
        ("Generic_UNet", &|| each(|v| common::unet::run(g, gpu(), v))),
        ("sliding window gaussian", &|| one(|| common::window::run_weights(g))),
        ("sliding window prediction", &|| each(|v| common::window::run_prediction(g, gpu(), v))),
        ("SpatialTransform", &|| one(|| common::spatial::run_spatial(g, gpu()))),
        ("map_coordinates", &|| one(|| common::spatial::run_map_coordinates(g, gpu()))),
        ("gaussian_filter", &|| one(|| common::spatial::run_gaussian(g, gpu()))),
        ("gamma", &|| one(|| common::gamma::run_golden(g, gpu()))),
        ("z-score", &|| one(|| common::host_ops::run_zscore(g))),
        ("resample", &|| one(|| common::resample::run(g))),
        ("metrics", &|| one(|| common::host_ops::run_metrics(g))),
    ];
    match ops.iter().find(|(name, _)| golden.op.starts_with(name)) {
        Some((_, run)) => run(),
        None => Fate::Skipped(format!("the engine has no op '{}'", golden.op)),
    }
}

fn json(path: &Path) -> Fate {
    match common::host_ops::run_asng(path) {
        Ok(Some(())) => one(common::all),
        Ok(None) => Fate::Skipped("no run of the search".into()),
        Err(e) => one(|| Err(e)),
    }
}

#[test]
fn golden() {
    let folder = golden_folder();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .collect();
    paths.sort();
    let (mut passed, mut failures) = (0, Vec::new());
    for path in &paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let fate = match path.extension().and_then(|e| e.to_str()) {
            Some("safetensors") => safetensors(path),
            Some("json") => json(path),
            _ => continue,
        };
        let outcomes = match fate {
            Fate::Ran(outcomes) => outcomes,
            Fate::Skipped(why) => {
                println!("skipped {name}: {why}");
                continue;
            }
        };
        for (variant, outcome, seconds) in outcomes {
            match outcome {
                Ok(Covered::Nothing(reason)) => println!("skipped {name}{variant}: {reason}"),
                Ok(Covered::Except(left_out)) => {
                    passed += 1;
                    println!("passed  {name}{variant} [{seconds:.1} s]");
                    left_out.iter().for_each(|part| println!("    skipped part: {part}"));
                }
                Err(e) => {
                    println!("FAILED  {name}{variant}: {e}");
                    failures.push(format!("{name}{variant}: {e}"));
                }
            }
        }
    }
    println!("{passed} passed, {} failed", failures.len());
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    assert!(passed > 0, "no golden file in {}", folder.display());
}
