//! The real binary on real volumes, in the folder that `ASNG_WGPU_DATA` names.

mod common_cli;
#[path = "support/real.rs"]
mod real;
#[path = "support/require.rs"]
mod require;

use asng_wgpu::data::nifti::{read_header, read_labels};
use common_cli::Folder;
use std::path::PathBuf;

/// Checks a data set, trains a small network briefly on a grid of its own, predicts one case on the
/// case's grid, evaluates and augments it.
fn whole_chain(name: &str, case: &str, grid: &[&str], labels: u16) {
    let Some(data) = real::data_set(name) else { return };
    let folder = Folder::new();
    let dataset = data.to_string_lossy().into_owned();
    let image = data.join(format!("imagesTr/{case}.nii.gz"));
    let label = data.join(format!("labelsTr/{case}.nii.gz"));
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    let size = ["--features", "4", "--levels", "3", "--epochs", "2", "--iterations", "1"];
    let train = ["train", &dataset, "--out", "run", "--no-validate", "--search-until", "0.5"];
    let commands: [&[&str]; 5] = [
        &["check", &dataset],
        &[&train, grid, &size].concat(),
        &["predict", "-m", "run", "-i", &text(&image), "-o", "out", "--no-tta", "--step", "1"],
        &["evaluate", &format!("out/{case}.nii.gz"), &text(&label), "-o", "summary.json"],
        &["augment", &text(&image), "-o", "look", "--policy", "run", "--count", "1"],
    ];
    for command in commands {
        folder.ok(command);
    }
    let predicted = folder.path(&format!("out/{case}.nii.gz"));
    let (read, header) = (read_labels(&predicted).unwrap(), read_header(&image).unwrap());
    assert_eq!(read.shape, header.shape());
    assert_eq!(read.header.differences(&header), []);
    assert!(read.labels.iter().all(|&l| l <= labels));
    assert!(folder.list("look").contains(&"sheet.png".to_string()));
}

#[test]
fn hippocampus() {
    let grid = ["--patch", "40,56,40"];
    whole_chain("Task04_Hippocampus", "hippocampus_001", &grid, 2);
}

#[test]
fn brain() {
    // The files run from left to right and from front to back.
    let grid = ["--spacing", "2,1.5,1.5", "--reorient", "ras", "--patch", "32,64,48"];
    whole_chain("Brain2013", "brats_2013_pat0001_1", &grid, 3);
}

#[test]
fn left_atrium() {
    let grid = ["--spacing", "1.25,1.25,1.25", "--patch", "32,48,48"];
    whole_chain("LeftAtrium2018", "la_000", &grid, 1);
}
