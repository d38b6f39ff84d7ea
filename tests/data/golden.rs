//! Reference values of other libraries.

use asng_wgpu::data::preprocess::{Preprocessing, normalise};
use asng_wgpu::metrics::overlaps;
use safetensors::SafeTensors;

fn bytes(name: &str) -> Vec<u8> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let folder = std::env::var("ASNG_WGPU_GOLDEN").unwrap_or_else(|_| own.into());
    std::fs::read(std::path::Path::new(&folder).join(name)).unwrap()
}

fn words(t: &SafeTensors, name: &str) -> Vec<[u8; 4]> {
    t.tensor(name).unwrap().data().chunks_exact(4).map(|c| c.try_into().unwrap()).collect()
}

#[test]
fn zscore() {
    let file = bytes("zscore.safetensors");
    let t = SafeTensors::deserialize(&file).unwrap();
    let f32s = |n: &str| words(&t, n).into_iter().map(f32::from_le_bytes).collect::<Vec<_>>();
    for (name, nonzero_mask) in [("all_voxels", false), ("nonzero_mask", true)] {
        let mut x = f32s("x");
        let by = Preprocessing { spacing_mm: [1.0; 3], nonzero_mask, ct: vec![] };
        normalise(&mut x, 7 * 8 * 9, &by);
        let want = f32s(name);
        let top = want.iter().fold(0f32, |a, v| a.max(v.abs()));
        for (a, b) in x.iter().zip(&want) {
            assert!((a - b).abs() <= 2e-5 * top, "{name}: {a} {b}");
        }
    }
}

#[test]
fn overlap_metrics() {
    let file = bytes("metrics.safetensors");
    let t = SafeTensors::deserialize(&file).unwrap();
    let (_, head) = SafeTensors::read_metadata(&file).unwrap();
    let params = head.metadata().as_ref().unwrap()["params"].clone();
    let params: serde_json::Value = serde_json::from_str(&params).unwrap();
    let labels = |n: String| {
        words(&t, &n).into_iter().map(|b| i32::from_le_bytes(b) as u16).collect::<Vec<_>>()
    };
    let mut compared = 0;
    for (i, case) in params["cases"].as_array().unwrap().iter().enumerate() {
        let (p, r) = (labels(format!("pred{i}")), labels(format!("ref{i}")));
        for (label, want) in case["labels"].as_object().unwrap() {
            let o = overlaps(&p, &r, &[label.parse().unwrap()]).unwrap()[0];
            assert_eq!(Some(o.n_pred()), want["n_pred"].as_u64());
            assert_eq!(Some(o.n_ref()), want["n_ref"].as_u64());
            assert!((o.dice() - want["dice"].as_f64().unwrap()).abs() < 1e-12);
            assert!((o.iou() - want["jaccard"].as_f64().unwrap()).abs() < 1e-12);
            compared += 1;
        }
    }
    assert!(compared >= 8);
}
