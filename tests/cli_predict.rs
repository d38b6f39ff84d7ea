//! `predict` and `evaluate` of the real binary.

mod common_cli;

use asng_wgpu::data::nifti::{Header, read_header, read_image, read_labels, write_image};
use asng_wgpu::run::CheckpointKind;
use common_cli::{Folder, run_folder};

/// Sets a header's forms to something no default would give.
fn oblique(mut header: Header) -> Header {
    let (s, c) = 0.3f64.sin_cos();
    let [sx, sy, sz] = [header.pixdim[1], header.pixdim[2], header.pixdim[3]];
    header.srow =
        [[-sx * c, sy * s, 0.0, 12.5], [sx * s, sy * c, 0.0, -30.25], [0.0, 0.0, sz, 7.0]];
    header.quatern = [0.0, (0.15f64).cos(), 0.0];
    header.qoffset = [1.0, 2.0, 3.0];
    (header.qform_code, header.sform_code) = (1, 2);
    header.xyzt_units = 10;
    header
}

#[test]
fn predictions_lie_on_the_grid_of_their_inputs() {
    let f = Folder::new();
    let data = f.demo("brain", 3);
    let run = run_folder(&f.path("run"), &data, &[0, 1], [16, 16, 16]);
    let images = f.path("in");
    std::fs::create_dir(&images).unwrap();
    for name in ["brain_001", "brain_002"] {
        let v = read_image(&data.join(format!("imagesTr/{name}.nii.gz"))).unwrap();
        let header = oblique(v.header);
        let to = images.join(format!("{name}.nii.gz"));
        write_image(&to, &v.data, v.channels, v.shape, &header).unwrap();
    }
    let out = f.path("out");
    let done = f.ok(&["predict", "-m", &run, "-i", "in", "-o", "out", "--step", "1", "--no-tta"]);
    assert!(done.stderr.contains("[2/2] brain_002: "), "{}", done.all());
    assert!(done.stderr.contains("folds 0, 1 on "), "{}", done.all());
    for name in ["brain_001", "brain_002"] {
        let input = read_header(&images.join(format!("{name}.nii.gz"))).unwrap();
        let made = read_header(&out.join(format!("{name}.nii.gz"))).unwrap();
        let same = Header { channels: 1, datatype: made.datatype, ..input };
        assert_eq!(made, same);
        assert_eq!(made.datatype.code(), 2);
    }
    // One fold, one file, the same twice; fold 1 alone gives something else.
    for (to, fold) in [("a.nii.gz", "0"), ("b.nii.gz", "0"), ("c.nii.gz", "1")] {
        f.ok(&[
            "--quiet",
            "predict",
            "-m",
            &run,
            "-i",
            "in/brain_001.nii.gz",
            "-o",
            to,
            "--fold",
            fold,
            "--step",
            "1",
            "--no-tta",
        ]);
    }
    assert_eq!(f.bytes("a.nii.gz"), f.bytes("b.nii.gz"));
    assert_ne!(f.bytes("a.nii.gz"), f.bytes("c.nii.gz"));
    // What was cropped away is background.
    let labels = read_labels(&f.path("a.nii.gz")).unwrap();
    assert_eq!(labels.labels[0], 0);
    assert!(labels.labels.iter().any(|&l| l > 0));
}

#[test]
fn one_broken_file_does_not_stop_the_others() {
    let f = Folder::new();
    let data = f.demo("heart", 3);
    let run = run_folder(&f.path("run"), &data, &[0], [16, 16, 16]);
    let images = data.join("imagesTr");
    let broken = images.join("heart_002.nii.gz");
    let bytes = std::fs::read(&broken).unwrap();
    std::fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    let done = f.run(&[
        "predict",
        "-m",
        &run,
        "-i",
        "data/imagesTr",
        "-o",
        "out",
        "--no-tta",
        "--step",
        "1",
    ]);
    assert_eq!(done.code, 1, "{}", done.all());
    assert!(done.stderr.contains("[2/3] heart_002: "), "{}", done.all());
    assert!(done.stderr.contains("heart_002.nii.gz' is "), "{}", done.all());
    assert!(done.stderr.contains("1 of 3 cases failed"), "{}", done.all());
    assert_eq!(f.list("out"), ["heart_001.nii.gz", "heart_003.nii.gz"]);
    f.ok(&["evaluate", "out", "data/labelsTr", "--partial"]);
}

#[test]
fn wrong_input_is_one_sentence_and_an_exit_code() {
    let f = Folder::new();
    let data = f.demo("heart", 2);
    let run = run_folder(&f.path("run"), &data, &[0], [16, 16, 16]);
    f.demo_as("brain", 2, "brain");
    std::fs::create_dir(f.path("empty")).unwrap();
    let case = "data/imagesTr/heart_001.nii.gz";
    let bad: [(&[&str], i32, &[&str]); 13] = [
        (&["-m", "nowhere", "-i", case, "-o", "o"], 1, &["nowhere", "no run"]),
        (&["-m", "data", "-i", case, "-o", "o"], 1, &["data", "config.json"]),
        (&["-m", &run, "-i", "nothing", "-o", "o"], 1, &["nothing"]),
        (&["-m", &run, "-i", "empty", "-o", "o"], 1, &["empty", ".nii"]),
        (&["-m", &run, "-i", case, "-o", "o", "--fold", "4"], 1, &["fold_4", "--fold 0"]),
        (&["-m", &run, "-i", case, "-o", "o", "--fold", "x"], 2, &["--fold"]),
        (
            &["-m", &run, "-i", case, "-o", "o", "--checkpoint", "best"],
            1,
            &["best", "--checkpoint"],
        ),
        (&["-m", &run, "-i", case, "-o", "o", "--step", "0"], 2, &["--step 0"]),
        (&["-m", &run, "-i", case, "-o", "o", "--step", "nan"], 2, &["--step"]),
        (&["-m", &run, "-i", case, "-o", "o", "--device", "no such"], 1, &["--device"]),
        (&["-m", &run, "-i", "data/imagesTr", "-o", "x.nii.gz"], 2, &["x.nii.gz", "folder"]),
        (&["-m", &run, "-i", "data/imagesTr", "-o", "data/imagesTr"], 2, &["overwrite"]),
        (&["-m", &run, "-i", "brain/imagesTr", "-o", "o"], 1, &["4 channel", "brain_001"]),
    ];
    for (arguments, code, words) in bad {
        let arguments = [&["predict"], arguments].concat();
        f.refused(&arguments, code, words);
    }
    let checkpoint = asng_wgpu::run::checkpoint_path(run.as_ref(), 0, CheckpointKind::Final);
    std::fs::write(&checkpoint, b"nothing").unwrap();
    f.refused(&["predict", "-m", &run, "-i", case, "-o", "o"], 1, &["checkpoint_final"]);
    let config = f.path("run/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replacen("\"version\": 1", "\"version\": 99", 1)).unwrap();
    f.refused(&["predict", "-m", &run, "-i", case, "-o", "o"], 1, &["config.json", "99"]);
}

#[test]
fn evaluation_pairs_by_name_and_refuses_other_grids() {
    let f = Folder::new();
    f.demo("brain", 2);
    std::fs::create_dir(f.path("pred")).unwrap();
    let read = read_labels(&f.path("data/labelsTr/brain_001.nii.gz")).unwrap();
    let nifti = |to: &str, labels: &[u16], header: &Header| {
        asng_wgpu::data::nifti::write_labels(&f.path(to), labels, read.shape, header).unwrap();
    };
    // Another ending than the reference's, and files that are no predictions.
    nifti("pred/brain_001.nii", &read.labels, &read.header);
    for other in ["summary.json", ".hidden.nii.gz", "notes.txt"] {
        std::fs::write(f.path("pred").join(other), "{}").unwrap();
    }
    let done = f.ok(&["evaluate", "pred", "data/labelsTr", "--cases", "--partial"]);
    assert!(done.stdout.contains("brain_001"), "{}", done.all());
    assert!(done.stdout.contains("mean    1.0000  1.0000"), "{}", done.all());
    // A label that neither has: no Dice, and no mean.
    let done = f.ok(&["evaluate", "pred", "data/labelsTr", "-l", "1,9", "--partial"]);
    assert!(done.stdout.contains("\n9            -       -"), "{}", done.all());
    let done =
        f.ok(&["evaluate", "pred/brain_001.nii", "data/labelsTr/brain_001.nii.gz", "--json"]);
    assert!(done.stdout.starts_with("{\n    \"foreground_mean\""), "{}", done.all());
    let mut moved = read.header.clone();
    moved.srow[0][3] += 5.0;
    nifti("pred/brain_001.nii", &read.labels, &moved);
    f.refused(&["evaluate", "pred", "data/labelsTr"], 1, &["brain_001", "origin"]);
    nifti("pred/brain_009.nii.gz", &read.labels, &read.header);
    f.refused(&["evaluate", "pred", "data/labelsTr"], 1, &["brain_009"]);
    f.refused(&["evaluate", "pred", "data/labelsTr", "-l", "x"], 2, &["--labels"]);
    f.refused(&["evaluate", "pred", "nowhere"], 1, &["nowhere"]);
    f.refused(&["evaluate", "data", "data/labelsTr"], 1, &["data"]);
}

#[test]
fn scans_that_hold_nothing_fail_alone() {
    let f = Folder::new();
    let data = f.demo("prostate", 4);
    let run = run_folder(&f.path("run"), &data, &[0], [8, 16, 16]);
    let image = |i: usize| data.join(format!("imagesTr/prostate_00{i}.nii.gz"));
    let v = read_image(&image(2)).unwrap();
    let half = v.data.len() / 2;
    let write = |i: usize, values: &[f32]| {
        write_image(&image(i), values, v.channels, v.shape, &v.header).unwrap();
    };
    // One constant channel, then both.
    let mut values = v.data.clone();
    values[half..].fill(0.0);
    write(2, &values);
    values[..half].fill(5.0);
    write(3, &values);
    (values[3], values[4]) = (f32::INFINITY, 1.0);
    write(4, &values);
    let done = f.run(&[
        "predict",
        "-m",
        &run,
        "-i",
        "data/imagesTr",
        "-o",
        "out",
        "--no-tta",
        "--step",
        "1",
    ]);
    assert_eq!(done.code, 1, "{}", done.all());
    for words in [
        "warning: 'data/imagesTr/prostate_002.nii.gz' has the value 0 everywhere in channel 1",
        "[3/4] prostate_003: 'data/imagesTr/prostate_003.nii.gz' holds nothing: its 2 channels",
        "[4/4] prostate_004: 'data/imagesTr/prostate_004.nii.gz' has the value inf at voxel (x 3",
        "2 of 4 cases failed",
    ] {
        assert!(done.stderr.contains(words), "{words:?} in {}", done.all());
    }
    assert_eq!(f.list("out"), ["prostate_001.nii.gz", "prostate_002.nii.gz"]);
}

#[test]
fn where_all_scans_fail_nothing_is_left() {
    let f = Folder::new();
    let data = f.demo("heart", 2);
    let run = run_folder(&f.path("run"), &data, &[0], [16, 16, 16]);
    for i in 1..3 {
        std::fs::write(data.join(format!("imagesTr/heart_00{i}.nii.gz")), "nothing").unwrap();
    }
    let predict = ["predict", "-m", &run, "-i", "data/imagesTr", "-o", "new/out", "--no-tta"];
    f.refused(&predict, 1, &["all 2 cases failed, for the reasons above; nothing is written"]);
    assert!(!f.path("new").exists());
    // A folder that was there stays.
    std::fs::create_dir_all(f.path("new/out")).unwrap();
    let done = f.run(&predict);
    assert!(done.code == 1 && !done.stderr.contains("the others"), "{}", done.all());
    assert!(f.path("new/out").exists());
    let one = ["predict", "-m", &run, "-i", "data/imagesTr/heart_001.nii.gz", "-o", "a/b.nii.gz"];
    f.refused(&one, 1, &["'heart_001' could not be predicted"]);
    assert!(!f.path("a").exists());
}

#[test]
fn probabilities_have_a_folder_of_their_own() {
    let f = Folder::new();
    let data = f.demo("heart", 2);
    let run = run_folder(&f.path("run"), &data, &[0], [16, 16, 16]);
    let window = ["--no-tta", "--step", "1"];
    let predict = ["predict", "-m", &run, "-i", "data/imagesTr", "-o", "out"];
    let save =
        |more: &[&str]| f.ok(&[&predict[..], &window, &["--save-probabilities"], more].concat());
    save(&[]);
    assert_eq!(f.list("out"), ["heart_001.nii.gz", "heart_002.nii.gz", "probabilities"]);
    assert_eq!(f.list("out/probabilities"), ["heart_001.nii.gz", "heart_002.nii.gz"]);
    let soft = read_image(&f.path("out/probabilities/heart_001.nii.gz")).unwrap();
    assert_eq!(soft.channels, 2);
    let done = f.ok(&["evaluate", "out", "data/labelsTr"]);
    assert!(done.stderr.contains("1 folder in 'out': probabilities"), "{}", done.all());
    save(&["npz"]);
    let names = ["heart_001.nii.gz", "heart_001.npz", "heart_001.pkl"];
    assert_eq!(f.list("out/probabilities")[..3], names);
    let bytes = f.bytes("out/probabilities/heart_001.npz");
    assert_eq!((&bytes[..4], &bytes[30..47]), (&b"PK\x03\x04"[..], &b"probabilities.npy"[..]));
    // What is there counts only in the format that is wanted.
    std::fs::remove_file(f.path("out/probabilities/heart_002.npz")).unwrap();
    let done = save(&["npz", "--continue"]);
    assert_eq!(done.stderr.matches("is there already").count(), 1, "{}", done.all());
    assert!(!done.stderr.contains("older than the network"), "{}", done.all());
    // A network that is newer than what is kept.
    let checkpoint = asng_wgpu::run::checkpoint_path(run.as_ref(), 0, CheckpointKind::Final);
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    std::fs::File::options().append(true).open(checkpoint).unwrap().set_modified(later).unwrap();
    let done = save(&["npz", "--continue"]);
    let words = "2 label maps are older than the network and kept because of --continue";
    assert!(done.stderr.contains(words), "{}", done.all());
    let bad = [&predict[..], &["--save-probabilities", "nrrd"]].concat();
    f.refused(&bad, 2, &["nrrd", "npz"]);
}

#[test]
fn scans_stored_in_another_orientation_are_named() {
    let f = Folder::new();
    let data = f.demo("heart", 14);
    let run = run_folder(&f.path("run"), &data, &[0], [16, 16, 16]);
    std::fs::create_dir(f.path("in")).unwrap();
    let v = read_image(&data.join("imagesTr/heart_001.nii.gz")).unwrap();
    let write = |name: &str, header: &Header| {
        write_image(&f.path("in").join(name), &v.data, 1, v.shape, header).unwrap();
    };
    write("same.nii.gz", &v.header);
    let mut las = v.header.clone();
    (las.srow[0][0], las.qform_code) = (-las.srow[0][0], 0);
    write("other.nii.gz", &las);
    let window = ["--no-tta", "--step", "1"];
    let predict = ["predict", "-m", &run, "-i", "in", "-o", "out"];
    let done = f.ok(&[&predict[..], &window].concat());
    let words = "warning: 'other' is stored as LAS, but the training scans are RAS";
    assert!(done.stderr.contains(words), "{}", done.all());
    assert!(done.stderr.matches("is stored as").count() == 1, "{}", done.all());
    assert!(done.stderr.contains("--reorient ras"), "{}", done.all());
    // From the eleventh on they are counted.
    for i in 0..12 {
        write(&format!("more_{i:02}.nii.gz"), &las);
    }
    let done = f.ok(&[&predict[..], &window, &["--continue"]].concat());
    assert_eq!(done.stderr.matches("is stored as LAS").count(), 10, "{}", done.all());
    assert!(done.stderr.contains("3 more scans are stored in an orientation"), "{}", done.all());
    // A run that turns all scans has nothing to say.
    let config = f.path("run/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(r#""reorient": false"#, r#""reorient": true"#)).unwrap();
    let done = f.ok(&[&predict[..], &window, &["--continue"]].concat());
    assert!(!done.stderr.contains("is stored as"), "{}", done.all());
}
