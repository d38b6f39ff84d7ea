//! Labels of any numbers, ignore labels and regions, from training to the report, with the real
//! binary.

mod common_cli;

use asng_wgpu::data::nifti::{Header, read_labels, write_image, write_labels};
use asng_wgpu::metrics::Summary;
use common_cli::Folder;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

const SHAPE: [usize; 3] = [20, 20, 20];
const CASES: usize = 4;
/// A network that is small and learns fast.
const SMALL: [&str; 18] = [
    "--patch",
    "16,16,16",
    "--features",
    "4",
    "--levels",
    "2",
    "--batch-size",
    "2",
    "--epochs",
    "2",
    "--iterations",
    "60",
    "--lr",
    "1e-2",
    "--searcher",
    "none",
    "--threads",
    "2",
];

/// How many voxels a voxel is from a case's centre, cut to whole numbers; D,H,W.
fn distances(case: usize) -> Vec<usize> {
    let centre = [9.0, 9.0 + (case % 2) as f64, 8.0 + (case % 3) as f64];
    let place = |i: usize| [i / 400, i / 20 % 20, i % 20].map(|v| v as f64);
    let distance =
        |i: usize| (0..3).map(|a| (place(i)[a] - centre[a]).powi(2)).sum::<f64>().sqrt() as usize;
    (0..8000).map(distance).collect()
}

/// A data set of bright shells within each other. `value`: the label by the distance from the
/// centre and the voxel's index. `labels`: the inside of a dataset.json's braces.
fn write_dataset(dir: &Path, labels: &str, value: impl Fn(usize, usize) -> u16) {
    for folder in ["imagesTr", "labelsTr", "imagesTs"] {
        std::fs::create_dir_all(dir.join(folder)).unwrap();
    }
    let header = Header::plain(SHAPE, [1.0; 3]);
    for case in 0..CASES {
        let distances = distances(case);
        let noise = |i: usize| (i * 7919 % 101) as f32 / 50.0;
        let bright = |d: usize| {
            if d < 4 {
                40.0
            } else if d < 7 {
                20.0
            } else {
                1.0
            }
        };
        let image: Vec<f32> =
            distances.iter().enumerate().map(|(i, d)| bright(*d) + noise(i)).collect();
        let map: Vec<u16> = distances.iter().enumerate().map(|(i, d)| value(*d, i)).collect();
        write_image(&dir.join(format!("imagesTr/c{case}_0000.nii.gz")), &image, 1, SHAPE, &header)
            .unwrap();
        write_labels(&dir.join(format!("labelsTr/c{case}.nii.gz")), &map, SHAPE, &header).unwrap();
        if case == 0 {
            let test = dir.join("imagesTs/t0_0000.nii.gz");
            write_image(&test, &image, 1, SHAPE, &header).unwrap();
        }
    }
    let json = format!(
        r#"{{"channel_names":{{"0":"MRI"}},"file_ending":".nii.gz","numTraining":{CASES},{labels}}}"#
    );
    std::fs::write(dir.join("dataset.json"), json).unwrap();
    let splits =
        r#"[{"train":["c0","c1"],"val":["c2","c3"]},{"train":["c2","c3"],"val":["c0","c1"]}]"#;
    std::fs::write(dir.join("splits_final.json"), splits).unwrap();
}

fn values(path: &Path) -> BTreeSet<u16> {
    read_labels(path).unwrap().labels.into_iter().collect()
}

fn summary(f: &Folder, path: &str) -> Summary {
    Summary::from_json(&String::from_utf8(f.bytes(path)).unwrap()).unwrap()
}

fn keys(summary: &Summary) -> Vec<&str> {
    summary.mean.keys().map(String::as_str).collect()
}

fn dice(summary: &Summary, key: &str) -> f64 {
    summary.mean[key]["Dice"].value()
}

/// Trains a fold.
fn train(f: &Folder, fold: &str) {
    let mut arguments = vec!["train", "data", "--out", "run", "--fold", fold];
    arguments.extend(SMALL);
    f.ok(&arguments);
    let log = String::from_utf8(f.bytes(&format!("run/fold_{fold}/metrics.jsonl"))).unwrap();
    assert_eq!(log.lines().count(), 2, "{log}");
    for line in log.lines() {
        let epoch: Value = serde_json::from_str(line).unwrap();
        assert!(epoch["loss"].is_f64() && epoch["val_loss"].is_f64(), "{line}");
    }
}

#[test]
fn labels_of_any_numbers_keep_them() {
    let f = Folder::new();
    let labels = r#""labels":{"background":0,"rim":1000,"core":3}"#;
    write_dataset(&f.path("data"), labels, |d, _| {
        if d < 4 {
            3
        } else if d < 7 {
            1000
        } else {
            0
        }
    });
    let done = f.ok(&["check", "data"]);
    assert!(done.stdout.contains("rim") && !done.stderr.contains("suggest"), "{}", done.all());
    train(&f, "0");
    train(&f, "1");
    let config: Value = serde_json::from_slice(&f.bytes("run/config.json")).unwrap();
    assert_eq!(config["dataset"]["label_values"], serde_json::json!([0, 3, 1000]));
    let validated = summary(&f, "run/fold_0/validation/summary.json");
    assert_eq!(keys(&validated), ["1000", "3"]);
    assert!(dice(&validated, "1000") > 0.7 && dice(&validated, "3") > 0.7, "{validated:?}");
    f.ok(&["predict", "-m", "run", "-i", "data/imagesTs", "-o", "pred", "--no-tta"]);
    assert_eq!(values(&f.path("pred/t0.nii.gz")), [0, 3, 1000].into());
    let largest = ["--largest-component", "1000", "-m", "run", "-i", "data/imagesTs", "-o", "l"];
    f.ok(&[&["predict", "--no-tta"], &largest[..]].concat());
    f.refused(
        &["predict", "-m", "run", "-i", "data/imagesTs", "-o", "l", "--largest-component", "2"],
        2,
        &["one of 3, 1000"],
    );
    let done =
        f.ok(&["evaluate", "run/fold_0/validation", "data/labelsTr", "-o", "e.json", "--partial"]);
    assert!(done.stdout.lines().any(|l| l.starts_with("1000 ")), "{}", done.all());
    let done = f.ok(&["cross-validate", "run"]);
    assert!(done.stdout.lines().any(|l| l.starts_with("1000 ")), "{}", done.all());
    let page = String::from_utf8(f.bytes("run/fold_0/report.html")).unwrap();
    assert!(page.contains("rim") && page.contains("core"));
    let done = f.ok(&["augment", "data", "--case", "c1", "--count", "1", "-o", "a"]);
    let maps = f.list("a").into_iter().filter(|n| n.contains("label")).collect::<Vec<_>>();
    assert!(!maps.is_empty(), "{}", done.all());
    for map in maps {
        assert!(values(&f.path(&format!("a/{map}"))).contains(&1000), "{map}");
    }
}

#[test]
fn an_ignore_label_is_neither_learned_nor_measured_nor_predicted() {
    let f = Folder::new();
    let labels = r#""labels":{"background":0,"rim":1,"core":2,"ignore":3}"#;
    // One voxel of ten is labelled.
    let inner = |d: usize| {
        if d < 4 {
            2
        } else if d < 7 {
            1
        } else {
            0
        }
    };
    write_dataset(&f.path("data"), labels, |d, i| if i * 31 % 10 == 0 { inner(d) } else { 3 });
    let done = f.ok(&["check", "data"]);
    assert!(!done.stdout.contains("into background"), "{}", done.all());
    train(&f, "0");
    let validated = summary(&f, "run/fold_0/validation/summary.json");
    assert_eq!(keys(&validated), ["1", "2"]);
    assert!(dice(&validated, "1") > 0.7 && dice(&validated, "2") > 0.7, "{validated:?}");
    // Only labelled voxels count.
    for case in &validated.metric_per_case {
        let counts = &case.metrics["1"];
        let sum: f64 = ["TP", "FP", "FN", "TN"].iter().map(|n| counts[*n].value()).sum();
        let name = Path::new(&case.reference_file).file_name().unwrap();
        let reference = read_labels(&f.path("data/labelsTr").join(name)).unwrap();
        assert_eq!(sum as usize, reference.labels.iter().filter(|v| **v != 3).count());
    }
    f.ok(&["predict", "-m", "run", "-i", "data/imagesTs", "-o", "pred", "--no-tta"]);
    assert_eq!(values(&f.path("pred/t0.nii.gz")), [0, 1, 2].into());
    // By the dataset.json above the references, or by the flag.
    let done =
        f.ok(&["evaluate", "run/fold_0/validation", "data/labelsTr", "-o", "e.json", "--partial"]);
    assert!(done.stderr.contains("ignore label by"), "{}", done.all());
    assert_eq!(summary(&f, "e.json").mean, validated.mean);
    std::fs::rename(f.path("data/labelsTr"), f.path("refs")).unwrap();
    let flagged = ["evaluate", "run/fold_0/validation", "refs", "-o", "e.json", "--partial"];
    f.ok(&[&flagged[..], &["--ignore-label", "3"]].concat());
    assert_eq!(summary(&f, "e.json").mean, validated.mean);
    f.ok(&[&flagged[..], &["--dataset", "data"]].concat());
    assert_eq!(summary(&f, "e.json").mean, validated.mean);
    f.ok(&flagged);
    assert_eq!(keys(&summary(&f, "e.json")), ["1", "2", "3"]);
}

/// Names of regions that are neither in the order of the alphabet nor of the background.
const REGIONS: &str = r#""labels":{"background":0,"whole":[1,2],"inner":[2]},
    "regions_class_order":[1,2]"#;

#[test]
fn regions_are_trained_predicted_and_reported() {
    let f = Folder::new();
    write_dataset(&f.path("data"), REGIONS, |d, _| {
        if d < 4 {
            2
        } else if d < 7 {
            1
        } else {
            0
        }
    });
    let done = f.ok(&["check", "data"]);
    assert!(!done.stdout.contains("does not list"), "{}", done.all());
    train(&f, "0");
    train(&f, "1");
    let validated = summary(&f, "run/fold_0/validation/summary.json");
    assert_eq!(keys(&validated), ["(1, 2)", "(2,)"]);
    assert!(dice(&validated, "(1, 2)") > 0.7 && dice(&validated, "(2,)") > 0.7, "{validated:?}");
    // The first channel is the larger region in the file's order.
    let counts = &validated.metric_per_case[0].metrics;
    assert!(counts["(1, 2)"]["n_ref"].value() > counts["(2,)"]["n_ref"].value());
    let predict = ["predict", "-m", "run", "-i", "data/imagesTs", "--no-tta"];
    f.ok(&[&predict[..], &["-o", "pred"]].concat());
    assert_eq!(values(&f.path("pred/t0.nii.gz")), [0, 1, 2].into());
    let done =
        f.ok(&["evaluate", "run/fold_0/validation", "data/labelsTr", "-o", "e.json", "--partial"]);
    assert!(done.stderr.contains("regions by"), "{}", done.all());
    assert_eq!(summary(&f, "e.json").mean, validated.mean);
    let single =
        ["evaluate", "run/fold_0/validation", "data/labelsTr", "-o", "e.json", "--partial"];
    f.ok(&[&single[..], &["--labels", "1"]].concat());
    assert_eq!(keys(&summary(&f, "e.json")), ["1"]);
    let done = f.ok(&["cross-validate", "run"]);
    assert!(done.stdout.contains("(1, 2)"), "{}", done.all());
    assert_eq!(summary(&f, "run/cross_validation/summary.json").metric_per_case.len(), CASES);
    f.ok(&["report", "run"]);
    let page = String::from_utf8(f.bytes("run/fold_0/report.html")).unwrap();
    assert!(page.contains("whole") && page.contains("inner"));
    f.ok(&["compare", "run", "run/fold_0/validation"]);
}

#[test]
fn regions_and_an_ignore_label_go_together() {
    let f = Folder::new();
    let labels = r#""labels":{"background":0,"whole":[1,5],"inner":5,"ignore":9},
        "regions_class_order":[1,5]"#;
    let inner = |d: usize| {
        if d < 4 {
            5
        } else if d < 7 {
            1
        } else {
            0
        }
    };
    write_dataset(&f.path("data"), labels, |d, i| if i % 3 == 0 { 9 } else { inner(d) });
    f.ok(&["check", "data"]);
    train(&f, "0");
    let validated = summary(&f, "run/fold_0/validation/summary.json");
    assert_eq!(keys(&validated), ["(1, 5)", "5"]);
    assert!(dice(&validated, "(1, 5)") > 0.7 && dice(&validated, "5") > 0.7, "{validated:?}");
    for case in ["c2", "c3"] {
        let found = values(&f.path(&format!("run/fold_0/validation/{case}.nii.gz")));
        assert!(found.is_subset(&[0, 1, 5].into()), "{found:?}");
    }
    let done =
        f.ok(&["evaluate", "run/fold_0/validation", "data/labelsTr", "-o", "e.json", "--partial"]);
    assert!(done.stderr.contains("regions and ignore label by"), "{}", done.all());
    assert_eq!(summary(&f, "e.json").mean, validated.mean);
}

#[test]
fn regions_are_measured_by_hand() {
    let f = Folder::new();
    let shape = [1, 1, 10];
    let header = Header::plain(shape, [1.0; 3]);
    for folder in ["ref", "pred"] {
        std::fs::create_dir_all(f.path(folder)).unwrap();
    }
    // Ignored voxels are counted nowhere, whatever is predicted there.
    write_labels(&f.path("ref/a.nii.gz"), &[0u16, 1, 1, 2, 2, 4, 4, 0, 0, 0], shape, &header)
        .unwrap();
    write_labels(&f.path("pred/a.nii.gz"), &[0u16, 1, 2, 2, 2, 2, 1, 1, 0, 0], shape, &header)
        .unwrap();
    let labels = r#"{"labels":{"background":0,"whole":[1,2],"core":2,"ignore":4},
        "regions_class_order":[1,2]}"#;
    std::fs::write(f.path("ref/dataset.json"), labels).unwrap();
    f.ok(&["evaluate", "pred", "ref", "--no-surface"]);
    let found = summary(&f, "pred/summary.json");
    assert_eq!(keys(&found), ["(1, 2)", "2"]);
    let counts = |key: &str| {
        let metrics = &found.metric_per_case[0].metrics[key];
        ["TP", "FP", "FN", "TN"].map(|name| metrics[name].value() as usize)
    };
    assert_eq!(counts("(1, 2)"), [4, 1, 0, 3]);
    assert_eq!(counts("2"), [2, 1, 0, 5]);
    f.ok(&["evaluate", "pred", "ref", "--labels", "1", "--no-surface"]);
    let found = summary(&f, "pred/summary.json");
    let metrics = &found.metric_per_case[0].metrics["1"];
    assert_eq!(["TP", "FP", "FN"].map(|n| metrics[n].value() as usize), [1, 1, 1]);
    f.refused(&["evaluate", "pred", "ref", "--ignore-label", "0"], 2, &["the background"]);
    f.refused(
        &["evaluate", "pred", "ref", "--ignore-label", "2", "--labels", "2"],
        2,
        &["also one of --labels"],
    );
    // A dataset.json that cannot be used is named, not passed over.
    std::fs::write(f.path("ref/dataset.json"), "{").unwrap();
    let done = f.ok(&["evaluate", "pred", "ref", "--no-surface"]);
    assert!(done.stderr.contains("regions and ignore label are unknown"), "{}", done.all());
    f.refused(&["evaluate", "pred", "ref", "--dataset", "ref"], 1, &["not a JSON object"]);
}

#[test]
fn faulty_labels_are_named_once_and_do_no_harm() {
    let f = Folder::new();
    let value = |d: usize, _: usize| {
        if d < 4 {
            2
        } else if d < 7 {
            1
        } else {
            0
        }
    };
    let cases = [
        (r#""labels":{"background":0,"whole":[1,2],"core":2}"#, "regions_class_order"),
        (
            r#""labels":{"background":0,"whole":[1,2],"core":2},"regions_class_order":[1]"#,
            "'whole', 'core'",
        ),
        (r#""labels":{"rim":1,"core":2}"#, "\"background\": 0"),
        (r#""labels":{"background":0,"rim":1,"core":2,"unknown":-1}"#, "\"ignore\": 3"),
        (r#""labels":{"background":0,"rim":1,"core":"two"}"#, "'two'"),
    ];
    for (labels, words) in cases {
        write_dataset(&f.path("data"), labels, value);
        let done = f.run(&["check", "data"]);
        assert_eq!(done.code, 1, "{}", done.all());
        let errors: Vec<&str> = done.stdout.lines().filter(|l| l.starts_with("error ")).collect();
        assert_eq!(errors.len(), 1, "{labels}: {}", done.all());
        assert!(errors[0].contains(words), "{words}: {}", done.all());
        assert!(!done.stdout.contains("into background"), "{}", done.all());
        f.refused(&["train", "data", "--out", "run"], 1, &[words]);
        assert!(!f.path("run").exists());
    }
    // Numbers as text are numbers.
    write_dataset(&f.path("data"), r#""labels":{"background":"0","rim":"1","core":"2"}"#, value);
    let done = f.ok(&["check", "data"]);
    assert!(done.stdout.contains(r#"{"background": 0, "rim": 1, "core": 2}"#), "{}", done.all());
    // Values that are not declared keep the regions as they are.
    write_dataset(&f.path("data"), REGIONS, |d, _| if d < 4 { 7 } else { 1 });
    let done = f.run(&["check", "data"]);
    assert_eq!(done.code, 1, "{}", done.all());
    assert!(done.stdout.contains(r#"add "label_7": 7 to 'labels'"#), "{}", done.all());
}
