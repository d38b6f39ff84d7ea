//! Real volumes, in the folder that `ASNG_WGPU_DATA` names.

use crate::real_data::data_set;
use asng_wgpu::data::preprocess::prepare_all;
use asng_wgpu::data::{Dataset, split};

#[test]
fn hippocampus() {
    let Some(dir) = data_set("Task04_Hippocampus") else { return };
    let d = Dataset::open(&dir).unwrap();
    assert_eq!((d.cases.len(), d.labels.len()), (200, 3));
    let p = prepare_all(&d, &d.cases[..8], 2).unwrap();
    assert!(!p.preprocessing.nonzero_mask);
    for c in &p.cases {
        let image = &c.voxels().unwrap().image;
        let mean = image.iter().map(|&v| v as f64).sum::<f64>() / image.len() as f64;
        assert!(mean.abs() < 1e-3);
        assert!(c.places.foreground.iter().all(|f| f.len() > 100));
    }
    let folds = split::folds(&d).unwrap();
    assert_eq!(folds.len(), 5);
    assert!(folds.iter().all(|f| f.val.len() == 40 && f.train.len() == 160));
}

#[test]
fn brain() {
    let Some(dir) = data_set("Brain2013") else { return };
    let d = Dataset::open(&dir).unwrap();
    let p = prepare_all(&d, &d.cases[..1], 2).unwrap();
    let c = &p.cases[0];
    assert_eq!(c.voxels().unwrap().image.len(), 2 * c.shape.iter().product::<usize>());
    assert!(c.shape.iter().all(|&s| s > 100));
    assert_eq!(c.places.foreground.len(), 3);
}
