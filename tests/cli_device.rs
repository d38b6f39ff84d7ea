//! Devices and backends that are not there, and data sets that are too small for a search: said before
//! any case is read, and nothing is left behind.

mod common_cli;

use assert_cmd::Command;
use common_cli::{Folder, run_folder};

const TRAIN: [&str; 6] = ["train", "data", "--out", "run", "--levels", "2"];

/// Exit code and errors of a command in a folder, with variables of the environment.
fn with(f: &Folder, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let mut command = Command::cargo_bin("asng-wgpu").unwrap();
    command.current_dir(f.path(".")).args(arguments).envs(variables.iter().copied());
    let out = command.output().unwrap();
    (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn a_device_that_is_not_there_leaves_nothing_behind() {
    let f = Folder::new();
    let data = f.demo("heart", 4);
    let run = run_folder(&f.path("model"), &data, &[0], [16; 3]);
    // Whoever read it would complain.
    for file in ["imagesTr/heart_001.nii.gz", "labelsTr/heart_001.nii.gz"] {
        std::fs::write(data.join(file), "no volume").unwrap();
    }
    let before = f.list(".");
    let commands: [&[&str]; 5] = [
        &TRAIN,
        &["train", "data", "--levels", "2"],
        &["plan", "data"],
        &["predict", "-m", &run, "-i", "data/imagesTr", "-o", "out"],
        &["augment", "data", "-o", "out"],
    ];
    for command in commands {
        for (flags, words) in [
            (["--device", "no such"], ["--device 'no such'", "0 '"]),
            (["--device", "99"], ["--device '99'", "0 '"]),
        ] {
            f.refused(&[command, &flags].concat(), 1, &words);
        }
        f.refused(&[command, &["--backend", "vulcan"]].concat(), 2, &["--backend 'vulcan'", "gl"]);
        let (code, said) = with(&f, command, &[("WGPU_BACKEND", "vulcan")]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("WGPU_BACKEND 'vulcan' is unknown; use vulkan, metal"), "{said}");
        assert_eq!(f.list("."), before, "{command:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_driver_the_package_is_named_and_nothing_is_left_behind() {
    let f = Folder::new();
    f.demo("heart", 4);
    let before = f.list(".");
    let none = [("VK_DRIVER_FILES", "/none.json"), ("VK_ICD_FILENAMES", "/none.json")];
    for command in [&TRAIN[..], &["plan", "data"], &["augment", "data", "-o", "out"]] {
        let vulkan = [("WGPU_BACKEND", "vulkan")];
        let (code, said) = with(&f, command, &[none, [vulkan[0], vulkan[0]]].concat());
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("WGPU_BACKEND=vulkan") && said.contains("mesa-vulkan-drivers"));
        assert_eq!(f.list("."), before, "{command:?}");
        f.refused(&[command, &["--backend", "metal"]].concat(), 1, &["--backend metal", "vulkan"]);
    }
    f.refused(&["devices", "--backend", "dx12"], 1, &["--backend dx12", "not available"]);
}

#[test]
fn an_empty_backend_variable_counts_as_unset() {
    let f = Folder::new();
    f.demo("heart", 1);
    let augment = ["augment", "data", "-o", "out", "--count", "1"];
    let (code, said) = with(&f, &augment, &[("WGPU_BACKEND", "")]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn too_few_cases_for_a_search_are_said_first_with_the_flags() {
    let f = Folder::new();
    f.demo("heart", 2);
    let flags = ["--searcher default", "--search-val fold"];
    let checked = f.ok(&["check", "data"]);
    assert!(flags.iter().all(|flag| checked.stdout.contains(flag)), "{}", checked.all());
    let before = f.list(".");
    f.refused(&TRAIN, 1, &["1 training case", flags[0], flags[1]]);
    f.refused(&[&TRAIN[..], &["--search-val", "inner"]].concat(), 1, &flags);
    assert_eq!(f.list("."), before);

    let small = ["--patch", "16,16,16", "--features", "4", "--levels", "2"];
    let plan = |more: &[&str]| {
        let done = f.ok(&[&["plan", "data", "--no-forecast"], &small[..], more].concat());
        flags.iter().all(|flag| done.stderr.contains(flag))
    };
    assert!(plan(&["-o", "a.json"]));
    assert!(!plan(&["-o", "b.json", "--searcher", "default"]));
    assert!(!plan(&["-o", "c.json", "--search-val", "fold"]));
    for flags in [["--searcher", "default"], ["--search-val", "fold"]] {
        let run = ["train", "data", "--out", flags[1], "--epochs", "1", "--iterations", "1"];
        f.ok(&[&run[..], &small, &flags, &["--no-validate"]].concat());
    }

    // The same where a split has a tiny fold among others.
    f.demo_as("heart", 4, "more");
    let split = r#"[{"train": ["heart_001", "heart_002"], "val": ["heart_003"]},
                    {"train": ["heart_004"], "val": ["heart_003"]}]"#;
    std::fs::write(f.path("more/splits_final.json"), split).unwrap();
    let checked = f.ok(&["check", "more"]);
    assert!(checked.stdout.contains("fold 1: the fold has 1 training case"), "{}", checked.all());
    let run = ["train", "more", "--out", "tiny", "--fold", "1"];
    f.refused(&run, 1, &["1 training case", flags[0], flags[1]]);
    assert!(!f.path("tiny").exists());
}

#[test]
fn a_patch_that_no_training_can_have_is_refused_before_any_case_is_read() {
    let f = Folder::new();
    f.demo("heart", 4);
    let before = f.list(".");
    for command in [&["train", "data", "--out", "run"][..], &["plan", "data", "--no-forecast"]] {
        let memory =
            ["--patch", "64,64,64", "--features", "4", "--levels", "2", "--memory", "9MiB"];
        f.refused(&[command, &memory].concat(), 2, &["--memory 9 MiB", "would fit"]);
        let levels = ["--patch", "16,16,16", "--features", "4", "--levels", "5"];
        f.refused(&[command, &levels].concat(), 2, &["--levels 5"]);
        assert_eq!(f.list("."), before, "{command:?}");
    }
}
