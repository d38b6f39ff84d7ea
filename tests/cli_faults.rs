//! What goes wrong with devices, disks, files, terminals and data, and what is left then.
#![cfg(unix)]

mod common_cli;
#[path = "support/require.rs"]
mod require;

use asng_wgpu::data::nifti::{read_image, write_image};
use asng_wgpu::run::state_paths;
use common_cli::running::{Running, assert_same, latest, log, ok, refused, run, tiny};
use common_cli::{Folder, run_folder};
use std::path::{Path, PathBuf};
use std::process::Command;

fn binary() -> String {
    assert_cmd::cargo::cargo_bin("asng-wgpu").display().to_string()
}

/// A command line of `sh` in the folder: its exit code, stdout and stderr.
fn shell(folder: &Folder, script: &str) -> (i32, String, String) {
    let script = script.replace("ASNG", &binary());
    let out =
        Command::new("sh").args(["-c", &script]).current_dir(folder.path(".")).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

/// A tiny training whose device misbehaves.
fn faulty(fault: &str, out: &str) -> String {
    format!("env ASNG_WGPU_FAULT={fault} {}", tiny(out, ""))
}

fn going_on(stderr: &str) -> String {
    stderr.split_once("go on with: ").expect("a command").1.lines().next().unwrap().to_owned()
}

#[test]
fn a_lost_device_is_tried_once_more_and_the_result_is_the_same() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    ok(&folder, &tiny("whole/run", ""));
    let whole = folder.path("whole/run");
    // In the first epoch, and later; each with a state in between.
    let said = ok(&folder, &faulty("lost@40,300", "parts/run"));
    assert!(said.contains("begins anew") && said.contains("going on from"), "{said}");
    assert_eq!(said.matches("was lost").count(), 2, "{said}");
    assert_same(&whole, &folder.path("parts/run"), 0);
    // Twice at the same place.
    let ended = run(&folder, &faulty("lost@300,310", "twice/run"));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("lost twice"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    ok(&folder, &going_on(&ended.stderr));
    assert_same(&whole, &folder.path("twice/run"), 0);
}

#[test]
fn memory_that_runs_out_late_and_a_panic_leave_the_last_state() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    ok(&folder, &tiny("whole/run", ""));
    let ended = run(&folder, &faulty("memory@300", "memory/run"));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    for word in ["ran out of memory", "--patch", "close other programs"] {
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
    }
    latest(&folder.path("memory/run"), 0);
    let ended = run(&folder, &faulty("panic@300", "panic/run"));
    assert_eq!(ended.code, Some(101), "{}", ended.stderr);
    let words = ["a fault of asng-wgpu", "version ", "adapter ", "panic/run/fold_0", "Go on with"];
    for word in words.into_iter().chain(["checkpoint_last", "--out panic/run"]) {
        assert!(ended.stderr.contains(word), "{word} in\n{}", ended.stderr);
    }
    // The lock is free, and nothing is lost.
    let (_, command) = ended.stderr.split_once("Go on with: ").unwrap();
    ok(&folder, command.trim());
    assert_same(&folder.path("whole/run"), &folder.path("panic/run"), 0);
}

#[test]
fn values_that_are_no_numbers_are_named_by_every_command() {
    let folder = Folder::new();
    folder.demo("heart", 3);
    let run = run_folder(&folder.path("run"), &folder.path("data"), &[0], [16; 3]);
    let path = folder.path("data/imagesTr/heart_002.nii.gz");
    let mut image = read_image(&path).unwrap();
    for value in [f32::NAN, f32::INFINITY] {
        image.data[7] = value;
        write_image(&path, &image.data, image.channels, image.shape, &image.header).unwrap();
        let words = ["heart_002.nii.gz", "(x 7, y 0, z 0)", "finite"];
        folder.refused(&["train", "data", "--patch", "16,16,16", "--out", "x"], 1, &words);
        folder.refused(&["plan", "data"], 1, &words);
        folder.refused(&["augment", "data", "--case", "heart_002", "-o", "y"], 1, &words);
        let image = "data/imagesTr/heart_002.nii.gz";
        folder.refused(&["predict", "-m", &run, "-i", image, "-o", "z"], 1, &words);
        let done = folder.run(&["check", "data"]);
        assert_eq!(done.code, 1, "{}", done.all());
        assert!(done.stdout.contains("has 1 voxel of NaN or infinity"), "{}", done.all());
    }
}

#[test]
fn steps_that_stay_without_a_number_stop_the_run_with_advice() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    let command = tiny("run", "--lr 1e36 --clip 0").replace("--iterations 10", "--iterations 30");
    refused(&folder, &command, 1, &["20 steps in a row", "--lr"]);
    // Extreme but finite intensities are data.
    let path = folder.path("data/imagesTr/heart_002.nii.gz");
    let mut image = read_image(&path).unwrap();
    image.data.iter_mut().step_by(5).for_each(|v| *v = 3e38);
    image.data.iter_mut().step_by(7).for_each(|v| *v = -3e38);
    write_image(&path, &image.data, image.channels, image.shape, &image.header).unwrap();
    ok(&folder, &tiny("extreme", ""));
    let lines = log(&folder.path("extreme/fold_0/metrics.jsonl"));
    assert!(lines.iter().all(|l| l["loss"].is_number() && l["skipped"] == 0), "{lines:?}");
}

/// A training that reads its cases from the cache as it needs them, in the middle of which a file
/// vanishes.
fn with_a_vanishing_case(folder: &Folder, out: &str, more: &str) -> Running {
    let command = tiny(out, &format!("--host-memory 1 --searcher default {more}"));
    let mut running = Running::start(folder, &command.replace("--epochs 4", "--epochs 30"));
    running.wait_for(&["epoch 1/"]);
    let files = std::fs::read_dir(folder.path(out).join("cache")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "safetensors"));
    files.sort();
    // The first case trains in this fold: the last one validates.
    let log = std::fs::read_to_string(folder.path(out).join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&log).unwrap();
    let case = config["split"][0]["train"][0].as_str().unwrap().to_owned();
    let of_case = |f: &&PathBuf| f.file_name().unwrap().to_string_lossy().starts_with(&case);
    std::fs::remove_file(files.iter().find(of_case).unwrap()).unwrap();
    running
}

#[test]
fn a_case_that_vanishes_is_left_out_and_named_once() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    let ended = with_a_vanishing_case(&folder, "runs/a", "").end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("left out from here on").count(), 1, "{}", ended.stderr);
    let lines = log(&folder.path("runs/a/fold_0/metrics.jsonl"));
    assert_eq!(lines[0]["unreadable"], 0);
    assert_eq!(lines.last().unwrap()["unreadable"], 1);
    // It stays out when the training goes on, although it can be prepared again.
    let mut running = with_a_vanishing_case(&folder, "runs/b", "");
    running.wait_for(&["left out from here on"]);
    running.wait_for(&["epoch"]);
    running.signal("-INT");
    let ended = running.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    let mut again = Running::start(&folder, &going_on(&ended.stderr));
    again.wait_for(&["going on from"]);
    again.wait_for(&["epoch"]);
    again.signal("-TERM");
    let ended = again.end();
    assert!(!ended.stderr.contains("left out from here on"), "{}", ended.stderr);
    let lines = log(&folder.path("runs/b/fold_0/metrics.jsonl"));
    assert_eq!(lines.last().unwrap()["unreadable"], 1);
    let ended = with_a_vanishing_case(&folder, "runs/c", "--strict").end();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot be read any more"), "{}", ended.stderr);
}

#[test]
fn a_damaged_cache_is_made_again_and_said() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    let cache = "--cache cache";
    ok(&folder, &tiny("first/run", cache));
    for file in std::fs::read_dir(folder.path("cache")).unwrap() {
        let file = file.unwrap().path();
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).unwrap();
    }
    let said = ok(&folder, &tiny("second/run", cache));
    assert!(said.contains("damaged files in the cache are replaced"), "{said}");
    assert!(said.contains("heart_001") && said.contains("heart_005"), "{said}");
    assert_same(&folder.path("first/run"), &folder.path("second/run"), 0);
    let said = ok(&folder, &tiny("third/run", cache));
    assert!(!said.contains("damaged"), "{said}");
}

#[test]
fn readers_and_terminals_that_go_away_do_no_harm() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    for script in [
        "ASNG devices | head -n 1",
        "ASNG train --help | head -n 1",
        "ASNG completions bash | head -n 1",
        "ASNG policy sample nowhere 2>&1 | head -n 1",
        "ASNG check data --json | true",
        "ASNG devices >&-",
        "ASNG devices >&- 2>&-",
        "ASNG check nowhere 2>&-",
    ] {
        let (_, _, stderr) = shell(&folder, &format!("set -o pipefail 2>/dev/null; {script}"));
        assert!(!stderr.contains("panicked"), "{script}: {stderr}");
    }
    // Nobody hears what a training says.
    let (code, _, _) = shell(&folder, &format!("{} >&- 2>&-", tiny("deaf/run", "")));
    assert_eq!(code, 0);
    let (code, _, _) =
        shell(&folder, &format!("{{ {}; echo $? > code; }} 2>&1 | true", tiny("gone/run", "")));
    assert_eq!(code, 0);
    assert_eq!(folder.bytes("code"), b"0\n");
    assert_same(&folder.path("deaf/run"), &folder.path("gone/run"), 0);
    // A terminal that is closed stops it cleanly, but not under nohup.
    let mut running = Running::start(&folder, &tiny("hangup/run", ""));
    running.wait_for(&["epoch 1/4"]);
    running.signal("-HUP");
    let ended = running.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    ok(&folder, &going_on(&ended.stderr));
    assert_same(&folder.path("deaf/run"), &folder.path("hangup/run"), 0);
    let command = tiny("nohup/run", "").replace('\'', "");
    let mut running = Running::start(&folder, &format!("sh -c \"trap '' HUP; exec {command}\""));
    running.wait_for(&["epoch 1/4"]);
    running.signal("-HUP");
    let ended = running.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// A file system of 32 KiB stands for a full disk, where this user may make one.
#[test]
fn a_full_disk_is_said_by_every_command_that_writes() {
    let folder = Folder::new();
    folder.demo("heart", 3);
    run_folder(&folder.path("run"), &folder.path("data"), &[0], [16; 3]);
    std::fs::create_dir(folder.path("small")).unwrap();
    let on_small_disk = |command: &str| {
        let script = format!("mount -t tmpfs -o size=32k none small && {command}");
        shell(&folder, &format!("unshare -rm sh -c '{script}' || unshare -m sh -c '{script}'"))
    };
    let mounts = (on_small_disk("true").0 == 0).then_some(());
    let Some(()) = require::need("mounts", mounts) else { return };
    let image = "data/imagesTr/heart_001.nii.gz";
    for command in [
        "demo small --cases 2".to_owned(),
        format!("predict -m run -i {image} -o small --save-probabilities --no-tta"),
        format!("augment {image} -o small --count 1"),
        "train data --out small/run --patch 16,16,16 --features 4 --levels 2".to_owned(),
    ] {
        let script = format!("ASNG {command}; echo code $?; ls -aR small");
        let (_, stdout, stderr) = on_small_disk(&script);
        assert!(stdout.contains("code 1"), "{command}: {stdout}{stderr}");
        assert!(stderr.contains("for lack of space"), "{command}: {stderr}");
        assert!(!stderr.contains("panicked"), "{command}: {stderr}");
        assert!(!stdout.contains(".writing-"), "{command}: {stdout}");
    }
}

/// `dataset.json` with other cases.
fn with_cases(data: &Path, key: &str, cases: serde_json::Value) {
    let path = data.join("dataset.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json.as_object_mut().unwrap().remove("training");
    json[key] = cases;
    std::fs::write(&path, json.to_string()).unwrap();
}

#[test]
fn no_text_of_a_data_set_leads_out_of_its_folder() {
    let folder = Folder::new();
    let data = folder.demo("heart", 4);
    folder.demo_as("heart", 4, "outside");
    let absolute = folder.path("outside/imagesTr/heart_001.nii.gz").display().to_string();
    for image in ["../outside/imagesTr/heart_001.nii.gz", "imagesTr/../../outside/x", &absolute] {
        let entry = serde_json::json!([{"image": image, "label": "labelsTr/heart_001.nii.gz"}]);
        with_cases(&data, "training", entry);
        for command in ["train", "check", "plan"] {
            let done = folder.run(&[command, "data"]);
            assert_eq!(done.code, 1, "{}", done.all());
            let all = done.stderr.clone() + &done.stdout;
            assert!(all.contains("leaves the folder"), "{}", done.all());
        }
    }
    for name in ["../../evil", "/tmp/evil", "..", "a/b", "", "nul\u{0}x"] {
        let file = |kind: &str, n: usize| format!("{kind}Tr/heart_{n:03}.nii.gz");
        let case =
            |n| serde_json::json!({"images": [file("images", n)], "label": file("labels", n)});
        with_cases(
            &data,
            "dataset",
            serde_json::json!({"good": case(1), "fine": case(2), name: case(3)}),
        );
        folder.refused(&["train", "data", "--out", "deep/er/run"], 1, &["rename"]);
        let done = folder.run(&["check", "data"]);
        assert!(done.code == 1 && done.stdout.contains("rename"), "{}", done.all());
        assert!(!folder.path("deep").exists());
    }
    // Links that the user made are followed: they say what the user meant.
    let linked = folder.path("linked");
    std::fs::create_dir(&linked).unwrap();
    let outside = folder.path("outside");
    for name in ["imagesTr", "labelsTr", "dataset.json"] {
        std::os::unix::fs::symlink(outside.join(name), linked.join(name)).unwrap();
    }
    folder.ok(&["check", "linked"]);
}

#[test]
fn the_time_that_is_given_ends_a_training_with_a_state() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    ok(&folder, &tiny("whole/run", ""));
    let mut command = tiny("parts/run", "--max-minutes 0.012");
    let mut stops = 0;
    loop {
        let ended = run(&folder, &command);
        if ended.code == Some(0) {
            break;
        }
        assert_eq!(ended.code, Some(130), "{}", ended.stderr);
        command = going_on(&ended.stderr);
        stops += 1;
    }
    assert!(stops > 0);
    assert_same(&folder.path("whole/run"), &folder.path("parts/run"), 0);
    for wrong in ["0", "-1", "NaN", "1e300"] {
        refused(&folder, &tiny("x", &format!("--max-minutes={wrong}")), 2, &["--max-minutes"]);
    }
}

#[test]
fn threads_and_where_cases_are_held_change_no_bit() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    ok(&folder, &tiny("a/run", "--threads 1"));
    ok(&folder, &tiny("b/run", "--threads 2"));
    ok(&folder, &tiny("c/run", "--host-memory 1"));
    assert_same(&folder.path("a/run"), &folder.path("b/run"), 0);
    assert_same(&folder.path("a/run"), &folder.path("c/run"), 0);
    folder.refused(&["train", "data", "--threads", "100000"], 2, &["--threads"]);
}

#[test]
fn a_run_of_another_version_is_named() {
    let folder = Folder::new();
    folder.demo("heart", 3);
    let run = run_folder(&folder.path("run"), &folder.path("data"), &[0], [16; 3]);
    let path = folder.path("run/config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let predict = ["predict", "-m", &run, "-i", "data/imagesTr", "-o", "out"];
    for (version, word) in [("\"version\": 0", "version 0"), ("\"older\": 1", "no version")] {
        std::fs::write(&path, text.replace("\"version\": 1", version)).unwrap();
        folder.refused(&predict, 1, &["config.json", word, "train again"]);
        folder.refused(&["policy", "export", &run, "--format", "monai"], 1, &["run"]);
    }
}

/// Neither the names nor the order of states depend on the clock.
#[test]
fn a_clock_that_goes_back_changes_nothing() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    ok(&folder, &tiny("whole/run", ""));
    let mut running = Running::start(&folder, &tiny("parts/run", ""));
    running.wait_for(&["epoch 2/4"]);
    running.signal("-INT");
    let ended = running.end();
    let [last, previous] = state_paths(&folder.path("parts/run"), 0);
    let touch = |path: &Path, date: &str| {
        let status = Command::new("touch").args(["-d", date]).arg(path).status().unwrap();
        assert!(status.success());
    };
    touch(&last, "1990-01-01");
    touch(&previous, "2090-01-01");
    for file in std::fs::read_dir(folder.path("parts/run/cache")).unwrap() {
        touch(&file.unwrap().path(), "2090-01-01");
    }
    ok(&folder, &going_on(&ended.stderr));
    assert_same(&folder.path("whole/run"), &folder.path("parts/run"), 0);
}
