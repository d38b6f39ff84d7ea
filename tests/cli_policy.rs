//! `policy export`, `sample`, `show` and `plot` of the real binary.

mod common_cli;

use asng_wgpu::search::distribution::Categorical;
use asng_wgpu::search::file::{PolicyFile, VERSION};
use asng_wgpu::search::policy::Policy;
use asng_wgpu::search::space::{Field, Space};
use common_cli::{Folder, run_folder};
use std::path::PathBuf;

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

/// Compares with a file of `tests/snapshots`, or writes it where ASNG_WGPU_SNAPSHOTS=write.
fn snapshot(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("ASNG_WGPU_SNAPSHOTS").is_some_and(|v| v == "write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    let differing = stored.lines().zip(text.lines()).position(|(a, b)| a != b);
    assert!(
        stored == text,
        "{name} differs at line {:?}; ASNG_WGPU_SNAPSHOTS=write writes it anew",
        differing.map(|i| i + 1)
    );
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
    assert!(run.contains("\nMIRROR = True\n"), "{run}");
    assert!(!run.contains("\"rotation_x_high\": 30.0,"), "{run}");
    let best = export("run", &["--most-probable", "--no-mirror"]);
    assert!(best.contains("One fixed policy") && best.contains("\nMIRROR = False\n"), "{best}");
    assert!(best.contains("    \"rotation_x_high\": 30.0,"), "{best}");
    assert_eq!(best.replace("MIRROR = False", "MIRROR = True"), export("fixed.json", &[]));
    let fields = Field::ALL.iter().filter(|field| best.contains(&format!("\"{}\":", field.name())));
    assert_eq!(fields.count(), 18);

    let path = f.path("run/config.json");
    let config = std::fs::read_to_string(&path).unwrap();
    let masked = config.replace("\"nonzero_mask\": false", "\"nonzero_mask\": true");
    std::fs::write(&path, masked.replace("\"mirror\": true", "\"mirror\": false")).unwrap();
    let text = export("run", &[]);
    assert!(text.contains("\nKEEP_ZERO = True\n") && text.contains("\nMIRROR = False\n"), "{text}");

    let refuse = |more: &[&str], code, words: &[&str]| {
        f.refused(&[&["policy", "export"], more].concat(), code, words);
    };
    refuse(&["run"], 2, &["--format"]);
    refuse(&["run", "--format", "numpy"], 2, &["numpy", "torchio"]);
    refuse(&["run", "--format", "monai", "--fold", "0"], 1, &["fold 0"]);
    refuse(&["none", "--format", "monai"], 1, &["none"]);
}
