//! The real binary on real volumes, where they are there: `ASNG_WGPU_DATA` or `../shared/data`.

mod common_cli;

use asng_wgpu::data::nifti::{read_header, read_labels};
use common_cli::Folder;
use std::path::PathBuf;

/// A data set, as an absolute path.
fn data(name: &str) -> Option<PathBuf> {
    let base = std::env::var_os("ASNG_WGPU_DATA")
        .map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
    match base.join(name).canonicalize() {
        Ok(folder) => Some(folder),
        Err(_) => {
            println!("skipped: '{}' is missing", base.join(name).display());
            None
        }
    }
}

/// Trains a small network briefly, predicts one case on its own grid, evaluates and augments it.
fn whole_chain(name: &str, case: &str, patch: &str, labels: u16) {
    let Some(data) = data(name) else { return };
    let folder = Folder::new();
    let dataset = data.to_string_lossy().into_owned();
    let image = data.join(format!("imagesTr/{case}.nii.gz"));
    let label = data.join(format!("labelsTr/{case}.nii.gz"));
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    let commands: [&[&str]; 4] = [
        &[
            "train",
            &dataset,
            "--out",
            "run",
            "--no-validate",
            "--patch",
            patch,
            "--features",
            "4",
            "--levels",
            "3",
            "--epochs",
            "2",
            "--iterations",
            "1",
            "--search-until",
            "0.5",
        ],
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
    assert_eq!(read.header.geometry_difference(&header, 1e-6), None);
    assert!(read.labels.iter().all(|&l| l <= labels));
    assert!(folder.list("look").contains(&"sheet.png".to_string()));
}

#[test]
fn hippocampus() {
    whole_chain("Task04_Hippocampus", "hippocampus_001", "40,56,40", 2);
}

#[test]
fn brain() {
    whole_chain("Brain2013", "brats_2013_pat0001_1", "48,64,48", 3);
}

#[test]
fn left_atrium() {
    whole_chain("LeftAtrium2018", "la_000", "48,64,64", 1);
}
