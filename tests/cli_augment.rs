//! `augment`, `policy`, `devices` and what concerns all commands, of the real binary.

mod common_cli;

use asng_wgpu::data::nifti::{read_header, read_image, read_labels, write_image, write_labels};
use asng_wgpu::data::preprocess::nonzero_box;
use asng_wgpu::search::distribution::Categorical;
use asng_wgpu::search::file::{PolicyFile, VERSION};
use asng_wgpu::search::policy::Policy;
use asng_wgpu::search::space::Space;
use common_cli::{Folder, run_folder};

/// A policy file with or without a distribution.
fn policy_file(f: &Folder, name: &str, with_theta: bool) {
    let space = Space::default();
    let counts = space.counts();
    let centre = space.nearest(&Policy::nnunet());
    let file = PolicyFile {
        version: VERSION,
        theta: with_theta.then(|| Categorical::centred(&counts, &centre, 0.5)),
        policy: Policy { p_rotation: 1.0, ..Policy::none() },
        space,
        dataset: "demo".into(),
        seed: 7,
        run: "demo-1".into(),
    };
    file.write(&f.path(name)).unwrap();
}

fn json(f: &Folder, name: &str) -> serde_json::Value {
    serde_json::from_slice(&f.bytes(name)).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_files() {
    let f = Folder::new();
    f.demo("heart", 2);
    let all = ["--p-rotation", "1", "--p-elastic", "1", "--p-gamma", "1", "--p-scale", "1"];
    for out in ["a", "b"] {
        let base = ["augment", "data", "-o", out, "--count", "2", "--seed", "3"];
        f.ok(&[&base[..], &all].concat());
    }
    let names = [
        "draws.json",
        "heart_001_00.nii.gz",
        "heart_001_00_label.nii.gz",
        "heart_001_01.nii.gz",
        "heart_001_01_label.nii.gz",
        "sheet.png",
    ];
    assert_eq!(f.list("a"), names);
    for name in names {
        assert!(f.bytes(&format!("a/{name}")) == f.bytes(&format!("b/{name}")), "{name}");
    }
    let draws = json(&f, "a/draws.json");
    assert_eq!((&draws["version"], &draws["case"]), (&2.into(), &"heart_001".into()));
    assert_eq!(draws["policy"]["policy"]["p_rotation"], 1.0);
    assert_eq!(draws["draws"].as_array().unwrap().len(), 2);
    assert!(draws["draws"][1]["draw"]["rotation"][2].is_number());
    f.ok(&["augment", "data", "-o", "c", "--count", "1", "--seed", "4", "--case", "heart_002"]);
    assert_eq!(f.list("c")[1], "heart_002_00.nii.gz");
}

#[test]
fn draws_are_replayed_bit_for_bit() {
    let f = Folder::new();
    let data = f.demo("prostate", 2);
    f.demo_as("heart", 1, "other");
    run_folder(&f.path("run"), &data, &[0], [8, 16, 16]);
    policy_file(&f, "run/fold_0/policy.json", true);
    // A run's normalisation and sampled policies; a patch; every transform.
    let base = ["augment", "data", "--case", "prostate_002"];
    let all = ["--p-rotation", "1", "--p-elastic", "1", "--p-gamma", "1", "--p-scale", "1"];
    let drawn: [(&str, &[&str]); 3] = [
        ("b", &["--count", "1", "--interpolation", "cubic", "--label-interpolation", "nearest"]),
        ("a", &["--policy", "run", "--patch", "9,20,18", "--seed", "11", "--count", "2"]),
        ("c", &["--seed", "18446744073709551615", "--count", "1"]),
    ];
    for (out, flags) in drawn {
        let again = format!("{out}_again");
        f.ok(&[&base[..], &["-o", out], flags, &all].concat());
        let replay = format!("{out}/draws.json");
        f.ok(&[&base[..], &["-o", &again, "--replay", &replay]].concat());
        assert_eq!(f.list(out), f.list(&again));
        for name in f.list(out) {
            let (one, two) =
                (f.bytes(&format!("{out}/{name}")), f.bytes(&format!("{again}/{name}")));
            assert!(one == two, "{out}: {name}");
        }
    }

    // The same draw by the other interpolation is another image.
    f.ok(&[&base[..], &["-o", "linear", "--count", "1"], &all].concat());
    let [cubic, linear] =
        ["b", "linear"].map(|out| f.bytes(&format!("{out}/prostate_002_00.nii.gz")));
    assert!(cubic != linear);

    let text = String::from_utf8(f.bytes("c/draws.json")).unwrap();
    let write = |name: &str, from: &str, to: &str| {
        assert!(text.contains(from), "{from} in {text}");
        std::fs::write(f.path(name), text.replacen(from, to, 1)).unwrap();
    };
    write("version.json", "\"version\": 2", "\"version\": 1");
    write("key.json", "\"alpha\"", "\"alhpa\"");
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["draws"][0]["draw"]["gamma"] = serde_json::json!([1.2]);
    std::fs::write(f.path("gamma.json"), value.to_string()).unwrap();
    value["draws"] = serde_json::json!([]);
    std::fs::write(f.path("empty.json"), value.to_string()).unwrap();
    let refused = |input: &str, replay: &str, more: &[&str], code, words: &[&str]| {
        f.refused(
            &[&["augment", input, "-o", "out", "--replay", replay], more].concat(),
            code,
            words,
        );
    };
    refused("data", "version.json", &[], 1, &["version.json", "version 1"]);
    refused("data", "key.json", &[], 1, &["key.json", "draws[0].draw.elastic", "alhpa"]);
    refused("data", "gamma.json", &[], 1, &["gamma.json", "draw 0", "2 channels"]);
    refused("data", "empty.json", &[], 1, &["empty.json", "no draws"]);
    refused("data", "none.json", &[], 1, &["none.json"]);
    refused("other", "c/draws.json", &[], 1, &["c/draws.json", "channels", "z, y, x"]);
    refused("data", "c/draws.json", &["--seed", "3"], 2, &["--seed", "--replay"]);
    refused("data", "c/draws.json", &["--p-gamma", "1"], 2, &["--p-gamma", "--replay"]);
    let cubic = ["--interpolation", "cubic"];
    refused("data", "c/draws.json", &cubic, 2, &["--interpolation", "--replay"]);
    assert!(!f.path("out").exists());
}

#[test]
fn a_draw_without_transforms_is_the_normalised_case_in_its_place() {
    let f = Folder::new();
    let data = f.demo("brain", 1);
    let image = data.join("imagesTr/brain_001.nii.gz");
    let still = [
        "--count",
        "1",
        "--no-mirror",
        "--p-rotation",
        "0",
        "--p-scale",
        "0",
        "--p-gamma",
        "0",
        "--p-elastic",
        "0",
    ];
    // An oblique grid, as a plain volume with a label file.
    let (mut v, l) = (
        read_image(&image).unwrap(),
        read_labels(&data.join("labelsTr/brain_001.nii.gz")).unwrap(),
    );
    v.header.srow = [[-3.6, 0.4, 0.0, 90.0], [0.4, 3.6, 0.0, -20.0], [0.0, 0.0, 3.6, 11.0]];
    v.header.sform_code = 2;
    write_image(&f.path("x.nii.gz"), &v.data, v.channels, v.shape, &v.header).unwrap();
    write_labels(&f.path("y.nii.gz"), &l.labels, l.shape, &v.header).unwrap();
    let run = |out: &str, more: &[&str]| {
        let base = ["augment", "x.nii.gz", "--label", "y.nii.gz", "-o", out];
        f.ok(&[&base[..], &still, more].concat());
        let header = read_header(&f.path(&format!("{out}/x_00.nii.gz"))).unwrap();
        let image = read_image(&f.path(&format!("{out}/x_00.nii.gz"))).unwrap();
        let labels = read_labels(&f.path(&format!("{out}/x_00_label.nii.gz"))).unwrap();
        assert_eq!(labels.header.differences(&header), []);
        (image, labels)
    };
    for (out, more) in [("whole", &[][..]), ("part", &["--patch", "9,12,10"][..])] {
        let (image, labels) = run(out, more);
        let start = json(&f, &format!("{out}/draws.json"))["patch_start"].clone();
        let start: [usize; 3] = serde_json::from_value(start).unwrap();
        // The patch is counted from the box of what is not zero.
        let (first, _) = nonzero_box(&v.data, v.shape);
        let start: [usize; 3] = std::array::from_fn(|i| start[i] + first[i]);
        // Voxel by voxel the file's labels at that place, and the place by the affine.
        let [d, h, w] = image.shape;
        for i in (0..d * h * w).step_by(7) {
            let at = [i / (h * w) + start[0], i / w % h + start[1], i % w + start[2]];
            let source = (at[0] * l.shape[1] + at[1]) * l.shape[2] + at[2];
            assert_eq!(labels.labels[i], l.labels[source], "{out}: voxel {i}");
        }
        let (part, whole) = (image.header.affine(), v.header.affine());
        for r in 0..3 {
            let place =
                whole[r][3] + (0..3).map(|c| whole[r][c] * start[2 - c] as f64).sum::<f64>();
            assert!((part[r][3] - place).abs() < 1e-3, "{out}: {place} {:?}", part[r]);
        }
        assert!(image.data.iter().all(|v| v.abs() < 50.0), "{out} is not normalised");
    }
}

#[test]
fn policies_come_from_files_and_runs() {
    let f = Folder::new();
    let data = f.demo("prostate", 1);
    run_folder(&f.path("run"), &data, &[2], [8, 16, 16]);
    policy_file(&f, "run/fold_2/policy.json", true);
    policy_file(&f, "fixed.json", false);
    let base = ["augment", "data", "-o", "out", "--count", "2", "--channel", "1"];
    let done = f.ok(&[&base[..], &["--policy", "run"]].concat());
    assert!(done.stderr.contains("sampled from the distribution"), "{}", done.all());
    let draws = json(&f, "out/draws.json");
    assert_eq!(draws["policy"]["sampled"], true);
    assert_ne!(draws["draws"][0]["policy"], draws["draws"][1]["policy"]);
    f.ok(&[&base[..], &["--policy", "fixed.json", "--rotation-x", "-20:-20"]].concat());
    let draws = json(&f, "out/draws.json");
    assert_eq!(draws["policy"]["sampled"], false);
    assert_eq!(draws["draws"][1]["draw"]["rotation"][0], -20.0);
    assert!(draws["draws"][1]["draw"]["scale"].is_null());

    let done = f.ok(&["policy", "show", "run"]);
    assert!(done.stdout.lines().all(|l| l.chars().count() <= 80), "{}", done.all());
    assert!(done.stdout.contains("mean entropy 1.8"), "{}", done.all());
    assert!(done.stdout.contains("rotation_z_high"), "{}", done.all());
    assert!(!done.stdout.contains('\x1b'), "{}", done.all());
    assert!(f.ok(&["policy", "show", "run", "--ascii"]).stdout.is_ascii());
    let done = f.ok(&["policy", "show", "fixed.json"]);
    assert!(done.stdout.contains("no distribution"), "{}", done.all());
    let done = f.ok(&["policy", "show", "run", "--fold", "2", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(shown["variables"].as_array().unwrap().len(), 18);
}

#[test]
fn wrong_input_is_one_sentence_and_an_exit_code() {
    let f = Folder::new();
    let data = f.demo("heart", 1);
    f.demo_as("brain", 1, "brain");
    run_folder(&f.path("run"), &data, &[0], [16, 16, 16]);
    policy_file(&f, "good.json", false);
    let text = std::fs::read_to_string(f.path("good.json")).unwrap();
    std::fs::write(f.path("new.json"), text.replacen("\"version\": 1", "\"version\": 9", 1))
        .unwrap();
    std::fs::write(f.path("text.nii.gz"), "no volume").unwrap();
    let image = std::fs::read(data.join("imagesTr/heart_001.nii.gz")).unwrap();
    std::fs::write(f.path("cut.nii.gz"), &image[..image.len() / 2]).unwrap();
    let bad: [(&[&str], i32, &[&str]); 20] = [
        (&["nowhere"], 1, &["nowhere"]),
        (&["text.nii.gz"], 1, &["text.nii.gz", "gzip"]),
        (&["cut.nii.gz"], 1, &["cut.nii.gz"]),
        (&["data", "--case", "x"], 2, &["--case x", "heart_001"]),
        (&["cut.nii.gz", "--case", "x"], 2, &["--case"]),
        (&["data", "--label", "brain/labelsTr/brain_001.nii.gz", "--count", "0"], 2, &["--count"]),
        (&["data", "--rotation-x", "15:-15"], 2, &["--rotation-x", "15:-15", "LOW:HIGH"]),
        (&["data", "--rotation-x", "-200:0"], 2, &["rotation_x_low", "-200"]),
        (&["data", "--scale", "0:1"], 2, &["scale_low", "0"]),
        (&["data", "--p-gamma", "-1"], 2, &["p_gamma"]),
        (&["data", "--p-gamma", "often"], 2, &["--p-gamma", "often"]),
        (&["data", "--elastic-sigma", "500", "--p-elastic", "1"], 2, &["sigma"]),
        (&["data", "--patch", "8,8"], 2, &["--patch"]),
        (&["data", "--patch", "0,8,8"], 2, &["--patch"]),
        (&["data", "--channel", "1"], 2, &["--channel 1"]),
        (&["data", "--policy", "no.json"], 1, &["no.json"]),
        (&["data", "--policy", "new.json"], 1, &["new.json", "version 9"]),
        (&["data", "--policy", "run"], 1, &["run", "policy.json"]),
        (&["data", "--policy", "good.json", "--fold", "1"], 2, &["--fold 1"]),
        (&["data", "--device", "no such"], 1, &["--device"]),
    ];
    for (arguments, code, words) in bad {
        f.refused(&[&["augment", "-o", "out"], arguments].concat(), code, words);
    }
    f.refused(&["augment", "data"], 2, &["--output"]);
    f.refused(&["policy", "show", "new.json"], 1, &["version 9"]);
    f.refused(&["policy", "show", "data/dataset.json"], 1, &["dataset.json", "version"]);
}

#[test]
fn devices_test_their_kernels() {
    let f = Folder::new();
    let done = f.ok(&["devices", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    let first = &list[0];
    assert_eq!(first["auto"], true);
    let variants = first["variants"].as_array().unwrap();
    assert!(!variants.is_empty() && variants.iter().all(|v| v["passes"] == true), "{list}");
    assert!(f.ok(&["devices"]).stdout.contains("convolutions: "));
    f.refused(&["devices", "--backend", "x"], 2, &["--backend 'x'"]);
}

#[test]
fn help_versions_and_completions() {
    let f = Folder::new();
    let version = f.ok(&["--version"]).stdout;
    assert!(version.starts_with(concat!("asng-wgpu ", env!("CARGO_PKG_VERSION"))), "{version}");
    assert!(f.ok(&["--help"]).stdout.contains("Exit codes: 0 done, 1 failed, 2 wrong usage"));
    let commands = ["augment", "completions", "demo", "devices", "evaluate", "man", "predict"];
    for command in commands.into_iter().chain(["report", "train"]) {
        let help = f.ok(&[command, "--help"]).stdout;
        assert!(help.contains("Example") && help.contains("--quiet"), "{help}");
    }
    assert!(f.ok(&["policy", "show", "--help"]).stdout.contains("Example"));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(f.ok(&["completions", shell]).stdout.contains("predict"));
    }
    f.refused(&["completions", "cmd"], 2, &["cmd"]);
    f.refused(&[], 2, &["Usage"]);
}
