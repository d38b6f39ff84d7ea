//! `policy export`, `sample`, `show` and `plot` of the real binary.

mod common_cli;
#[path = "support/snapshot.rs"]
mod snapshot;

use asng_wgpu::search::distribution::Categorical;
use asng_wgpu::search::file::{PolicyFile, VERSION};
use asng_wgpu::search::log::{PolicyLine, PolicyLog};
use asng_wgpu::search::policy::Policy;
use asng_wgpu::search::space::{Field, Space};
use common_cli::{Folder, assert_well_formed, run_folder};
use snapshot::snapshot;

/// A policy file of a small space of uneven rows, with or without the distribution.
fn policy_file(f: &Folder, name: &str, with_theta: bool) {
    let fields = [Field::ScaleLow, Field::RotationXHigh, Field::PRotation];
    let mut space = Space::default();
    space.variables.retain(|v| fields.contains(&v.name));
    space.variables.iter_mut().zip([3, 4, 1]).for_each(|(v, count)| v.count = count);
    let rows = vec![vec![0.5, 0.25, 0.25], vec![0.125, 0.125, 0.25, 0.5], vec![1.0]];
    let theta = Categorical::try_from(rows).unwrap();
    let file = PolicyFile {
        version: VERSION,
        policy: Policy::from_indices(&space, &theta.most_probable()),
        theta: with_theta.then_some(theta),
        space,
        dataset: "demo".into(),
        seed: 7,
        run: "demo-1".into(),
    };
    file.write(&f.path(name)).unwrap();
}

#[test]
fn exports_are_as_stored() {
    let f = Folder::new();
    policy_file(&f, "policy.json", true);
    for library in ["batchgenerators", "batchgeneratorsv2", "monai", "torchio"] {
        let export = ["policy", "export", "policy.json", "--format", library];
        f.ok(&[&export[..], &["-o", "out.py"]].concat());
        let text = String::from_utf8(f.bytes("out.py")).unwrap();
        assert_eq!(f.ok(&export).stdout, text);
        let program = concat!("asng-wgpu ", env!("CARGO_PKG_VERSION"));
        snapshot(&format!("{library}.py"), &text.replace(program, "asng-wgpu VERSION"));
    }
}

#[test]
fn exports_read_between_voxels_as_the_run_or_as_told() {
    let f = Folder::new();
    policy_file(&f, "policy.json", true);
    let export = |library: &str| {
        let told = ["--interpolation", "cubic", "--label-interpolation", "nearest"];
        let export = ["policy", "export", "policy.json", "--format", library];
        f.ok(&[&export[..], &told].concat()).stdout
    };
    for (library, lines) in [
        ("batchgenerators", &["order_data=3,", "order_seg=0,"][..]),
        (
            "batchgeneratorsv2",
            &["mode_seg=\"nearest\",", "cubic B-splines, which the library lacks"],
        ),
        ("monai", &["modes = [3, \"nearest\"]"]),
        (
            "torchio",
            &["\"image_interpolation\": \"bspline\",", "\"label_interpolation\": \"nearest\","],
        ),
    ] {
        let text = export(library);
        assert!(lines.iter().all(|line| text.contains(line)), "{library}: {text}");
    }
}

#[test]
fn an_export_tells_a_run_from_a_file_and_theta_from_a_policy() {
    let f = Folder::new();
    let data = f.demo("heart", 1);
    run_folder(&f.path("run"), &data, &[1], [16, 16, 16]);
    policy_file(&f, "run/fold_1/policy.json", true);
    policy_file(&f, "fixed.json", false);
    let export = |source: &str, more: &[&str]| {
        f.ok(&[&["policy", "export", source, "--format", "monai"], more].concat()).stdout
    };
    let run = export("run", &[]);
    assert!(run.contains("    \"rotation_x_high\": (\n        [0.0, 10.0, 20.0, 30.0],"), "{run}");
    assert!(run.contains("\nMIRROR = (True, True, True)\n"), "{run}");
    assert!(!run.contains("\"rotation_x_high\": 30.0,"), "{run}");
    let best = export("run", &["--most-probable", "--no-mirror"]);
    assert!(
        best.contains("One fixed policy") && best.contains("\nMIRROR = (False, False, False)\n"),
        "{best}"
    );
    assert!(best.contains("    \"rotation_x_high\": 30.0,"), "{best}");
    assert_eq!(
        best.replace("(False, False, False)", "(True, True, True)"),
        export("fixed.json", &[])
    );
    let fields = Field::ALL.iter().filter(|field| best.contains(&format!("\"{}\":", field.name())));
    assert_eq!(fields.count(), 18);

    let path = f.path("run/config.json");
    let config = std::fs::read_to_string(&path).unwrap();
    let masked = config.replace("\"nonzero_mask\": false", "\"nonzero_mask\": true");
    // Of an earlier version: all or nothing.
    let all = "\"mirror\": [\n    \"d\",\n    \"h\",\n    \"w\"\n  ]";
    assert!(masked.contains(all), "{masked}");
    std::fs::write(&path, masked.replace(all, "\"mirror\": false")).unwrap();
    let text = export("run", &[]);
    assert!(text.contains("\nKEEP_ZERO = True\n"), "{text}");
    assert!(text.contains("\nMIRROR = (False, False, False)\n"), "{text}");
    let two = export("run", &["--mirror-axes", "h,w"]);
    assert!(two.contains("\nMIRROR = (False, True, True)\n"), "{two}");

    let refuse = |more: &[&str], code, words: &[&str]| {
        f.refused(&[&["policy", "export"], more].concat(), code, words);
    };
    refuse(&["run"], 2, &["--format"]);
    for name in ["numpy", "albumentations", ""] {
        let words = ["not supported; give batchgenerators, batchgeneratorsv2, monai or torchio"];
        refuse(&["run", "--format", name], 2, &words);
    }
    refuse(&["run", "--format", "monai", "--fold", "0"], 1, &["fold 0"]);
    refuse(&["none", "--format", "monai"], 1, &["none"]);
    refuse(&["run", "--format", "monai", "--mirror-axes", "x"], 2, &["'x'", "d, h and w"]);
}

#[test]
fn the_same_seed_draws_the_same_policies() {
    let f = Folder::new();
    policy_file(&f, "policy.json", true);
    policy_file(&f, "fixed.json", false);
    let sample =
        |file: &str, more: &[&str]| f.ok(&[&["policy", "sample", file], more].concat()).stdout;
    let table = sample("policy.json", &["--count", "50", "--seed", "4"]);
    assert_eq!(table, sample("policy.json", &["--seed", "4", "--count", "50"]));
    assert_ne!(table, sample("policy.json", &["--seed", "5", "--count", "50"]));
    assert!(table.starts_with(&sample("policy.json", &["--count", "40", "--seed", "4"])));
    let rows: Vec<Vec<&str>> =
        table.lines().skip(3).map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.len() == 50 && rows.iter().all(|row| row.len() == 19), "{table}");

    let json = sample("policy.json", &["--count", "50", "--seed", "4", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["seed"], &json["sampled"]), (&4.into(), &true.into()));
    let policies = json["policies"].as_array().unwrap();
    for (row, policy) in rows.iter().zip(policies) {
        let right = policy["rotation_x"][1].as_f64().unwrap();
        assert!([0.0, 10.0, 20.0, 30.0].contains(&right), "{right}");
        assert_eq!(row[8].parse::<f64>().unwrap(), right);
    }
    // The distribution's half of 30 degrees, within 4 standard deviations.
    let most = policies.iter().filter(|p| p["rotation_x"][1] == 30.0).count();
    assert!((11..=39).contains(&most), "{most} of 50");

    // As `augment` samples them.
    f.demo("heart", 1);
    let augment = ["augment", "data", "-o", "out", "--policy", "policy.json"];
    f.ok(&[&augment[..], &["--count", "2", "--seed", "4", "--patch", "4,4,4"]].concat());
    let draws: serde_json::Value = serde_json::from_slice(&f.bytes("out/draws.json")).unwrap();
    assert_eq!(draws["draws"][1]["policy"], policies[1]);

    let fixed = sample("fixed.json", &["--count", "2", "--json"]);
    let fixed: serde_json::Value = serde_json::from_str(&fixed).unwrap();
    assert_eq!(fixed["sampled"], false);
    assert_eq!(fixed["policies"][0], fixed["policies"][1]);
    for (file, count, code, word) in
        [("none.json", "1", 1, "none.json"), ("fixed.json", "0", 2, "--count 0")]
    {
        f.refused(&["policy", "sample", file, "--count", count], code, &[word]);
    }
}

#[test]
fn show_tells_share_and_entropy_of_each_variable() {
    let f = Folder::new();
    policy_file(&f, "policy.json", true);
    let shown = f.ok(&["policy", "show", "policy.json", "--ascii"]).stdout;
    let line = |name: &str| {
        let line = shown.lines().find(|l| l.starts_with(name)).unwrap();
        line.split_whitespace().map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(line("variable")[5..], ["share", "entropy"]);
    assert_eq!(line("scale_low")[3..], ["#==", "0.5", "0.50", "95%"]);
    // 1.75 bits of 2.
    assert_eq!(line("rotation_x_high")[4..], ["30", "0.50", "88%"]);
    assert_eq!(line("p_rotation")[4..], ["0", "1.00", "0%"]);
}

/// A history whose mass moves from the first value of each variable to the last.
fn history(f: &Folder, name: &str, space: &Space, epochs: u64) {
    let mut log = PolicyLog::open(&f.path(name), 0).unwrap();
    let counts = space.counts();
    for epoch in 0..epochs {
        let rows = counts.iter().map(|&count| {
            let at = epoch as f64 / (epochs.max(2) - 1) as f64 * (count - 1) as f64;
            let weights: Vec<f64> = (0..count).map(|k| (-(k as f64 - at).abs()).exp()).collect();
            let sum: f64 = weights.iter().sum();
            weights.iter().map(|w| w / sum).collect()
        });
        let theta = Categorical::try_from(rows.collect::<Vec<Vec<f64>>>()).unwrap();
        let line = PolicyLine {
            epoch: epoch + 1,
            delta: Some(1.0),
            s_norm2: Some(0.0),
            mean_entropy: Some(theta.mean_entropy()),
            policy: Policy::from_indices(space, &theta.most_probable()),
            theta: Some(theta),
            val_loss_mean: None,
            val_loss_difference: None,
            skipped_share: 0.0,
            weight_ms: 0.0,
            policy_ms: 0.0,
            augment_ms: 0.0,
        };
        log.append(&line).unwrap();
    }
}

#[test]
fn a_history_becomes_a_picture() {
    let f = Folder::new();
    let space = Space::default();
    std::fs::create_dir_all(f.path("run/fold_3")).unwrap();
    let file = PolicyFile {
        version: VERSION,
        policy: Policy::nnunet(),
        theta: None,
        space: space.clone(),
        dataset: "demo".into(),
        seed: 7,
        run: "a<b & \"c\"".into(),
    };
    file.write(&f.path("run/fold_3/policy.json")).unwrap();
    history(&f, "run/fold_3/policy.jsonl", &space, 200);
    assert!(f.ok(&["policy", "plot", "run"]).stdout.contains("policy.svg"));
    let svg = String::from_utf8(f.bytes("run/fold_3/policy.svg")).unwrap();
    assert_well_formed(&svg);
    assert!(svg.len() < 400_000, "{}", svg.len());
    for words in [
        "a&lt;b &amp; &quot;c&quot;, fold 3, epochs 1 to 200",
        "rotation x, degrees",
        ">-30<",
        ">900<",
    ] {
        assert!(svg.contains(words), "{words}");
    }
    // Earlier versions counted from 0, which their files do not say.
    let log = String::from_utf8(f.bytes("run/fold_3/policy.jsonl")).unwrap();
    let lines = log.lines().enumerate().map(|(i, line)| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["epoch"], &line["first_epoch"]), (&(i as u64 + 1).into(), &1.into()));
        line["epoch"] = i.into();
        line.as_object_mut().unwrap().remove("first_epoch");
        format!("{line}\n")
    });
    let earlier = lines.collect::<String>();
    std::fs::write(f.path("run/fold_3/policy.jsonl"), earlier).unwrap();
    f.ok(&["policy", "plot", "run", "--fold", "3", "-o", "x.SVG"]);
    assert_eq!(f.bytes("x.SVG"), f.bytes("run/fold_3/policy.svg"));

    // A small space: only what was searched is drawn.
    std::fs::create_dir_all(f.path("small")).unwrap();
    policy_file(&f, "small/policy.json", true);
    let small = PolicyFile::read(&f.path("small/policy.json")).unwrap().space;
    history(&f, "small/policy.jsonl", &small, 1);
    f.ok(&["policy", "plot", "small/policy.json", "-o", "small.svg"]);
    let svg = String::from_utf8(f.bytes("small.svg")).unwrap();
    assert_well_formed(&svg);
    assert!(svg.contains("scale, factor") && !svg.contains("rotation y"), "{svg}");

    let refuse = |more: &[&str], code, words: &[&str]| {
        f.refused(&[&["policy", "plot"], more].concat(), code, words);
    };
    refuse(&["run", "-o", "x.png"], 2, &["x.png", ".svg"]);
    refuse(&["run", "-o", "svg"], 2, &["'svg'"]);
    std::fs::copy(f.path("small/policy.json"), f.path("run/fold_3/policy.json")).unwrap();
    refuse(&["run"], 1, &["epoch 1", "search space"]);
    std::fs::write(f.path("run/fold_3/policy.jsonl"), "{}\n").unwrap();
    refuse(&["run"], 1, &["line 1", "policy.jsonl"]);
    std::fs::write(f.path("run/fold_3/policy.jsonl"), "").unwrap();
    refuse(&["run"], 1, &["no distribution"]);
    std::fs::remove_file(f.path("run/fold_3/policy.jsonl")).unwrap();
    refuse(&["run"], 1, &["no policy.jsonl"]);
}

#[test]
fn every_action_has_an_example() {
    let f = Folder::new();
    for action in ["show", "export", "sample", "plot"] {
        let help = f.ok(&["policy", action, "--help"]).stdout;
        assert!(help.contains("Example") && help.contains("--fold"), "{help}");
    }
}

#[test]
fn every_command_takes_a_file_a_run_or_a_name() {
    let f = Folder::new();
    let data = f.demo("heart", 5);
    run_folder(&f.path("run"), &data, &[1], [16, 16, 16]);
    policy_file(&f, "run/fold_1/policy.json", true);
    policy_file(&f, "policy.json", true);
    let train = ["train", "nowhere", "--out", "out", "--searcher", "fixed", "--policy"];
    let augment = ["augment", "nowhere", "-o", "out", "--policy"];
    for source in ["policy.json", "run", "default"] {
        for command in
            [&["show"][..], &["sample", "--count", "2"], &["export", "--format", "monai"]]
        {
            let printed = f.ok(&[&["policy"], command, &[source]].concat()).stdout;
            assert!(printed.len() > 100, "{command:?} {source}: {printed}");
        }
        // The policy is read before the data set, which is missing.
        for command in [&train[..], &augment] {
            f.refused(&[command, &[source]].concat(), 1, &["'nowhere'"]);
        }
    }
    assert_eq!(
        f.ok(&["policy", "sample", "run"]).stdout,
        f.ok(&["policy", "sample", "policy.json"]).stdout
    );
    assert!(f.ok(&["policy", "show", "default"]).stdout.contains("nnU-Net's policy"));
    let names = "a policy.json, the folder of a run, or default";
    for command in [&train[..], &augment, &["policy", "show"]] {
        f.refused(&[command, &["nnunet"]].concat(), 1, &["'nnunet' does not exist", names]);
    }
    f.refused(&["policy", "show", "default", "--fold", "0"], 2, &["--fold 0", "nnU-Net's policy"]);
    f.refused(&["policy", "plot", "default"], 2, &["'default' has no history"]);
    f.refused(&["train", "data", "--searcher", "fixed"], 2, &["--policy", names]);
    let init = |source| ["train", "data", "--out", "out", "--search-init", source];
    f.refused(&init("run"), 1, &["fold_1", "another space"]);
    f.refused(&init("nearest"), 2, &["--search-init 'nearest'", "near, default nor uniform"]);

    let tiny = ["--patch", "16,16,16", "--features", "4", "--levels", "2", "--epochs", "1"];
    let quick = ["--iterations", "1", "--no-validate", "--searcher", "fixed"];
    let read = |path: &str| PolicyFile::read(&f.path(path)).unwrap();
    for (source, out, wanted) in
        [("run", "a", read("policy.json")), ("default", "b", PolicyFile::nnunet())]
    {
        let policy = ["--policy", source];
        f.ok(&[&["train", "data", "--out", out], &tiny[..], &quick, &policy].concat());
        let trained = read(&format!("{out}/fold_0/policy.json"));
        assert_eq!((trained.policy, trained.theta), (wanted.policy, wanted.theta), "{source}");
    }
}
