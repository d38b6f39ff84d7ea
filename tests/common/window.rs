//! Sliding window weights and predictions of golden files.

use super::{Golden, Outcome, all, close_sampled, except, nothing, text};
use asng_wgpu::data::Axes;
use asng_wgpu::gpu::Gpu;
use asng_wgpu::infer::predictor::{Predictor, WindowOptions, argmax};
use asng_wgpu::infer::window::{gaussian, tile_starts};
use asng_wgpu::nn::plan::NetworkPlan;
use asng_wgpu::nn::unet::UNet;
use asng_wgpu::ops::ConvVariant;

pub fn run_weights(golden: &Golden) -> Outcome {
    if let Some(what) = golden.differs("sigma_scale", 0.125) {
        return nothing(what);
    }
    for name in golden.names("gauss") {
        let patch = golden.triple(&name.replacen("gauss", "patch", 1))?;
        golden.check(&name, &gaussian(patch.map(|e| e as usize)))?;
    }
    for case in golden.params["steps"].as_array().ok_or("no list 'steps' in params")? {
        let list = |key: &str| -> Result<[usize; 3], String> {
            serde_json::from_value(case[key].clone()).map_err(|e| format!("'{key}': {e}"))
        };
        let (image, patch) = (list("image")?, list("patch")?);
        let starts: Vec<Vec<usize>> =
            serde_json::from_value(case["starts"].clone()).map_err(text)?;
        let step = case["step"].as_f64().ok_or("no 'step'")?;
        for axis in 0..3 {
            let got = tile_starts(image[axis], patch[axis], step);
            if got != starts[axis] {
                return Err(format!("starts {got:?} instead of {:?}: {case}", starts[axis]));
            }
        }
    }
    all()
}

pub fn run_prediction(golden: &Golden, gpu: &Gpu, variant: ConvVariant) -> Outcome {
    if let Some(what) = golden.differs("gaussian", true) {
        return nothing(what);
    }
    let mut skipped = Vec::new();
    let source = golden.params["weights_from"].as_str().ok_or("no 'weights_from'")?;
    let file = source.split_whitespace().next().ok_or("no file in 'weights_from'")?;
    let network = Golden::load(&golden.folder.join(file))?;
    let patch = golden.triple("patch")?;
    let net = UNet::new(NetworkPlan { patch, batch: 1, ..super::unet::plan(&network)? });
    let classes = net.plan.classes as usize;
    let weights = super::unet::weights(&network, &net, "w.")?;
    let predictor = Predictor::new(gpu, net, &weights, variant).map_err(text)?;
    let x = golden.get("x")?;
    let shape = golden.edges("x")?.map(|e| e as usize);
    let step = golden.number("step_size")?;
    for mirror in [false, true] {
        let (prob, seg) = if mirror { ("prob_mirror", "seg_mirror") } else { ("prob", "seg") };
        if !golden.has(seg) {
            continue;
        }
        if mirror && super::too_heavy(variant) {
            skipped.push(format!("{seg} ({})", super::HEAVY));
            continue;
        }
        let mut axes = Axes::NONE;
        if mirror {
            // The file's axes are all three where it names none.
            let named = golden.list("mirror_axes").unwrap_or(vec![0, 1, 2]);
            named.iter().for_each(|&axis| axes.0[axis as usize] = true);
        }
        let options = WindowOptions { step, mirror: axes };
        let got = predictor.probabilities(gpu, &x.f32s, shape, options).map_err(text)?;
        let tol = golden.tolerance(prob).or(golden.tolerance("prob"))?;
        if golden.has(prob) {
            let array = golden.get(prob)?;
            super::close_shaped(prob, &got, &array.f32s, tol, &array.shape)?;
        } else {
            close_sampled(golden, prob, tol, &got)?;
        }
        let labels = argmax(&got, classes);
        let reference = &golden.get(seg)?.i32s;
        let voxels = labels.len();
        for v in 0..voxels {
            let mut values: Vec<f32> = (0..classes).map(|c| got[c * voxels + v]).collect();
            values.sort_by(|a, b| b.total_cmp(a));
            if values[0] - values[1] > 1e-3 && i32::from(labels[v]) != reference[v] {
                let at = super::close::position(&golden.get(seg)?.shape, v, voxels);
                return Err(format!("{seg}{at} is {} not {}", labels[v], reference[v]));
            }
        }
    }
    except(skipped)
}
