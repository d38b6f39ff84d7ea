//! A run folder holds folds of one data set, one split and one set of flags; whatever else is
//! trained into it is refused before anything of it changes.
#![cfg(unix)]

mod common_cli;

use asng_wgpu::data::nifti::{read_image, read_labels, write_image, write_labels};
use asng_wgpu::run::RunLock;
use common_cli::Folder;
use common_cli::running::{Running, assert_same, ok, refused, run, tiny};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A training of one epoch, without a search.
fn plain(out: &str, more: &str) -> String {
    tiny(out, &format!("--searcher default {more}")).replace("--epochs 4", "--epochs 1")
}

/// A training under the flags of [`plain`] on `data` in place of the folder `data`.
fn on(data: &str, command: &str) -> String {
    command.replace("train data ", &format!("train {data} "))
}

/// All files below a folder, hidden ones too, with their content.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files.insert(path.clone(), Vec::new());
                folders.push(path);
            } else {
                files.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Fails unless a command is refused and leaves a folder byte for byte as it was.
fn refused_untouched(folder: &Folder, run: &str, command: &str, code: i32, words: &[&str]) {
    let before = snapshot(&folder.path(run));
    refused(folder, command, code, words);
    let after = snapshot(&folder.path(run));
    let names = |of: &BTreeMap<PathBuf, Vec<u8>>| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after), "{command}");
    for (path, content) in &before {
        assert!(after[path] == *content, "{} changed by {command}", path.display());
    }
}

/// Gives one voxel of a case's label map another label.
fn change_label(path: &Path) {
    let mut map = read_labels(path).unwrap();
    let voxel = map.labels.iter().position(|&label| label == 1).unwrap();
    map.labels[voxel] = 0;
    write_labels(path, &map.labels, map.shape, &map.header).unwrap();
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn folds_with_other_flags_data_or_splits_are_refused_and_change_nothing() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    ok(&folder, &plain("runs/a", "--lr 3e-3"));
    let first = plain("runs/a", "--fold 1 --lr 3e-3");
    let with = |more: &str| format!("{first} {more}");
    let replaced = |from: &str, to: &str| first.replace(from, to);
    let flags: &[(String, &[&str])] = &[
        (
            replaced("--lr 3e-3", "--lr 3e-2"),
            &["runs/a' was trained with --lr 3e-3; this has --lr 3e-2"],
        ),
        (
            replaced("--searcher default", "--searcher none"),
            &["trained with --searcher default; this has --searcher none"],
        ),
        (replaced("--seed 5", "--seed 6"), &["trained with --seed 5; this has --seed 6"]),
        (replaced("--epochs 1", "--epochs 2"), &["--epochs 1; this has --epochs 2"]),
        (
            replaced("--patch 16,16,16", "--patch 8,16,16").replace("3e-3", "1e-4"),
            &["with --lr 3e-3, --patch 16,16,16; this has --lr 1e-4, --patch 8,16,16"],
        ),
        (with("--batch-dice"), &["with no --batch-dice; this has --batch-dice"]),
        (with("--no-mirror"), &["--no-mirror"]),
        (with("--optimizer sgd"), &["--optimizer adam; this has --optimizer sgd"]),
        (
            with("--interpolation cubic"),
            &["--interpolation linear; this has --interpolation cubic"],
        ),
        (with("--spacing 2,2,2"), &["--spacing 2,2,2"]),
        (with("--reorient ras"), &["--reorient ras"]),
    ];
    for (command, words) in flags {
        refused_untouched(&folder, "runs/a", command, 2, words);
        refused_untouched(&folder, "runs/a", &format!("{command} --resume"), 2, words);
    }
    // Flags and data at once: both are named.
    folder.demo_as("prostate", 5, "other");
    let both = on("other", &replaced("--lr 3e-3", "--lr 3e-2"));
    refused_untouched(&folder, "runs/a", &both, 2, &["--lr 3e-3", "its channels were"]);
    refused_untouched(&folder, "runs/a", &on("other", &first), 1, &["its channels were"]);

    // The same names, with other content: by its hash.
    let path = folder.path("data/labelsTr/heart_002.nii.gz");
    let label = std::fs::read(&path).unwrap();
    change_label(&path);
    let words = ["the label map of heart_002 has changed", "--out"];
    refused_untouched(&folder, "runs/a", &first, 1, &words);
    std::fs::write(&path, label).unwrap();
    let splits = |folds: &[(&[&str], &[&str])]| {
        let folds: Vec<Value> = folds
            .iter()
            .map(|(train, val)| serde_json::json!({"train": train, "val": val}))
            .collect();
        std::fs::write(folder.path("splits.json"), Value::Array(folds).to_string()).unwrap();
    };
    splits(&[(&["heart_001"], &["heart_002"]), (&["heart_002"], &["heart_001"])]);
    let split = with("--splits splits.json");
    refused_untouched(&folder, "runs/a", &split, 1, &["its split had 5 folds, this has 2 folds"]);
    // Fewer cases.
    std::fs::rename(folder.path("data/dataset.json"), folder.path("dataset.json")).unwrap();
    let mut dataset = json(&folder.path("dataset.json"));
    dataset["training"].as_array_mut().unwrap().pop();
    std::fs::write(folder.path("data/dataset.json"), dataset.to_string()).unwrap();
    refused_untouched(&folder, "runs/a", &first, 1, &["1 case is missing (heart_005)"]);
    std::fs::rename(folder.path("dataset.json"), folder.path("data/dataset.json")).unwrap();

    // What no result depends on may differ, and each fold has a record of its own.
    std::fs::rename(folder.path("data"), folder.path("moved")).unwrap();
    let common = folder.bytes("runs/a/config.json");
    ok(&folder, &on("moved", &with("--threads 1 --host-memory 1GiB --strict")));
    assert!(folder.bytes("runs/a/config.json") == common, "the common record was replaced");
    let records = [0, 1].map(|fold| json(&folder.path(&format!("runs/a/fold_{fold}/config.json"))));
    assert_eq!(records[0]["training"]["fold"], 0);
    assert_eq!(records[1]["training"]["fold"], 1);
    assert_eq!(records[1]["dataset"]["dir"], "moved");
    assert_eq!(records[0]["plan"], records[1]["plan"]);
    let program = records[0]["program"].as_str().unwrap();
    let version = folder.ok(&["--version"]).stdout;
    assert_eq!(version.trim(), format!("asng-wgpu {program}"));
}

#[test]
fn a_refused_first_training_leaves_no_run() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    let wrong = [
        ("--device none-of-these", "--device"),
        ("--fold 9", "--fold 9"),
        ("--memory 1MiB", "--patch"),
    ];
    for (more, word) in wrong {
        let ended = run(&folder, &plain("runs/a", more));
        assert!(ended.code == Some(1) || ended.code == Some(2), "{more}: {}", ended.stderr);
        assert!(ended.stderr.contains(word), "{more}: {}", ended.stderr);
        assert!(!folder.path("runs").exists(), "{more} left something behind");
    }
    // Found while the cases are prepared, into a cache in the run's folder.
    let path = folder.path("data/imagesTr/heart_004.nii.gz");
    let image = std::fs::read(&path).unwrap();
    std::fs::write(&path, &image[..image.len() / 2]).unwrap();
    refused(&folder, &plain("runs/a", ""), 1, &["heart_004"]);
    assert!(!folder.path("runs").exists());
    // A training that only began, without a state, does not stand in the way of another one.
    std::fs::create_dir_all(folder.path("runs/a/fold_0")).unwrap();
    std::fs::write(folder.path("runs/a/fold_0/metrics.jsonl"), "").unwrap();
    refused_untouched(&folder, "runs/a", &plain("runs/a", ""), 1, &["heart_004"]);
    std::fs::write(&path, image).unwrap();
    ok(&folder, &plain("runs/a", ""));
}

#[test]
fn an_interrupted_training_goes_on_with_the_same_data_alone_wherever_they_lie() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    ok(&folder, &tiny("whole/run", ""));
    let mut running = Running::start(&folder, &tiny("parts/run", ""));
    running.wait_for(&["epoch 1/4"]);
    running.signal("-INT");
    assert_eq!(running.end().code, Some(130));
    let again = tiny("parts/run", "--resume");
    for (part, what) in [("labelsTr", "label map"), ("imagesTr", "image")] {
        let path = folder.path(&format!("data/{part}/heart_003.nii.gz"));
        let content = std::fs::read(&path).unwrap();
        if part == "labelsTr" {
            change_label(&path);
        } else {
            // One brighter voxel.
            let mut image = read_image(&path).unwrap();
            image.data[0] += 1.0;
            write_image(&path, &image.data, 1, image.shape, &image.header).unwrap();
        }
        let words = ["fold 0 of 'parts/run'", &format!("the {what} of heart_003 has changed")];
        refused_untouched(&folder, "parts/run", &again, 1, &words);
        std::fs::write(&path, content).unwrap();
    }
    // Another split of the same cases.
    let split = json(&folder.path("parts/run/config.json"))["split"].clone();
    let mut moved = split.clone();
    let case = moved[0]["val"][0].take();
    moved[0]["val"][0] = moved[0]["train"][0].take();
    moved[0]["train"][0] = case;
    std::fs::write(folder.path("splits.json"), moved.to_string()).unwrap();
    let other = format!("{again} --splits splits.json");
    refused_untouched(&folder, "parts/run", &other, 1, &["fold 0 of the split has other cases"]);
    // The same split, from a file; the same data, elsewhere and without a name of its own.
    std::fs::write(folder.path("splits.json"), split.to_string()).unwrap();
    std::fs::rename(folder.path("data"), folder.path("elsewhere")).unwrap();
    ok(&folder, &on("elsewhere", &other));
    assert_same(&folder.path("whole/run"), &folder.path("parts/run"), 0);
}

#[test]
fn a_data_set_without_a_name_may_move() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    let path = folder.path("data/dataset.json");
    let mut dataset = json(&path);
    dataset.as_object_mut().unwrap().remove("name");
    std::fs::write(&path, dataset.to_string()).unwrap();
    let mut running = Running::start(&folder, &tiny("run", ""));
    running.wait_for(&["epoch 1/4"]);
    running.signal("-INT");
    assert_eq!(running.end().code, Some(130));
    std::fs::rename(folder.path("data"), folder.path("moved")).unwrap();
    ok(&folder, &on("moved", &tiny("run", "--resume")));
}

#[test]
fn a_finished_fold_is_not_extended_and_no_flag_is_ignored() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    ok(&folder, &plain("run", ""));
    let again = plain("run", "--resume");
    let said = ok(&folder, &again);
    assert!(said.contains("fold 0 is trained already"), "{said}");
    let longer = again.replace("--epochs 1", "--epochs 3");
    let words = ["with --epochs 1; this has --epochs 3", "cannot be extended", "--out"];
    refused_untouched(&folder, "run", &longer, 2, &words);
    refused_untouched(&folder, "run", &format!("{again} --lr 0.5"), 2, &["--lr 3e-4", "--lr 0.5"]);
    // The states are not needed for it.
    for name in ["last", "previous", "best"] {
        let _ =
            std::fs::remove_file(folder.path(&format!("run/fold_0/checkpoint_{name}.safetensors")));
    }
    refused_untouched(&folder, "run", &longer, 2, &words);
    let all = plain("run", "--fold all").replace("--epochs 1", "--epochs 3");
    refused_untouched(&folder, "run", &all, 2, &["--epochs 1; this has --epochs 3"]);
    // Without --resume, too.
    refused_untouched(&folder, "run", &plain("run", ""), 1, &["trained already"]);
    refused_untouched(
        &folder,
        "run",
        &plain("run", "--clip 0"),
        2,
        &["--clip 12; this has --clip 0"],
    );
}

#[test]
fn runs_of_earlier_versions_are_read_and_guarded() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    ok(&folder, &plain("run", ""));
    // As it was written before folds had records.
    let path = folder.path("run/config.json");
    let mut config = json(&path);
    for key in ["data_folder", "cases", "digests"] {
        assert!(config.as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    std::fs::write(&path, config.to_string()).unwrap();
    std::fs::remove_file(folder.path("run/fold_0/config.json")).unwrap();
    let first = plain("run", "--fold 1");
    refused_untouched(&folder, "run", &format!("{first} --lr 0.5"), 2, &["--lr 3e-4"]);
    assert!(ok(&folder, &plain("run", "--resume")).contains("trained already"));
    ok(&folder, &first);
    assert_eq!(json(&path), config);
    let page = folder.ok(&["report", "run"]);
    assert_eq!(page.stdout.lines().count(), 4);
    let predict = ["predict", "-m", "run", "-i", "data/imagesTr", "-o", "out", "--no-tta"];
    assert!(folder.ok(&predict).stderr.contains("folds 0, 1"));
}

#[test]
fn a_process_that_is_just_ending_is_waited_for() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    std::fs::create_dir_all(folder.path("run/fold_0")).unwrap();
    let lock = RunLock::acquire(&folder.path("run/fold_0"), &mut |_| ()).unwrap();
    let mut running = Running::start(&folder, &plain("run", ""));
    running.wait_for(&["waiting", "run/fold_0"]);
    std::thread::sleep(Duration::from_millis(300));
    drop(lock);
    let ended = running.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("waiting").count(), 1, "{}", ended.stderr);
}

#[test]
fn two_folds_that_train_at_the_same_time_share_their_flags() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    let long = plain("run", "").replace("--iterations 10", "--iterations 100000");
    let mut running = Running::start(&folder, &long);
    running.wait_for(&["MiB of device memory"]);
    let other = long.replace("--seed 5", "--fold 1 --seed 6");
    refused(&folder, &other, 2, &["--seed 5; this has --seed 6"]);
    assert!(!folder.path("run/fold_1").exists());
    running.child.kill().unwrap();
    running.end();
    // Nothing was trained: the flags are free again.
    ok(&folder, &plain("run", "--fold 1").replace("--seed 5", "--seed 6"));
}

#[test]
fn one_network_on_all_cases() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    let full = tiny("run", "--fold full").replace("--no-validate", "");
    refused(&folder, &format!("{full} --search-val fold"), 1, &["--search-val"]);
    assert!(!folder.path("run").exists());
    // The search sets cases aside and works as ever; interrupted, it goes on to the same bits.
    let mut running = Running::start(&folder, &full);
    running.wait_for(&["fold full trains on 5 cases", "no validation"]);
    running.wait_for(&["epoch 2/4"]);
    running.signal("-INT");
    let ended = running.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    refused(&folder, &full, 1, &["fold_full", "--resume"]);
    ok(&folder, &format!("{full} --resume"));
    assert!(ok(&folder, &format!("{full} --resume")).contains("fold full is trained already"));
    ok(&folder, &full.replace("--out run", "--out whole"));
    let log =
        |run: &str| common_cli::running::log(&folder.path(run).join("fold_full/policy.jsonl"));
    assert_eq!(log("run"), log("whole"));
    let names = folder.list("run/fold_full");
    assert!(names.iter().any(|n| n == "checkpoint_final.safetensors"), "{names:?}");
    assert!(!names.iter().any(|n| n.contains("best") || n == "validation"), "{names:?}");
    let metrics = folder.bytes("run/fold_full/metrics.jsonl");
    let last: Value =
        serde_json::from_slice(metrics.split(|b| *b == b'\n').rev().nth(1).unwrap()).unwrap();
    assert!(last["val_loss"].is_null() && last["dice"] == serde_json::json!([]), "{last}");

    // Everything that takes folds knows it.
    let predict = ["predict", "-m", "run", "-i", "data/imagesTr", "--no-tta", "-o"];
    let with = |more: &[&str]| folder.run(&[&predict[..], more].concat());
    let alone = with(&["alone"]);
    assert!(alone.code == 0 && alone.stderr.contains("fold full on"), "{}", alone.all());
    folder.ok(&["report", "run", "--fold", "full"]);
    let page = String::from_utf8(folder.bytes("run/fold_full/report.html")).unwrap();
    assert!(page.contains("fold full") && page.contains("without validation"), "{page}");
    assert!(page.contains("no validation cases") && !page.contains("no validation yet"), "{page}");
    assert!(page.contains("5 for training, 0 for validation"));
    folder.ok(&["policy", "show", "run"]);
    folder.ok(&["policy", "show", "run", "--fold", "full"]);
    folder.ok(&["policy", "plot", "run", "--fold", "full", "-o", "plot.svg"]);
    folder.ok(&["policy", "export", "run", "--fold", "full", "--format", "monai"]);
    folder.refused(&["cross-validate", "run"], 1, &["fold 0 is not trained"]);
    // Beside folds of the cross-validation, it is taken where it is named.
    refused(&folder, &full.replace("--fold full", "--fold 0 --lr 0.1"), 2, &["--lr"]);
    ok(&folder, &full.replace("--fold full", "--fold 0"));
    let done = with(&["first"]);
    assert!(done.code == 0 && done.stderr.contains("fold 0 on"), "{}", done.all());
    for (fold, words) in
        [("all", "fold 0 on"), ("full", "fold full on"), ("0,full", "folds 0, full on")]
    {
        let done = with(&[&format!("out-{fold}"), "--fold", fold]);
        assert!(done.code == 0 && done.stderr.contains(words), "{}", done.all());
    }
    folder.refused(&[&predict[..], &["x", "--fold", "all,1"]].concat(), 2, &["--fold all"]);
    folder.refused(&[&predict[..], &["x", "--fold", "some"]].concat(), 2, &["or full, or all"]);
    assert!(folder.run(&["cross-validate", "run"]).stderr.contains("fold 1 is not trained"));
    assert_eq!(folder.ok(&["report", "run"]).stdout.lines().count(), 4);
}

#[test]
fn a_fold_of_a_split_without_validation_cases_trains_without() {
    let folder = Folder::new();
    // A single case has no folds, but a network on all cases.
    folder.demo_as("heart", 1, "one");
    refused(&folder, &on("one", &plain("single", "")), 1, &["at least 2"]);
    ok(&folder, &on("one", &plain("single", "--fold full")));
    folder.demo("heart", 5);
    let names: Vec<String> = (1..=5).map(|n| format!("heart_{n:03}")).collect();
    let splits = serde_json::json!([
        {"train": names[..4], "val": names[4..]},
        {"train": names, "val": []},
    ]);
    std::fs::write(folder.path("splits.json"), splits.to_string()).unwrap();
    let all = plain("run", "--splits splits.json --fold cv").replace("--no-validate", "");
    let said = ok(&folder, &all);
    assert!(said.contains("2 folds") && said.contains("fold 1 trains on 5 cases"), "{said}");
    assert!(said.contains("cross_validation"), "{said}");
    assert!(!said.contains("fold 1 is not"), "{said}");
    assert!(!folder.path("run/fold_1/validation").exists());
    let again = ok(&folder, &format!("{all} --resume"));
    assert!(again.contains("fold 1 is trained already"), "{again}");
    folder.ok(&["cross-validate", "run"]);
    // None at all.
    let splits = serde_json::json!([{"train": names, "val": []}]);
    std::fs::write(folder.path("splits.json"), splits.to_string()).unwrap();
    ok(&folder, &plain("none", "--splits splits.json --fold all"));
    folder.refused(&["cross-validate", "none"], 1, &["no folds with validation cases"]);
}

#[test]
fn a_report_finds_the_data_from_any_folder_and_says_what_it_lacks() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("work")).unwrap();
    std::fs::create_dir(folder.path("elsewhere")).unwrap();
    folder.demo_as("heart", 5, "work/data");
    let at = |place: &str, command: &str| format!("sh -c 'cd {place} && {command}'");
    let train = plain("runs/a", "").replace("--no-validate", "");
    ok(&folder, &at("work", &train));
    let binary = assert_cmd::cargo::cargo_bin("asng-wgpu").display().to_string();
    let page =
        |run: &str| String::from_utf8(folder.bytes(&format!("{run}/fold_0/report.html"))).unwrap();
    let shown = |run: &str| page(run).matches("<img ").count();
    assert_eq!(shown("work/runs/a"), 3);
    let said = ok(&folder, &at("elsewhere", &format!("{binary} report ../work/runs/a")));
    assert_eq!((shown("work/runs/a"), said.as_str()), (3, ""));
    // Moved together, and of a version that knew the relative path alone.
    std::fs::rename(folder.path("work"), folder.path("new")).unwrap();
    ok(&folder, &at("elsewhere", &format!("{binary} report ../new/runs/a")));
    assert_eq!(shown("new/runs/a"), 3);
    // Without the data: said, and the good page stays beside the new one.
    std::fs::rename(folder.path("new/data"), folder.path("gone")).unwrap();
    let report = format!("{binary} report new/runs/a");
    let said = ok(&folder, &report);
    let words = ["warning: fold 0", "is not shown", "--data", "report_earlier.html"];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    let earlier = String::from_utf8(folder.bytes("new/runs/a/fold_0/report_earlier.html")).unwrap();
    assert_eq!((earlier.matches("<img ").count(), shown("new/runs/a")), (3, 0));
    let said = ok(&folder, &report);
    assert!(said.contains("is not shown") && !said.contains("report_earlier"), "{said}");
    let said = ok(&folder, &format!("{report} --data gone"));
    assert_eq!((shown("new/runs/a"), said.as_str()), (3, ""));
    assert!(!folder.path("new/runs/a/fold_0/report_earlier.html").exists());
}

#[test]
fn a_time_limit_is_told_from_an_interruption() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    let long =
        plain("run", "--max-minutes 0.001").replace("--iterations 10", "--iterations 100000");
    let ended = run(&folder, &long);
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    let words = ["time limit reached (--max-minutes 0.001): stopped in epoch 1", "--resume"];
    assert!(words.iter().all(|word| ended.stderr.contains(word)), "{}", ended.stderr);
    assert!(!ended.stderr.contains("interrupted"), "{}", ended.stderr);
    let mut running = Running::start(&folder, &long.replace("--max-minutes 0.001", "--resume"));
    running.wait_for(&["going on from"]);
    running.signal("-INT");
    let ended = running.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(ended.stderr.contains("interrupted in epoch 1"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("time limit"), "{}", ended.stderr);
    assert!(folder.ok(&["train", "--help"]).stdout.contains("time limit reached"));
}
