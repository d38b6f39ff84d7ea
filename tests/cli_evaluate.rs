//! `evaluate`, `compare` and `cross-validate` of the real binary.

mod common_cli;

use asng_wgpu::data::nifti::{Header, write_image, write_labels};
use asng_wgpu::data::split::Fold;
use asng_wgpu::metrics::Summary;
use asng_wgpu::run::{RunConfig, fold_folder};
use common_cli::{Folder, run_folder};
use std::path::Path;

const SHAPE: [usize; 3] = [6, 8, 10];
const SPACING: [f64; 3] = [2.0, 1.0, 0.5];

/// A box of label 1 from `first` with the edges `size`, and one voxel of label 2 at `second`.
fn volume(first: [usize; 3], size: [usize; 3], second: Option<[usize; 3]>) -> Vec<u16> {
    let mut map = vec![0; SHAPE.iter().product()];
    let at = |[z, y, x]: [usize; 3]| (z * SHAPE[1] + y) * SHAPE[2] + x;
    for z in 0..size[0] {
        for y in 0..size[1] {
            for x in 0..size[2] {
                map[at([first[0] + z, first[1] + y, first[2] + x])] = 1;
            }
        }
    }
    second.into_iter().for_each(|place| map[at(place)] = 2);
    map
}

fn write(path: &Path, labels: &[u16]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    write_labels(path, labels, SHAPE, &Header::plain(SHAPE, SPACING)).unwrap();
}

/// References `ref/cN.nii.gz` and predictions in `folder`, each box moved along z by `shift(N)`.
fn write_cases(f: &Folder, folder: &str, cases: usize, shift: impl Fn(usize) -> usize) {
    for i in 0..cases {
        let reference = volume([1, 2, 3], [2, 3, 4], Some([5, 7, 9]));
        write(&f.path(&format!("ref/c{i}.nii.gz")), &reference);
        let prediction = volume([1 + shift(i), 2, 3], [2, 3, 4], Some([5, 7, 9]));
        write(&f.path(&format!("{folder}/c{i}.nii.gz")), &prediction);
    }
}

fn summary(f: &Folder, path: &str) -> Summary {
    Summary::from_json(&String::from_utf8(f.bytes(path)).unwrap()).unwrap()
}

fn value(summary: &Summary, case: usize, label: &str, name: &str) -> f64 {
    summary.metric_per_case[case].metrics[label][name].value()
}

#[test]
fn surfaces_are_measured_in_millimetres_and_can_be_left_out() {
    let f = Folder::new();
    write_cases(&f, "pred", 2, |i| i);
    // The second label is missing in one prediction: Dice and NSD 0, no distance.
    write(&f.path("pred/c1.nii.gz"), &volume([2, 2, 3], [2, 3, 4], None));
    let done = f.ok(&["evaluate", "pred", "ref", "--cases"]);
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 100), "{}", done.all());
    assert!(
        done.stdout.contains("label     Dice     IoU  HD95  ASSD     NSD  cases"),
        "{}",
        done.all()
    );
    assert!(done.stderr.contains("1 time only the prediction or only"), "{}", done.all());
    let s = summary(&f, "pred/summary.json");
    let text = String::from_utf8(f.bytes("pred/summary.json")).unwrap();
    assert_eq!(text, s.to_json());
    let keys: Vec<&str> = s.foreground_mean.keys().map(String::as_str).collect();
    let all =
        ["ASSD", "Dice", "FN", "FP", "HD", "HD95", "IoU", "NSD", "TN", "TP", "n_pred", "n_ref"];
    assert_eq!(keys, all);
    assert_eq!(value(&s, 0, "1", "HD"), 0.0);
    assert_eq!(value(&s, 0, "1", "NSD"), 1.0);
    // A step of one slice is 2 mm; the boxes share a slice, whose voxels are all surface.
    assert_eq!(value(&s, 1, "1", "HD"), 2.0);
    assert_eq!(value(&s, 1, "1", "HD95"), 2.0);
    assert_eq!(value(&s, 1, "1", "ASSD"), 1.0);
    assert_eq!(value(&s, 1, "1", "NSD"), 0.5);
    assert_eq!(value(&s, 1, "2", "Dice"), 0.0);
    assert_eq!(value(&s, 1, "2", "NSD"), 0.0);
    assert!(value(&s, 1, "2", "HD95").is_nan());
    assert_eq!(s.mean["2"]["HD95"].value(), 0.0);
    assert_eq!(s.mean["2"]["NSD"].value(), 0.5);

    f.ok(&["evaluate", "pred", "ref", "--nsd-tolerance", "2", "-o", "wide.json"]);
    assert_eq!(value(&summary(&f, "wide.json"), 1, "1", "NSD"), 1.0);
    // Without surfaces: nnU-Net's own keys, and the same numbers.
    let done = f.ok(&["evaluate", "pred", "ref", "--no-surface", "-o", "plain.json"]);
    assert!(!done.stdout.contains("HD95"), "{}", done.all());
    let plain = summary(&f, "plain.json");
    assert_eq!(plain.foreground_mean.len(), 8);
    for (name, number) in &plain.foreground_mean {
        assert_eq!(s.foreground_mean[name], *number, "{name}");
    }
    let bad: [(&[&str], &str); 3] = [
        (&["--nsd-tolerance", "-1"], "--nsd-tolerance"),
        (&["--nsd-tolerance", "nan"], "--nsd-tolerance"),
        (&["--nsd-tolerance", "1", "--no-surface"], "--no-surface"),
    ];
    for (flags, word) in bad {
        f.refused(&[&["evaluate", "pred", "ref"], flags].concat(), 2, &[word]);
    }
}

#[test]
fn a_label_that_some_cases_lack_is_nan_there() {
    let f = Folder::new();
    write_cases(&f, "pred", 2, |_| 0);
    for folder in ["pred", "ref"] {
        write(&f.path(&format!("{folder}/c0.nii.gz")), &volume([0; 3], [1; 3], None));
    }
    f.ok(&["evaluate", "pred", "ref"]);
    let s = summary(&f, "pred/summary.json");
    let metrics = &s.metric_per_case[0].metrics["2"];
    for name in ["Dice", "IoU", "HD", "HD95", "ASSD", "NSD"] {
        assert!(metrics[name].value().is_nan(), "{name}");
    }
    assert_eq!(metrics["TN"].value(), 480.0);
    assert_eq!(s.mean["2"]["Dice"].value(), 1.0);
    // Another list of labels is measured alone.
    f.ok(&["evaluate", "pred", "ref", "-l", "2,2"]);
    let s = summary(&f, "pred/summary.json");
    assert_eq!(s.mean.keys().collect::<Vec<_>>(), ["2"]);
}

#[test]
fn every_bad_pair_is_named_and_nothing_is_written() {
    let f = Folder::new();
    write_cases(&f, "pred", 5, |_| 0);
    std::fs::write(f.path("pred/c1.nii.gz"), b"nothing").unwrap();
    std::fs::remove_file(f.path("ref/c2.nii.gz")).unwrap();
    let mut header = Header::plain(SHAPE, SPACING);
    header.pixdim[3] = 3.0;
    header.srow[2][2] = 3.0;
    write_labels(&f.path("pred/c4.nii.gz"), &volume([0; 3], [1; 3], None), SHAPE, &header).unwrap();
    let words =
        ["3 of 5 pairs", "c1.nii.gz", "c2.nii.gz' has no reference", "c4.nii.gz", "spacing"];
    f.refused(&["evaluate", "pred", "ref"], 1, &words);
    assert!(!f.path("pred/summary.json").exists());
}

#[test]
fn header_and_image_files_are_one_volume() {
    let f = Folder::new();
    write_cases(&f, "pred", 1, |_| 0);
    write(&f.path("pred/c0.nii"), &volume([1, 2, 3], [2, 3, 4], Some([5, 7, 9])));
    std::fs::remove_file(f.path("pred/c0.nii.gz")).unwrap();
    // A pair's header says that its voxels begin at 0 of the other file.
    let bytes = f.bytes("pred/c0.nii");
    let mut head = bytes[..348].to_vec();
    head[108..112].copy_from_slice(&0f32.to_le_bytes());
    head[344..348].copy_from_slice(b"ni1\0");
    std::fs::write(f.path("pred/c0.hdr"), head).unwrap();
    std::fs::write(f.path("pred/c0.img"), &bytes[352..]).unwrap();
    std::fs::remove_file(f.path("pred/c0.nii")).unwrap();
    f.ok(&["evaluate", "pred", "ref"]);
    assert_eq!(summary(&f, "pred/summary.json").foreground_mean["Dice"].value(), 1.0);
    f.ok(&["evaluate", "pred/c0.img", "ref/c0.nii.gz"]);
}

#[test]
fn the_note_on_the_search_survives_a_new_evaluation() {
    let f = Folder::new();
    write_cases(&f, "pred", 1, |_| 0);
    f.ok(&["evaluate", "pred", "ref"]);
    assert!(!summary(&f, "pred/summary.json").validation_used_in_search);
    let noted = Summary { validation_used_in_search: true, ..summary(&f, "pred/summary.json") };
    std::fs::write(f.path("pred/summary.json"), noted.to_json()).unwrap();
    let done = f.ok(&["evaluate", "pred", "ref"]);
    assert!(done.stderr.contains("optimistic"), "{}", done.all());
    assert!(summary(&f, "pred/summary.json").validation_used_in_search);
}

#[test]
fn runs_are_compared_case_by_case() {
    let f = Folder::new();
    write_cases(&f, "a", 6, |i| i % 2);
    write_cases(&f, "b", 5, |_| 0);
    for folder in ["a", "b"] {
        f.ok(&["evaluate", folder, "ref", "--partial"]);
    }
    let done = f.ok(&["compare", "a", "b/summary.json"]);
    let words = "'b/summary.json' was evaluated with --partial, without 1 case: c5";
    assert!(done.stderr.contains(words), "{}", done.all());
    assert!(done.stderr.contains("1 case is not in 'b/summary.json'"), "{}", done.all());
    assert!(done.stderr.contains("left out: c5"), "{}", done.all());
    assert!(done.stdout.contains("b/summary.json against a, 5 cases"), "{}", done.all());
    assert!(done.stdout.lines().all(|line| line.chars().count() <= 100), "{}", done.all());
    let json = f.ok(&["compare", "a", "b", "--json", "-o", "out.json", "--seed", "3"]).stdout;
    assert_eq!(json.as_bytes(), f.bytes("out.json"));
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["cases"].as_array().unwrap().len(), 5);
    assert_eq!(report["left_out"]["c5"]["not_in"][0], "b");
    let rows = report["comparisons"].as_array().unwrap();
    // Three measures of two labels and their mean.
    assert_eq!(rows.len(), 9);
    let dice = &rows[0];
    assert_eq!((&dice["metric"], &dice["label"]), (&"Dice".into(), &"1".into()));
    // Two of five cases are half a box off: Dice 0.5.
    assert!((dice["baseline"].as_f64().unwrap() - 0.8).abs() < 1e-12);
    assert!((dice["difference"].as_f64().unwrap() - 0.2).abs() < 1e-12);
    let [low, high] = [0, 1].map(|i| dice["interval"][i].as_f64().unwrap());
    assert!((0.0..0.2).contains(&low) && (0.2..=0.5).contains(&high), "{dice}");
    // Two differences of one sign: 2 / 4.
    assert_eq!(dice["p"].as_f64(), Some(0.5));
    let hd = rows.iter().find(|r| r["metric"] == "HD95" && r["label"] == "mean").unwrap();
    assert!((hd["difference"].as_f64().unwrap() + 0.4).abs() < 1e-12, "{hd}");
    assert_eq!(json, f.ok(&["compare", "a", "b", "--json", "--seed", "3"]).stdout);

    // Two seeds of a setting count by their mean: half the difference.
    let done = f.ok(&["compare", "a", "both=a,b", "--json", "--metric", "Dice"]);
    let report: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    let row = &report["comparisons"][0];
    assert_eq!((&row["run"], &row["label"]), (&"both".into(), &"1".into()));
    assert!((row["difference"].as_f64().unwrap() - 0.1).abs() < 1e-12, "{row}");
    f.refused(&["compare", "a", "a,nowhere"], 1, &["'nowhere'"]);

    let one = f.ok(&["compare", "a", "b", "--metric", "ASSD"]);
    assert!(one.stdout.contains("ASSD") && !one.stdout.contains("Dice"), "{}", one.all());
    let noted = Summary { validation_used_in_search: true, ..summary(&f, "b/summary.json") };
    std::fs::write(f.path("b/summary.json"), noted.to_json()).unwrap();
    assert!(f.ok(&["compare", "a", "b"]).stderr.contains("the search of 'b'"));
    // An older summary has no surfaces.
    f.ok(&["evaluate", "b", "ref", "--no-surface", "--partial"]);
    let done = f.ok(&["compare", "a", "b"]);
    assert!(done.stderr.contains("'b' has no HD95"), "{}", done.all());
    f.refused(&["compare", "a", "b", "--metric", "NSD"], 1, &["'b'", "'NSD'", "Dice"]);
    f.refused(&["compare", "a"], 2, &["RUN"]);
    f.refused(&["compare", "a", "ref"], 1, &["'ref'", "summary.json"]);
    f.refused(&["compare", "a", "nowhere"], 1, &["nowhere"]);
    std::fs::write(f.path("broken.json"), "{").unwrap();
    f.refused(&["compare", "a", "broken.json"], 1, &["broken.json"]);
    std::fs::rename(f.path("b/c0.nii.gz"), f.path("b/d0.nii.gz")).unwrap();
    for i in 1..5 {
        std::fs::remove_file(f.path(&format!("b/c{i}.nii.gz"))).unwrap();
    }
    std::fs::copy(f.path("ref/c0.nii.gz"), f.path("ref/d0.nii.gz")).unwrap();
    f.ok(&["evaluate", "b", "ref", "--partial"]);
    f.refused(&["compare", "a", "b"], 1, &["no case is in all"]);
}

#[test]
fn the_folds_of_a_run_come_together() {
    let f = Folder::new();
    let data = f.demo("heart", 2);
    let run = run_folder(&f.path("run"), &data, &[0, 1], [16; 3]);
    let mut config = RunConfig::read(run.as_ref()).unwrap();
    let fold = |val: &[&str]| Fold {
        train: Vec::new(),
        val: val.iter().map(|name| name.to_string()).collect(),
    };
    config.split = vec![fold(&["c0", "c3"]), fold(&["c1"]), fold(&["c2"])];
    config.write(run.as_ref()).unwrap();
    f.refused(&["cross-validate", "run"], 1, &["no fold", "fold 0 is trained but not validated"]);
    // Fold 0 was predicted with a case that is not its own.
    write_cases(&f, "all", 4, |i| i % 2);
    let validated = |number: usize, cases: &[&str]| {
        let folder = fold_folder(run.as_ref(), number).join("validation");
        std::fs::create_dir_all(&folder).unwrap();
        for case in cases {
            let name = format!("{case}.nii.gz");
            std::fs::copy(f.path("all").join(&name), folder.join(&name)).unwrap();
        }
        f.ok(&["evaluate", &folder.display().to_string(), "ref", "--partial"]);
    };
    validated(0, &["c0", "c1", "c3"]);
    validated(1, &["c1"]);
    let done = f.ok(&["cross-validate", "run"]);
    let train = format!("asng-wgpu train {} --out run --fold 2", data.display());
    assert!(done.stderr.contains(&train), "{}", done.all());
    assert!(done.stdout.contains("\nsd"), "{}", done.all());
    let s = summary(&f, "run/cross_validation/summary.json");
    let files: Vec<&str> = s
        .metric_per_case
        .iter()
        .map(|c| Path::new(&c.prediction_file).file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(files, ["c0.nii.gz", "c1.nii.gz", "c3.nii.gz"]);
    assert!(s.metric_per_case[1].prediction_file.contains("fold_1"));
    assert_eq!(s.mean["1"]["Dice"].value(), (1.0 + 0.5 + 0.5) / 3.0);
    let json = f.ok(&["cross-validate", "run", "--json"]).stdout;
    assert_eq!(json.trim_end(), s.to_json());
    // A run is compared by all its folds.
    f.ok(&["evaluate", "all", "ref"]);
    let done = f.ok(&["compare", "run", "all"]);
    assert!(done.stderr.contains("1 case is not in 'run'"), "{}", done.all());
}

#[test]
fn folds_that_lack_cases_are_warned_about_and_doubles_refused() {
    let f = Folder::new();
    let data = f.demo("heart", 2);
    let run = run_folder(&f.path("run"), &data, &[], [16; 3]);
    f.refused(&["cross-validate", "run"], 1, &["config.json", "no folds with validation cases"]);
    f.refused(&["cross-validate", "data"], 1, &["data", "config.json"]);
    let mut config = RunConfig::read(run.as_ref()).unwrap();
    let fold = |val: [&str; 2]| Fold { train: Vec::new(), val: val.map(String::from).to_vec() };
    config.split = vec![fold(["c0", "c1"]), fold(["c1", "c2"])];
    config.write(run.as_ref()).unwrap();
    write_cases(&f, "run/fold_0/validation", 1, |_| 0);
    f.ok(&["evaluate", "run/fold_0/validation", "ref", "--partial"]);
    let done = f.ok(&["cross-validate", "run"]);
    assert!(done.stderr.contains("fold 0 lacks 1 of its cases: c1"), "{}", done.all());
    for number in 0..2 {
        let folder = format!("run/fold_{number}/validation");
        write_cases(&f, &folder, 2, |_| 0);
        f.ok(&["evaluate", &folder, "ref"]);
    }
    f.refused(&["cross-validate", "run"], 1, &["'c1' is validated twice", "fold 0"]);
}

#[test]
fn grids_may_differ_by_round_off() {
    let f = Folder::new();
    write_cases(&f, "pred", 1, |_| 0);
    // Turned by 0.3 rad, 5 mm away; the prediction's header is `change` of that.
    let pair = |change: &dyn Fn(&mut Header)| {
        let mut header = Header::plain(SHAPE, SPACING);
        let (s, c) = 0.3f64.sin_cos();
        (header.srow[0], header.srow[1]) = ([0.5 * c, -s, 0.0, 5.0], [0.5 * s, c, 0.0, 5.0]);
        let labels = volume([1, 2, 3], [2, 3, 4], None);
        write_labels(&f.path("ref/c0.nii.gz"), &labels, SHAPE, &header).unwrap();
        change(&mut header);
        write_labels(&f.path("pred/c0.nii.gz"), &labels, SHAPE, &header).unwrap();
        f.run(&["evaluate", "pred", "ref"])
    };
    let rounded = |scale: f64| {
        move |h: &mut Header| {
            for row in &mut h.srow {
                for (value, edge) in row.iter_mut().zip([0.5, 1.0, 2.0]) {
                    *value = (*value / edge * scale).round() / scale * edge;
                }
            }
        }
    };
    for done in [
        pair(&|h| h.srow[2][3] += 0.02),
        pair(&|h| h.srow[0][3] -= 0.005),
        pair(&rounded(100.0)),
        pair(&rounded(1000.0)),
        pair(&|h| (h.pixdim[1], h.srow[0][0]) = (0.50001, h.srow[0][0] * 1.00002)),
    ] {
        assert!(done.code == 0 && !done.stderr.contains("warning"), "{}", done.all());
    }
    let done = pair(&|h| h.srow[2][3] += 0.6);
    let words = "do not lie exactly on one grid (origin [5, 5, 0.6] mm against [5, 5, 0] mm";
    assert!(done.code == 0 && done.stderr.contains(words), "{}", done.all());
    assert!(done.stderr.contains("0.30 voxels apart"), "{}", done.all());
    for done in [pair(&|h| h.srow[2][3] += 1.2), pair(&|h| h.srow[0][0] *= -1.0)] {
        assert!(done.code == 1 && done.stderr.contains("not on the same grid"), "{}", done.all());
    }
}

#[test]
fn of_many_bad_pairs_ten_are_named() {
    let f = Folder::new();
    write_cases(&f, "pred", 14, |_| 0);
    for i in 0..14 {
        std::fs::write(f.path(&format!("pred/c{i}.nii.gz")), "nothing").unwrap();
    }
    let done = f.run(&["evaluate", "pred", "ref"]);
    assert_eq!(done.code, 1, "{}", done.all());
    assert_eq!(
        done.stderr.lines().filter(|l| l.contains(".nii.gz'")).count(),
        10,
        "{}",
        done.all()
    );
    assert!(done.stderr.contains("14 of 14 pairs") && done.stderr.contains("and 4 more"));
}

#[test]
fn references_without_prediction_are_named_and_no_summary_looks_complete() {
    let f = Folder::new();
    write_cases(&f, "pred", 14, |_| 0);
    for i in 2..14 {
        std::fs::remove_file(f.path(&format!("pred/c{i}.nii.gz"))).unwrap();
    }
    let done = f.run(&["evaluate", "pred", "ref"]);
    assert_eq!(done.code, 1, "{}", done.all());
    for words in ["12 references of 14 have no prediction", "c10, c11", "and 2 more", "--partial"] {
        assert!(done.stderr.contains(words), "{words:?} in {}", done.all());
    }
    // The table is there, and says over how many cases it is.
    let mean = done.stdout.lines().find(|line| line.starts_with("mean")).unwrap();
    assert!(mean.ends_with("2 of 14"), "{}", done.all());
    assert!(!f.path("pred/summary.json").exists());
    // And a prediction without reference.
    std::fs::copy(f.path("pred/c0.nii.gz"), f.path("pred/d0.nii.gz")).unwrap();
    f.refused(&["evaluate", "pred", "ref"], 1, &["'pred/d0.nii.gz' has no reference"]);
    let done = f.ok(&["evaluate", "pred", "ref", "--partial"]);
    assert!(done.stderr.contains("over 2 of 15 cases"), "{}", done.all());
    let s = summary(&f, "pred/summary.json");
    assert_eq!((s.metric_per_case.len(), s.left_out.len()), (2, 13));
    assert!(s.left_out.contains(&"c13".into()) && s.left_out.contains(&"d0".into()));
    // One file is one case.
    f.ok(&["evaluate", "pred/c0.nii.gz", "ref"]);
    std::fs::remove_file(f.path("pred/c0.nii.gz")).unwrap();
    std::fs::remove_file(f.path("pred/c1.nii.gz")).unwrap();
    f.refused(&["evaluate", "pred", "ref", "--partial"], 1, &["no case has both", "c0, c1"]);
}

#[test]
fn what_is_no_label_map_is_passed_over_by_name() {
    let f = Folder::new();
    write_cases(&f, "pred", 2, |_| 0);
    write_cases(&f, "pred/probabilities", 1, |_| 0);
    let voxels = SHAPE.iter().product::<usize>();
    let header = Header::plain(SHAPE, SPACING);
    for name in ["c0_probabilities.nii.gz", "soft.nii"] {
        write_image(&f.path("pred").join(name), &vec![0.5; 2 * voxels], 2, SHAPE, &header).unwrap();
    }
    let done = f.ok(&["evaluate", "pred", "ref"]);
    let words = "2 files with several channels in 'pred': c0_probabilities.nii.gz, soft.nii";
    assert!(done.stderr.contains(words), "{}", done.all());
    assert!(done.stderr.contains("1 folder in 'pred': probabilities"), "{}", done.all());
    assert_eq!(summary(&f, "pred/summary.json").metric_per_case.len(), 2);
    for i in 0..2 {
        std::fs::remove_file(f.path(&format!("pred/c{i}.nii.gz"))).unwrap();
    }
    f.refused(&["evaluate", "pred", "ref"], 1, &["holds no label map", "soft.nii"]);
}

#[test]
fn exchanged_arguments_are_noticed() {
    let f = Folder::new();
    write_cases(&f, "made", 2, |_| 0);
    std::fs::create_dir(f.path("set")).unwrap();
    std::fs::write(f.path("set/dataset.json"), "{}").unwrap();
    for name in ["labelsTr", "labelsTs", "labels_of_b"] {
        let to = f.path("set").join(name);
        std::fs::create_dir(&to).unwrap();
        for i in 0..2 {
            let case = format!("c{i}.nii.gz");
            std::fs::copy(f.path("ref").join(&case), to.join(&case)).unwrap();
        }
        let folder = format!("set/{name}");
        f.ok(&["evaluate", "made", &folder, "-o", "out.json"]);
        let right = format!("write `asng-wgpu evaluate 'made' '{folder}'`");
        f.refused(&["evaluate", &folder, "made", "-o", "no.json"], 2, &[&right]);
        let (file, other) = (format!("{folder}/c0.nii.gz"), "made/c0.nii.gz");
        f.refused(&["evaluate", &file, other, "-o", "no.json"], 2, &["evaluate 'made/c0.nii.gz'"]);
    }
    assert!(!f.path("no.json").exists());
    // What only looks so is a warning.
    f.ok(&["evaluate", "made", "ref"]);
    let done = f.ok(&["evaluate", "ref", "made", "-o", "out.json"]);
    assert!(done.stderr.contains("`asng-wgpu evaluate 'made' 'ref'`"), "{}", done.all());
    // Probabilities and images are no references.
    let (voxels, header) = (SHAPE.iter().product::<usize>(), Header::plain(SHAPE, SPACING));
    std::fs::create_dir(f.path("soft")).unwrap();
    let soft = f.path("soft/c0.nii.gz");
    write_image(&soft, &vec![0.25; voxels], 1, SHAPE, &header).unwrap();
    f.refused(
        &["evaluate", "made/c0.nii.gz", "soft/c0.nii.gz"],
        1,
        &["0.25", "the predictions come first"],
    );
}

#[test]
fn a_result_that_cannot_be_written_is_printed_first() {
    let f = Folder::new();
    write_cases(&f, "pred", 2, |_| 0);
    f.ok(&["evaluate", "pred", "ref"]);
    // A folder of that name stands for one that cannot be written, which does not stop root.
    std::fs::create_dir(f.path("taken")).unwrap();
    for to in ["taken", "nowhere/summary.json"] {
        let done = f.run(&["evaluate", "pred", "ref", "-o", to]);
        assert!(done.code == 1 && done.stdout.contains("mean    1.0000"), "{}", done.all());
        assert!(done.stderr.contains(&format!("cannot write '{to}'")), "{}", done.all());
        assert!(done.stderr.contains("another file with -o"), "{}", done.all());
        let done = f.run(&["compare", "pred", "pred", "-o", to]);
        assert!(done.code == 1 && done.stdout.contains("2 cases"), "{}", done.all());
        assert!(done.stderr.contains("another file with -o"), "{}", done.all());
    }
}

#[test]
fn compare_says_what_the_runs_were_trained_with() {
    let f = Folder::new();
    let data = f.demo("heart", 2);
    for (run, training) in [
        ("one", serde_json::json!({"epochs": 6, "lr": 0.01, "out": "a", "search": {"every": 4}})),
        ("two", serde_json::json!({"epochs": 4, "lr": 0.01, "out": "b", "search": {"every": 2}})),
    ] {
        let folder = run_folder(&f.path(run), &data, &[], [16; 3]);
        let mut config = RunConfig::read(folder.as_ref()).unwrap();
        config.training = training;
        config.split = vec![Fold { train: Vec::new(), val: vec!["c0".into(), "c1".into()] }];
        config.write(folder.as_ref()).unwrap();
        let validation = format!("{run}/fold_0/validation");
        write_cases(&f, &validation, 2, |_| 0);
        f.ok(&["evaluate", &validation, "ref"]);
    }
    let done = f.ok(&["compare", "one", "two"]);
    let words = "the runs were trained differently: epochs: 6 | 4; every: 4 | 2";
    assert!(done.stderr.lines().any(|line| line == words), "{}", done.all());
    let done = f.ok(&["compare", "one", "again=one"]);
    assert!(!done.stderr.contains("differently"), "{}", done.all());
}

#[test]
fn labels_of_one_side_alone_are_named() {
    let f = Folder::new();
    write_cases(&f, "pred", 2, |_| 0);
    let done = f.ok(&["evaluate", "pred", "ref"]);
    assert!(!done.stderr.contains("warning"), "{}", done.all());
    for i in 0..2 {
        let other: Vec<u16> = volume([1, 2, 3], [2, 3, 4], Some([5, 7, 9]))
            .into_iter()
            .map(|label| if label == 2 { 255 } else { label })
            .collect();
        write(&f.path(&format!("pred/c{i}.nii.gz")), &other);
    }
    let done = f.ok(&["evaluate", "pred", "ref"]);
    assert!(
        done.stderr.contains("warning: label 255 occurs in predictions alone"),
        "{}",
        done.all()
    );
    assert!(done.stderr.contains("warning: label 2 occurs in references alone"), "{}", done.all());
    let done = f.ok(&["evaluate", "pred", "ref", "-l", "1,8,9"]);
    assert!(done.stderr.contains("warning: labels 8, 9 occur in no file"), "{}", done.all());
}
