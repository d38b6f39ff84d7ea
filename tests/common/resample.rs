//! Resampled volumes of golden files.

use super::{Golden, Outcome, all, text};
use asng_wgpu::data::resample::{
    Interpolation, resample_image, resample_labels, resampled_shape, separate_axis,
};

pub fn run(golden: &Golden) -> Outcome {
    let list = |key: &str| -> Result<[f64; 3], String> {
        serde_json::from_value(golden.params[key].clone()).map_err(text)
    };
    let (spacing, target) = (list("spacing")?, list("target")?);
    let from = golden.edges("data")?.map(|e| e as usize);
    let to = resampled_shape(from, spacing, target);
    let expected = golden.triple("new_shape")?.map(|e| e as usize);
    if to != expected {
        return Err(format!("the new shape is {to:?}, not {expected:?}"));
    }
    let separate = separate_axis(spacing, target);
    if let Some(wanted) = golden.params["separate_z"].as_bool()
        && wanted != separate.is_some()
    {
        return Err(format!("separate_z is {}, not {wanted}", separate.is_some()));
    }
    let data = &golden.get("data")?.f32s;
    for (name, order) in [("data_o1", Interpolation::Linear), ("data_o3", Interpolation::Cubic)] {
        if golden.has(name) {
            golden.check(name, &resample_image(data, from, to, order, separate))?;
        }
    }
    let labels: Vec<u8> = golden.get("seg")?.i32s.iter().map(|&l| l as u8).collect();
    let got = resample_labels(&labels, from, to, separate);
    let wanted = &golden.get("seg_o1")?.i32s;
    let ambiguous = &golden.get("seg_ambiguous_o1")?.i32s;
    let wrong = (0..got.len()).filter(|&v| i32::from(got[v]) != wanted[v]);
    let (clear, unclear): (Vec<usize>, Vec<usize>) = wrong.partition(|&v| ambiguous[v] == 0);
    if let Some(&v) = clear.first() {
        return Err(format!("seg_o1[{v}] is {} not {}, {} in all", got[v], wanted[v], clear.len()));
    }
    if unclear.len() * 100 > got.len() {
        return Err(format!("seg_o1: {} of {} voxels differ", unclear.len(), got.len()));
    }
    all()
}
