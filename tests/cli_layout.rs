//! Data sets as people have them, through the real binary: names, endings, leftovers, encodings, and
//! the keys of `dataset.json` that change what is done.

mod common_cli;
#[path = "support/require.rs"]
mod require;

use asng_wgpu::data::nifti::{Header, write_image, write_labels};
use common_cli::{Done, Folder, run_folder};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::path::Path;

/// D, H, W of all cases.
const SHAPE: [usize; 3] = [8, 9, 10];
const VOXELS: usize = 720;

/// A training of a second or two.
const TINY: [&str; 12] = [
    "--patch",
    "8,8,8",
    "--features",
    "4",
    "--levels",
    "2",
    "--epochs",
    "1",
    "--iterations",
    "1",
    "--searcher",
    "none",
];

/// Values of a channel that no other `seed` has, from 1 to 200.
fn values(seed: usize) -> Vec<f32> {
    (0..VOXELS).map(|i| (1 + (i * 31 + seed * 79) % 200) as f32).collect()
}

/// A volume of these channels; its folder is made.
fn image(path: &Path, channels: &[Vec<f32>]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let header = Header::plain(SHAPE, [1.0; 3]);
    write_image(path, &channels.concat(), channels.len(), SHAPE, &header).unwrap();
}

fn label(path: &Path, seed: usize) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut labels = vec![0u16; VOXELS];
    labels[300 + seed..360 + seed].fill(1);
    write_labels(path, &labels, SHAPE, &Header::plain(SHAPE, [1.0; 3])).unwrap();
}

/// Writes `data/dataset.json`: `more` beside labels and, where it names no channels, one of MRI.
fn dataset_json(f: &Folder, more: Value) {
    let mut root = json!({"labels": {"background": 0, "a": 1}});
    if more.get("channel_names").is_none() && more.get("modality").is_none() {
        root["channel_names"] = json!({"0": "MRI"});
    }
    for (key, value) in more.as_object().unwrap() {
        root[key] = value.clone();
    }
    std::fs::write(f.path("data/dataset.json"), root.to_string()).unwrap();
}

/// Cases in nnU-Net's form with `channels` files each.
fn cases(f: &Folder, names: &[&str], channels: usize, ending: &str) {
    for (seed, name) in names.iter().enumerate() {
        for c in 0..channels {
            let path = f.path(&format!("data/imagesTr/{name}_{c:04}{ending}"));
            image(&path, &[values(10 * seed + c)]);
        }
        label(&f.path(&format!("data/labelsTr/{name}{ending}")), seed);
    }
}

/// A data set of `names` in the Decathlon's form: one file of all channels, listed.
fn decathlon(f: &Folder, names: &[&str], channels: usize) {
    let mut list = Vec::new();
    for (seed, name) in names.iter().enumerate() {
        let all: Vec<Vec<f32>> = (0..channels).map(|c| values(10 * seed + c)).collect();
        image(&f.path(&format!("data/imagesTr/{name}.nii.gz")), &all);
        label(&f.path(&format!("data/labelsTr/{name}.nii.gz")), seed);
        list.push(json!({"image": format!("./imagesTr/{name}.nii.gz"), "label": format!("./labelsTr/{name}.nii.gz")}));
    }
    let modality: serde_json::Map<String, Value> =
        (0..channels).map(|c| (c.to_string(), json!(format!("MRI{c}")))).collect();
    dataset_json(f, json!({"modality": modality, "training": list}));
}

fn checked(f: &Folder, data: &str) -> (Done, Value) {
    let done = f.run(&["check", data, "--json"]);
    let report = serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{}", done.all()));
    (done, report)
}

fn train(f: &Folder, more: &[&str]) -> Done {
    f.run(&[&["train", "data", "--out", "run", "--no-validate"], &TINY[..], more].concat())
}

/// Holds that all words are in what a command said.
fn says(done: &Done, code: i32, words: &[&str]) {
    let text = format!("{}{}", done.stdout, done.stderr);
    assert_eq!(done.code, code, "{}", done.all());
    for word in words {
        assert!(text.contains(word), "{word}\n{}", done.all());
    }
}

/// `check` and `train` refuse the data set with these words.
fn both_refuse(f: &Folder, words: &[&str]) {
    says(&f.run(&["check", "data"]), 1, words);
    says(&train(f, &[]), 1, words);
}

/// The names of the cases that `check` counts.
fn count(report: &Value) -> u64 {
    report["summary"]["cases"].as_u64().unwrap()
}

/// Warnings but that two cases are few for a search.
fn warnings(report: &Value) -> usize {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.filter(|f| f["severity"] == "warning" && f["kind"] != "splits").count()
}

fn messages(report: &Value, severity: &str) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    let of = findings.filter(|f| f["severity"] == severity);
    of.map(|f| format!("{}; {}", f["message"].as_str().unwrap(), f["remedy"].as_str().unwrap()))
        .collect()
}

/// The prepared image of a case in the run's cache.
fn prepared(f: &Folder, case: &str) -> Vec<f32> {
    let cache = f.path("run/cache");
    let names = f.list("run/cache");
    let name = names.iter().find(|n| n.starts_with(&format!("{case}-"))).unwrap();
    let bytes = std::fs::read(cache.join(name)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let image = tensors.tensor("image").unwrap().data().to_vec();
    image.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

#[test]
fn channel_names_choose_the_normalisation() {
    let f = Folder::new();
    cases(&f, &["a", "b"], 5, ".nii.gz");
    let names = ["NoNorm", "rescale_to_0_1", "RGB_to_0_1", "something", "ct"];
    let channels: serde_json::Map<String, Value> =
        names.iter().enumerate().map(|(i, n)| (i.to_string(), json!(n))).collect();
    dataset_json(&f, json!({"channel_names": channels, "file_ending": ".nii.gz"}));
    let (done, report) = checked(&f, "data");
    assert_eq!((done.code, &report["errors"]), (0, &json!(0)), "{}", done.all());
    let kinds = ["no_norm", "rescale_to_0_1", "rgb_to_0_1", "zscore", "ct"];
    for (channel, kind) in report["summary"]["channels"].as_array().unwrap().iter().zip(kinds) {
        assert_eq!(channel["normalisation"], kind);
    }
    let plan =
        f.ok(&[&["plan", "data", "--no-forecast", "--searcher", "none"], &TINY[..6]].concat());
    says(&plan, 0, &["not normalised; rescaled to 0..1; divided by 255; z-score; clipped to"]);
    says(&train(&f, &[]), 0, &[]);
    let config: Value = serde_json::from_slice(&f.bytes("run/config.json")).unwrap();
    assert_eq!(config["preprocessing"]["normalisation"], json!(kinds));
    assert!(config["preprocessing"]["ct"][4]["mean"].as_f64().unwrap() > 0.0);
    let image = prepared(&f, "a");
    let raw: Vec<Vec<f32>> = (0..5).map(values).collect();
    let range = |c: usize| {
        let fold = |f: fn(f32, f32) -> f32| raw[c].iter().copied().reduce(f).unwrap();
        (fold(f32::min), fold(f32::max))
    };
    let (low, high) = range(1);
    let mean = raw[3].iter().map(|&v| f64::from(v)).sum::<f64>() / VOXELS as f64;
    let square = raw[3].iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>();
    let std = (square / VOXELS as f64).sqrt();
    for i in 0..VOXELS {
        let close = |c: usize, want: f64| {
            let got = f64::from(image[c * VOXELS + i]);
            assert!((got - want).abs() < 1e-5, "channel {c}, voxel {i}: {got}, not {want}");
        };
        assert_eq!(image[i], raw[0][i]);
        close(1, f64::from((raw[1][i] - low) / (high - low)));
        close(2, f64::from(raw[2][i]) / 255.0);
        close(3, (f64::from(raw[3][i]) - mean) / std);
    }
    // Prediction does the same.
    let out = f.ok(&["predict", "-m", "run", "-i", "data/imagesTr", "-o", "out", "--no-tta"]);
    says(&out, 0, &["[2/2] b: "]);
    // Values that are no colours are named by file and channel.
    let mut wrong = values(2);
    wrong[5] = 300.0;
    image_at(&f, "data/imagesTr/a_0002.nii.gz", wrong);
    let words = ["a_0002.nii.gz", "rgb_to_0_1", "300"];
    says(&f.run(&["check", "data"]), 1, &words);
    let done = f.run(&["predict", "-m", "run", "-i", "data/imagesTr", "-o", "more", "--no-tta"]);
    says(&done, 1, &["channel 2 of", "a_0002.nii.gz", "rgb_to_0_1", "[2/2] b: "]);
    std::fs::remove_dir_all(f.path("run")).unwrap();
    says(&train(&f, &[]), 1, &["channel 2 of", "a_0002.nii.gz", "rgb_to_0_1"]);
}

fn image_at(f: &Folder, path: &str, channel: Vec<f32>) {
    image(&f.path(path), &[channel]);
}

#[test]
fn a_name_that_is_nearly_one_of_a_normalisation_is_noticed() {
    let f = Folder::new();
    cases(&f, &["a", "b"], 1, ".nii.gz");
    dataset_json(&f, json!({"channel_names": {"0": "no_norm"}}));
    let (done, report) = checked(&f, "data");
    assert_eq!(done.code, 0, "{}", done.all());
    assert!(messages(&report, "warning").concat().contains("'noNorm'"), "{}", done.all());
    says(&train(&f, &[]), 0, &["warning: ", "'no_norm'", "z-scored", "'noNorm'"]);
}

#[test]
fn the_reader_decides_the_orientation_or_is_refused() {
    let f = Folder::new();
    cases(&f, &["a", "b"], 1, ".nii.gz");
    let reader = |name: &str| {
        dataset_json(&f, json!({"overwrite_image_reader_writer": name}));
    };
    for name in ["Tiff3DIO", "NaturalImage2DIO"] {
        reader(name);
        both_refuse(&f, &[name, "overwrite_image_reader_writer"]);
    }
    reader("NibabelIOWithReorient");
    says(&train(&f, &["--reorient", "keep"]), 2, &["--reorient keep", "dataset.json"]);
    says(&train(&f, &[]), 0, &[]);
    let reorient = |f: &Folder| -> Value {
        let config: Value = serde_json::from_slice(&f.bytes("run/config.json")).unwrap();
        config["preprocessing"]["reorient"].clone()
    };
    assert_eq!(reorient(&f), true);
    std::fs::remove_dir_all(f.path("run")).unwrap();
    reader("SimpleITKIO");
    says(&train(&f, &["--reorient", "keep"]), 0, &[]);
    assert_eq!(reorient(&f), false);
}

#[test]
fn unknown_keys_are_named() {
    let f = Folder::new();
    cases(&f, &["a", "b"], 1, ".nii.gz");
    dataset_json(&f, json!({"region_class_order": [1]}));
    both_refuse(&f, &["'region_class_order'", "'regions_class_order'"]);
    dataset_json(
        &f,
        json!({"channel_names": {"0": "MRI"}, "patch_size": [1, 2, 3], "citation": ""}),
    );
    let (done, report) = checked(&f, "data");
    assert_eq!(done.code, 0, "{}", done.all());
    let notes = messages(&report, "note");
    assert!(notes.len() == 1 && notes[0].contains("'patch_size'"), "{notes:?}");
    assert!(!done.stdout.contains("citation"), "{}", done.all());
    says(&train(&f, &[]), 0, &["warning: ", "'patch_size'"]);
}

#[test]
fn cases_may_be_numbered_like_channels() {
    for channels in [1, 2] {
        let f = Folder::new();
        let names = ["word_0000", "word_0001", "word_0003"];
        decathlon(&f, &names, channels);
        let (done, report) = checked(&f, "data");
        assert_eq!((done.code, count(&report)), (0, 3), "{}", done.all());
        assert_eq!(warnings(&report), 0, "{}", done.all());
        let run = run_folder(&f.path("run"), &f.path("data"), &[0], [8, 8, 8]);
        let path = f.path("run/config.json");
        let mut config: Value = serde_json::from_slice(&f.bytes("run/config.json")).unwrap();
        config["split"] = json!([{"train": &names[..2], "val": &names[2..]}]);
        std::fs::write(path, config.to_string()).unwrap();
        let files = names.map(|n| format!("{n}.nii.gz"));
        let list: String = names.map(|n| format!("data/imagesTr/{n}.nii.gz\n")).concat();
        std::fs::write(f.path("list.txt"), list).unwrap();
        let one = "data/imagesTr/word_0000.nii.gz";
        for (input, out) in [("data/imagesTr", "folder"), ("list.txt", "list"), (one, "file")] {
            let done = f.ok(&["predict", "-m", &run, "-i", input, "-o", out, "--no-tta"]);
            let wanted = if out == "file" { &files[..1] } else { &files[..] };
            assert_eq!(f.list(out), wanted, "{}", done.all());
        }
        f.ok(&["evaluate", "folder", "data/labelsTr"]);
    }
}

#[test]
fn files_that_belong_to_no_case_are_named_and_skipped() {
    for channels in [1, 2] {
        let f = Folder::new();
        cases(&f, &["a", "b"], channels, ".nii.gz");
        dataset_json(&f, {
            let all = json!({"0": "T1", "1": "T2"});
            let channels = if channels == 2 { all } else { json!({"0": "T1"}) };
            json!({"channel_names": channels, "file_ending": ".nii.gz"})
        });
        for folder in ["imagesTr", "imagesTs"] {
            std::fs::create_dir_all(f.path("data").join(folder)).unwrap();
            for name in ["notes.txt", ".DS_Store"] {
                std::fs::write(f.path("data").join(folder).join(name), "x").unwrap();
            }
            for name in ["foo", "b_0007"] {
                image_at(&f, &format!("data/{folder}/{name}.nii.gz"), values(77));
            }
            for name in ["c", "b"] {
                for c in (0..channels).filter(|_| folder == "imagesTs") {
                    let path = format!("data/{folder}/{name}_{c:04}.nii.gz");
                    image_at(&f, &path, values(100 + c + name.len()));
                }
            }
        }
        let strays = ["'foo.nii.gz'", "'b_0007.nii.gz'", "'notes.txt'", "'.DS_Store'"];
        let (done, report) = checked(&f, "data");
        assert_eq!((done.code, count(&report)), (0, 2), "{}", done.all());
        says(&done, 0, &strays);
        says(&train(&f, &[]), 0, &[&["preparing 2 cases"], &strays[..]].concat());
        let predicted = ["predict", "-m", "run", "-i", "data/imagesTs", "-o", "out", "--no-tta"];
        says(&f.run(&predicted), 0, &[&["warning: 4 files"], &strays[..]].concat());
        assert_eq!(f.list("out"), ["b.nii.gz", "c.nii.gz"]);
    }
}

#[test]
fn a_case_without_all_channels_is_named() {
    let f = Folder::new();
    cases(&f, &["a", "b", "c"], 2, ".nii.gz");
    dataset_json(&f, json!({"channel_names": {"0": "T1", "1": "T2"}}));
    says(&train(&f, &[]), 0, &[]);
    std::fs::remove_file(f.path("data/imagesTr/b_0001.nii.gz")).unwrap();
    says(&f.run(&["check", "data"]), 1, &["imagesTr/b_0001.nii.gz"]);
    let again = ["train", "data", "--out", "other"];
    says(&f.run(&again), 1, &["b_0001.nii.gz", "case 'b'"]);
    let done = f.run(&["predict", "-m", "run", "-i", "data/imagesTr", "-o", "out", "--no-tta"]);
    says(&done, 1, &["the case 'b'", "b_0001.nii.gz", "1 of 3 cases failed"]);
    assert_eq!(f.list("out"), ["a.nii.gz", "c.nii.gz"]);
}

#[test]
fn endings_may_be_in_capitals() {
    let f = Folder::new();
    cases(&f, &["a", "b"], 1, ".NII");
    dataset_json(&f, json!({"file_ending": ".nii"}));
    let (done, report) = checked(&f, "data");
    assert_eq!((done.code, count(&report), warnings(&report)), (0, 2, 0), "{}", done.all());
    let run = run_folder(&f.path("run"), &f.path("data"), &[0], [8, 8, 8]);
    f.ok(&["predict", "-m", &run, "-i", "data/imagesTr", "-o", "out", "--no-tta"]);
    assert_eq!(f.list("out"), ["a.nii.gz", "b.nii.gz"]);
    f.ok(&["evaluate", "out", "data/labelsTr"]);
    f.ok(&["predict", "-m", &run, "-i", "data/imagesTr/a_0000.NII", "-o", "x.NII.GZ", "--no-tta"]);
    assert_eq!(f.bytes("x.NII.GZ")[..2], [0x1f, 0x8b]);
    // Listed in small letters.
    std::fs::rename(f.path("data/imagesTr/a_0000.NII"), f.path("data/imagesTr/a.NII")).unwrap();
    std::fs::rename(f.path("data/imagesTr/b_0000.NII"), f.path("data/imagesTr/b.NII")).unwrap();
    let list = ["a", "b"].map(
        |n| json!({"image": format!("imagesTr/{n}.nii"), "label": format!("labelsTr/{n}.nii")}),
    );
    dataset_json(&f, json!({"modality": {"0": "MRI"}, "training": list}));
    let (done, report) = checked(&f, "data");
    assert_eq!((done.code, count(&report), warnings(&report)), (0, 2, 0), "{}", done.all());
}

#[test]
fn a_file_ending_that_does_not_fit_is_named() {
    let f = Folder::new();
    cases(&f, &["a", "b"], 1, ".nii");
    dataset_json(&f, json!({"file_ending": ".nii.gz"}));
    both_refuse(&f, &["'file_ending' '.nii.gz'", "end in .nii", "\"file_ending\": \".nii\""]);
    for ending in [".png", ".tif", ".nrrd", ".mha"] {
        dataset_json(&f, json!({"file_ending": ending}));
        both_refuse(&f, &["'file_ending'", ending, "not supported"]);
    }
}

#[test]
fn files_named_against_the_layout_come_with_the_command_that_renames_them() {
    let f = Folder::new();
    cases(&f, &["a b", "c"], 1, ".nii.gz");
    dataset_json(&f, json!({"file_ending": ".nii.gz"}));
    let rename = |folder: &str, from: &str, to: &str| {
        let at = |name: &str| f.path(&format!("data/{folder}/{name}.nii.gz"));
        std::fs::rename(at(from), at(to)).unwrap();
    };
    // The command between the last backquotes, run as a user would.
    let obey = || {
        let done = f.run(&["check", "data"]);
        assert_eq!(done.code, 1, "{}", done.all());
        let command = done.stdout.rsplit('`').nth(1).unwrap().to_owned();
        let mut shell = std::process::Command::new("sh");
        let run = shell.arg("-c").arg(&command).current_dir(f.path("data"));
        assert!(run.status().unwrap().success(), "{command}");
        let (done, report) = checked(&f, "data");
        assert_eq!((done.code, count(&report)), (0, 2), "{command}\n{}", done.all());
    };
    // Images without a channel number: all of them, then one.
    rename("imagesTr", "a b_0000", "a b");
    rename("imagesTr", "c_0000", "c");
    both_refuse(&f, &["2 images have no channel number", "_0000"]);
    obey();
    rename("imagesTr", "c_0000", "c");
    both_refuse(&f, &["the image 'c.nii.gz' has no channel number"]);
    obey();
    // Label maps with one.
    rename("labelsTr", "a b", "a b_0000");
    rename("labelsTr", "c", "c_0000");
    both_refuse(&f, &["2 label maps have a channel number"]);
    obey();
    rename("labelsTr", "a b", "a b_0000");
    both_refuse(&f, &["the label map 'a b_0000.nii.gz' has a channel number"]);
    obey();
}

#[test]
fn paths_may_have_backslashes_or_be_absolute_inside_the_folder() {
    let f = Folder::new();
    decathlon(&f, &["a", "b"], 1);
    let home = f.path("data").canonicalize().unwrap();
    let list = |paths: &[[String; 2]]| {
        let entries = paths.iter().map(|[i, l]| json!({"image": i, "label": l}));
        dataset_json(
            &f,
            json!({"modality": {"0": "MRI"}, "training": entries.collect::<Vec<_>>()}),
        );
    };
    let b = [r"imagesTr\b.nii.gz".to_owned(), r".\labelsTr\b.nii.gz".to_owned()];
    let at = |name: &str| home.join(name).display().to_string();
    list(&[[at("imagesTr/a.nii.gz"), at("labelsTr/a.nii.gz")], b.clone()]);
    let (done, report) = checked(&f, "data");
    assert_eq!((done.code, count(&report), warnings(&report)), (0, 2, 0), "{}", done.all());
    for outside in [
        "/elsewhere/imagesTr/a.nii.gz",
        r"C:\data\imagesTr\a.nii.gz",
        "../data2/imagesTr/a.nii.gz",
        r"..\imagesTr\a.nii.gz",
        "imagesTr/../../imagesTr/a.nii.gz",
    ] {
        list(&[[outside.to_owned(), at("labelsTr/a.nii.gz")], b.clone()]);
        both_refuse(&f, &["leaves the folder", "write './imagesTr/a.nii.gz'"]);
    }
}

#[test]
fn texts_in_another_encoding_are_explained() {
    let f = Folder::new();
    decathlon(&f, &["a", "b"], 1);
    let run = run_folder(&f.path("run0"), &f.path("data"), &[0], [8, 8, 8]);
    let wide = |text: &str| -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    let sound = f.bytes("data/dataset.json");
    let with_name = |name: &[u8]| [b"{\n\"name\": \"", name, b"\",", &sound[1..]].concat();
    std::fs::write(f.path("data/dataset.json"), with_name(b"C\xf6ur")).unwrap();
    both_refuse(&f, &["dataset.json", "UTF-8", "0xF6 in line 2, column 11"]);
    std::fs::write(f.path("data/dataset.json"), wide(&String::from_utf8_lossy(&sound))).unwrap();
    both_refuse(&f, &["dataset.json", "UTF-16", "UTF-8"]);
    // A byte order mark of UTF-8 is none of anyone's business.
    std::fs::write(f.path("data/dataset.json"), ["\u{feff}".as_bytes(), &sound].concat()).unwrap();
    f.ok(&["check", "data"]);
    for name in ["splits_final.json", "patients.csv", "patients.json"] {
        let path = f.path(&format!("data/{name}"));
        std::fs::write(&path, b"\n\n\"\xe9").unwrap();
        both_refuse(&f, &[name, "UTF-8", "0xE9 in line 3, column 2"]);
        std::fs::remove_file(path).unwrap();
    }
    std::fs::write(f.path("own.json"), wide("[]")).unwrap();
    says(&train(&f, &["--splits", "own.json"]), 1, &["own.json", "UTF-16"]);
    std::fs::write(f.path("list.txt"), b"data/imagesTr/\xe9.nii").unwrap();
    let list = ["predict", "-m", &run, "-i", "list.txt", "-o", "out"];
    says(&f.run(&list), 1, &["list.txt", "UTF-8", "0xE9 in line 1, column 15"]);
}

#[test]
fn the_folders_win_over_a_leftover_list() {
    let f = Folder::new();
    cases(&f, &["a", "b", "new"], 1, ".nii.gz");
    let entry = |n: &str| json!({"image": format!("imagesTr/{n}.nii.gz"), "label": format!("labelsTr/{n}.nii.gz")});
    let training = json!([entry("a"), entry("b"), entry("gone")]);
    dataset_json(&f, json!({"file_ending": ".nii.gz", "training": training, "numTraining": 3}));
    let words = [
        "3 cases of labelsTr are taken",
        "listed but not there: 'gone'",
        "there but not listed: 'new'",
    ];
    let (done, report) = checked(&f, "data");
    assert_eq!((done.code, count(&report)), (0, 3), "{}", done.all());
    says(&f.run(&["check", "data"]), 0, &words);
    says(&train(&f, &[]), 0, &[&["warning: ", "preparing 3 cases"], &words[..]].concat());
    // Where both agree there is nothing to warn of.
    let all = ["a", "b", "new"].map(entry);
    dataset_json(&f, json!({"file_ending": ".nii.gz", "training": all}));
    let (done, report) = checked(&f, "data");
    assert_eq!((warnings(&report), messages(&report, "note").len()), (0, 1), "{}", done.all());
    // A list of the Decathlon's files goes by the list, whatever the keys are.
    let f = Folder::new();
    decathlon(&f, &["word_0000", "word_0001"], 1);
    let mut root: Value = serde_json::from_slice(&f.bytes("data/dataset.json")).unwrap();
    root["channel_names"] = root["modality"].take();
    root.as_object_mut().unwrap().remove("modality");
    std::fs::write(f.path("data/dataset.json"), root.to_string()).unwrap();
    let (done, report) = checked(&f, "data");
    assert_eq!((done.code, count(&report)), (0, 2), "{}", done.all());
}

#[test]
fn pickled_splits_are_converted_by_the_command_that_is_told() {
    let f = Folder::new();
    decathlon(&f, &["a", "b"], 1);
    std::fs::write(f.path("data/splits_final.pkl"), b"\x80\x04]\x94.").unwrap();
    let (done, report) = checked(&f, "data");
    assert_eq!(done.code, 0, "{}", done.all());
    let note = messages(&report, "note").concat();
    assert!(note.contains("is not read") && note.contains("python3 -c"), "{note}");
    says(&train(&f, &[]), 0, &["splits_final.pkl' is not read", "python3 -c"]);
    let refused = train(&f, &["--splits", "data/splits_final.pkl"]);
    says(&refused, 1, &["splits_final.pkl", "is a pickle", "python3 -c"]);
    let shell = |command: &str| {
        std::process::Command::new("sh").arg("-c").arg(command).current_dir(f.path(".")).status()
    };
    let python = shell("python3 -c 'import pickle'").unwrap().success().then_some(());
    let Some(()) = require::need("python", python) else { return };
    let made = shell(
        "python3 -c \"import pickle; from collections import OrderedDict as O; \
         pickle.dump([O(train=['a'], val=['b'])], open('data/splits_final.pkl', 'wb'))\"",
    );
    assert!(made.unwrap().success());
    let at = refused.stderr.find("python3 -c").unwrap();
    let command = refused.stderr[at..].lines().next().unwrap();
    assert!(shell(command).unwrap().success(), "{command}");
    assert_eq!(f.bytes("data/splits_final.json"), br#"[{"train": ["a"], "val": ["b"]}]"#);
    says(&f.run(&["check", "data"]), 0, &["the folds are those of splits_final.json"]);
}

#[test]
fn a_data_set_may_be_named_by_its_file() {
    let f = Folder::new();
    decathlon(&f, &["a", "b"], 1);
    let (done, report) = checked(&f, "data/dataset.json");
    assert_eq!((done.code, count(&report)), (0, 2), "{}", done.all());
    f.refused(&["check", "data/imagesTr/a.nii.gz"], 1, &["is no folder", "dataset.json"]);
    let tiny = [&["train", "data/dataset.json", "--no-validate"], &TINY[..]].concat();
    let done = f.run(&tiny);
    assert_eq!(done.code, 0, "{}", done.all());
    assert!(f.list("runs")[0].starts_with("data-"), "{:?}", f.list("runs"));
    let plan =
        [&["plan", "data/dataset.json", "--no-forecast", "-o", "plan.json"], &TINY[..6]].concat();
    f.ok(&plan);
    f.ok(&["augment", "data/dataset.json", "-o", "look", "--count", "1"]);
}
