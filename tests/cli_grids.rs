//! Runs on data of other grids than the network's: predictions come back to the grid of each file.

mod common_cli;

use asng_wgpu::data::nifti::{Header, read_image, read_labels, write_image, write_labels};
use asng_wgpu::data::resample::{Interpolation, resample_image};
use asng_wgpu::metrics::keep_largest;
use common_cli::{Folder, run_folder};
use std::path::Path;

/// Share of equal labels.
fn agreement(a: &[u16], b: &[u16]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64
}

fn labels(path: &Path) -> Vec<u16> {
    read_labels(path).unwrap().labels
}

#[test]
fn a_finer_scan_is_segmented_alike() {
    let f = Folder::new();
    let data = f.demo("heart", 3);
    let run = run_folder(&f.path("run"), &data, &[0], [16, 16, 16]);
    let coarse = read_image(&data.join("imagesTr/heart_001.nii.gz")).unwrap();
    std::fs::create_dir(f.path("in")).unwrap();
    let write = |name: &str, data: &[f32], shape, spacing| {
        let path = f.path("in").join(name);
        write_image(&path, data, coarse.channels, shape, &Header::plain(shape, spacing)).unwrap();
    };
    write("coarse.nii.gz", &coarse.data, coarse.shape, coarse.spacing_mm);
    let shape = coarse.shape.map(|n| 3 * n);
    let fine = resample_image(&coarse.data, coarse.shape, shape, Interpolation::Cubic, None);
    write("fine.nii.gz", &fine, shape, coarse.spacing_mm.map(|mm| mm / 3.0));
    f.ok(&["predict", "-m", &run, "-i", "in", "-o", "out", "--step", "1", "--no-tta"]);
    let (a, b) = (labels(&f.path("out/coarse.nii.gz")), labels(&f.path("out/fine.nii.gz")));
    let [_, h, w] = coarse.shape;
    // The middle of three fine voxels is where the coarse one is.
    let middle = |i: usize| {
        let [z, y, x] = [i / (h * w), i / w % h, i % w].map(|v| 3 * v + 1);
        b[(z * shape[1] + y) * shape[2] + x]
    };
    let found: Vec<u16> = (0..a.len()).map(middle).collect();
    let share = agreement(&a, &found);
    assert!(share > 0.95, "only {share} of the voxels agree");
    assert!(a.iter().any(|&l| l != a[0]), "the network has one answer for all");
}

/// A copy of a data set whose files have y as slowest axis and z as fastest.
fn turned(from: &Path, to: &Path) {
    for folder in ["imagesTr", "labelsTr"] {
        std::fs::create_dir_all(to.join(folder)).unwrap();
        for entry in std::fs::read_dir(from.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let v = read_image(&path).unwrap();
            let [d, h, w] = v.shape;
            let data: Vec<f32> = v
                .data
                .chunks_exact(d * h * w)
                .flat_map(|c| {
                    let at = move |i: usize| c[((i % d) * h + i / (d * w)) * w + i / d % w];
                    (0..d * h * w).map(at)
                })
                .collect();
            let [dz, dy, dx] = v.spacing_mm;
            let (shape, header) = ([h, w, d], Header::plain([h, w, d], [dy, dx, dz]));
            let out = to.join(folder).join(path.file_name().unwrap());
            if folder == "imagesTr" {
                write_image(&out, &data, v.channels, shape, &header).unwrap();
            } else {
                let labels: Vec<u16> = data.iter().map(|&l| l as u16).collect();
                write_labels(&out, &labels, shape, &header).unwrap();
            }
        }
    }
    std::fs::copy(from.join("dataset.json"), to.join("dataset.json")).unwrap();
}

#[test]
fn slices_along_any_axis_of_the_file_are_the_same_to_the_network() {
    let f = Folder::new();
    let data = f.demo("prostate", 3);
    let other = f.path("turned");
    turned(&data, &other);
    let run = run_folder(&f.path("run"), &data, &[0], [8, 32, 32]);
    let run_turned = run_folder(&f.path("run-turned"), &other, &[0], [8, 32, 32]);
    let image = |data: &Path| data.join("imagesTr/prostate_001.nii.gz").display().to_string();
    let (a, b) = (image(&data), image(&other));
    f.ok(&["predict", "-m", &run, "-i", &a, "-o", "a.nii.gz", "--step", "1", "--no-tta"]);
    f.ok(&["predict", "-m", &run_turned, "-i", &b, "-o", "b.nii.gz", "--step", "1", "--no-tta"]);
    let (a, b) = (read_labels(&f.path("a.nii.gz")).unwrap(), labels(&f.path("b.nii.gz")));
    let [d, h, w] = a.shape;
    let back: Vec<u16> =
        (0..d * h * w).map(|i| b[((i / w % h) * w + i % w) * d + i / (h * w)]).collect();
    assert!(a.labels == back, "{} of the voxels agree", agreement(&a.labels, &back));
    assert!(back.iter().any(|&l| l != back[0]), "the network has one answer for all");
}

#[test]
fn a_flipped_scan_is_turned_to_ras_and_its_prediction_back() {
    let f = Folder::new();
    let data = f.demo("brain", 3);
    let run = run_folder(&f.path("run"), &data, &[0], [16, 16, 16]);
    let path = f.path("run/config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let keep = r#""reorient": false"#;
    assert!(text.contains(keep), "{text}");
    std::fs::write(&path, text.replace(keep, r#""reorient": true"#)).unwrap();
    let v = read_image(&data.join("imagesTr/brain_001.nii.gz")).unwrap();
    let w = v.shape[2];
    // x runs from right to left: the same head in the world.
    let mut header = Header::plain(v.shape, v.spacing_mm);
    std::fs::create_dir(f.path("in")).unwrap();
    write_image(&f.path("in/plain.nii.gz"), &v.data, v.channels, v.shape, &header).unwrap();
    header.srow[0][0] *= -1.0;
    header.srow[0][3] += v.spacing_mm[2] * (w - 1) as f64;
    let mirrored = |i: usize| i / w * w + (w - 1 - i % w);
    let data: Vec<f32> = (0..v.data.len()).map(|i| v.data[mirrored(i)]).collect();
    write_image(&f.path("in/flipped.nii.gz"), &data, v.channels, v.shape, &header).unwrap();
    std::fs::write(f.path("list.txt"), "# two scans\nin/plain.nii.gz\nin/flipped.nii.gz\n")
        .unwrap();
    f.ok(&["predict", "-m", &run, "-i", "list.txt", "-o", "out", "--step", "1", "--no-tta"]);
    let (a, b) = (labels(&f.path("out/plain.nii.gz")), labels(&f.path("out/flipped.nii.gz")));
    assert!((0..a.len()).all(|i| a[i] == b[mirrored(i)]));
    assert!(a != b, "the prediction is symmetric");
    // One component is left of each label.
    let one = ["--largest-component", "1,2,3"];
    let scan = ["predict", "-m", &run, "-i", "in/plain.nii.gz", "-o", "one.nii.gz"];
    f.ok(&[&scan[..], &["--step", "1", "--no-tta"], &one].concat());
    let mut wanted: Vec<u8> = a.iter().map(|&l| l as u8).collect();
    let removed: usize = (1..4).map(|label| keep_largest(&mut wanted, v.shape, label)).sum();
    assert!(removed > 0, "nothing was to be removed");
    assert!(labels(&f.path("one.nii.gz")).iter().zip(&wanted).all(|(a, &b)| *a == u16::from(b)));
    f.refused(&[&scan[..], &["--largest-component", "7"]].concat(), 2, &["--largest-component 7"]);
    f.refused(&[&scan[..], &["--largest-component", "x"]].concat(), 2, &["--largest-component"]);
}

#[test]
fn runs_of_differing_grids_are_averaged() {
    let f = Folder::new();
    let data = f.demo("heart", 3);
    let one = run_folder(&f.path("one"), &data, &[0, 1], [16, 16, 16]);
    let two = run_folder(&f.path("two"), &data, &[2], [16, 16, 16]);
    // The second run has voxels half as large again.
    let path = f.path("two/config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    for mm in config["preprocessing"]["spacing_mm"].as_array_mut().unwrap() {
        *mm = (mm.as_f64().unwrap() * 1.5).into();
    }
    let mut broken = config.clone();
    broken["preprocessing"]["axes"] = serde_json::json!([0, 0, 7]);
    std::fs::write(&path, broken.to_string()).unwrap();
    f.refused(&["predict", "-m", &two, "-i", "x", "-o", "y"], 1, &["axes [0, 0, 7]"]);
    std::fs::write(&path, config.to_string()).unwrap();
    let image = data.join("imagesTr/heart_001.nii.gz").display().to_string();
    let window = ["--step", "1", "--no-tta"];
    let mut together = vec!["predict", "-m", &one, &two, "-i", &image, "-o", "both"];
    together.extend(window);
    let done = f.ok(&[together.as_slice(), &["--save-probabilities"]].concat());
    assert!(done.stderr.contains("fold 2 of"), "{}", done.all());
    for run in [&one, &two] {
        let mut alone = vec!["predict", "-m", run, "-i", &image, "-o", run, "--save-probabilities"];
        alone.extend(window);
        f.ok(&alone);
    }
    let probabilities =
        |at: &str| read_image(&f.path(at).join("probabilities/heart_001.nii.gz")).unwrap();
    let (a, b, both) = (probabilities("one"), probabilities("two"), probabilities("both"));
    let voxels = both.shape.iter().product::<usize>();
    assert_eq!(both.channels, 2);
    assert!([&a, &b, &both].iter().all(|v| v.data.len() == 2 * voxels));
    for ((a, b), both) in a.data.iter().zip(&b.data).zip(&both.data) {
        assert!(((2.0 * a + b) / 3.0 - both).abs() < 2e-3);
    }
    let chosen = labels(&f.path("both/heart_001.nii.gz"));
    assert_eq!(chosen.len(), voxels);
    for (v, &label) in chosen.iter().enumerate() {
        let (p0, p1) = (both.data[v], both.data[voxels + v]);
        assert!((p0 + p1 - 1.0).abs() < 2e-3);
        assert!((p0 - p1).abs() < 2e-3 || (label == 1) == (p1 > p0));
    }
    // What is there is passed over, and made again without the flag.
    together.push("--continue");
    let done = f.ok(&together);
    assert!(done.stderr.contains("is there already"), "{}", done.all());
}

#[test]
fn an_anisotropic_two_channel_set_goes_all_the_way() {
    let f = Folder::new();
    let data = f.demo("prostate", 4);
    // One case in other slices than the rest.
    let image = data.join("imagesTr/prostate_002.nii.gz");
    let label = data.join("labelsTr/prostate_002.nii.gz");
    let (v, l) = (read_image(&image).unwrap(), read_labels(&label).unwrap());
    let spacing = [v.spacing_mm[0] * 0.8, v.spacing_mm[1] * 1.25, v.spacing_mm[2]];
    let header = Header::plain(v.shape, spacing);
    write_image(&image, &v.data, v.channels, v.shape, &header).unwrap();
    write_labels(&label, &l.labels, l.shape, &header).unwrap();
    let data = data.display().to_string();
    let plan = f.ok(&["plan", &data, "--features", "4", "--memory", "300MiB", "-o", "plan.json"]);
    assert!(
        plan.stdout.contains("1x3x3") && plan.stdout.contains("per epoch of"),
        "{}",
        plan.all()
    );
    let train = [
        "train",
        &data,
        "--plan",
        "plan.json",
        "--out",
        "run",
        "--epochs",
        "1",
        "--iterations",
        "2",
        "--searcher",
        "default",
        "--fold",
        "all",
        "--cache",
        "prepared",
    ];
    f.ok(&train);
    for fold in 0..4 {
        let summary = f.path(&format!("run/fold_{fold}/validation/summary.json"));
        assert!(summary.is_file(), "{}", summary.display());
    }
    let again = f.ok(&train);
    assert!(again.stderr.contains("fold 3 is trained already"), "{}", again.all());
    let made = read_labels(
        &f.path("run/fold_0/validation").join(
            std::fs::read_dir(f.path("run/fold_0/validation"))
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .find(|n| n.to_string_lossy().ends_with(".nii.gz"))
                .unwrap(),
        ),
    )
    .unwrap();
    assert_eq!(made.shape, v.shape);
    let images = format!("{data}/imagesTr");
    f.ok(&["predict", "-m", "run", "-i", &images, "-o", "out", "--step", "1", "--no-tta"]);
    f.ok(&["evaluate", "out", &format!("{data}/labelsTr")]);
}
