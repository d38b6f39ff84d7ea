//! Trainings that are interrupted, killed or out of disk space go on to the bits that they would
//! have come to.
#![cfg(unix)]

mod common_cli;
#[path = "support/require.rs"]
mod require;

use asng_wgpu::run::{State, find_state, read_weights, state_paths, write_state};
use common_cli::Folder;
use common_cli::running::{Running, assert_same, latest, ok, refused, tiny};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What makes a command line heed the permissions of a folder that this user may not write to:
/// nothing; or, for the superuser, the program that gives up the right to pass over them.
fn heeding_permissions(closed: &Path) -> Option<&'static str> {
    let heeds = |prefix: &str| {
        let script = format!("{prefix}mktemp -d \"$0/XXXXXX\"");
        let mut shell = Command::new("sh");
        let out = shell.args(["-c", &script]).arg(closed).env("LC_ALL", "C").output().unwrap();
        String::from_utf8_lossy(&out.stderr).contains("Permission denied")
    };
    ["", "setpriv --bounding-set=-dac_override "].into_iter().find(|prefix| heeds(prefix))
}

/// Interrupts a training within an epoch; gives the command that it says to go on with.
fn interrupt(folder: &Folder, command: &str, signal: &str, after: &[&str]) -> String {
    let mut running = Running::start(folder, command);
    running.wait_for(after);
    running.signal(signal);
    let ended = running.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    let (_, command) = ended.stderr.split_once("go on with: ").expect("a command");
    assert!(command.contains("--resume"), "{command}");
    command.trim().to_owned()
}

/// The same training without an interruption, in `whole/run`; and where the other one goes.
fn whole(folder: &Folder, more: &str) -> (PathBuf, PathBuf) {
    folder.demo("heart", 5);
    ok(folder, &tiny("whole/run", more));
    (folder.path("whole/run"), folder.path("parts/run"))
}

#[test]
fn an_interrupted_search_goes_on_to_the_same_bits() {
    let folder = Folder::new();
    let (whole, parts) = whole(&folder, "");
    let first = tiny("parts/run", "");
    let again = interrupt(&folder, &first, "-INT", &["epoch 1/4"]);
    refused(&folder, &first, 1, &["checkpoint_last", "--resume"]);
    // The second time where the search is over.
    let again = interrupt(&folder, &again, "-TERM", &["epoch 3/4"]);
    let said = ok(&folder, &again);
    assert!(said.contains("going on from"), "{said}");
    assert_same(&whole, &parts, 0);
    let finished = ok(&folder, &again);
    assert!(finished.contains("trained already"), "{finished}");
}

#[test]
fn an_interrupted_training_without_a_search_goes_on_to_the_same_bits() {
    let folder = Folder::new();
    let more = "--searcher default --optimizer sgd --lr 0.01";
    let (whole, parts) = whole(&folder, more);
    let again = interrupt(&folder, &tiny("parts/run", more), "-INT", &["epoch 1/4"]);
    ok(&folder, &again);
    assert_same(&whole, &parts, 0);
}

#[test]
fn policy_gradients_with_a_step_by_each_candidate_go_on_to_the_same_bits() {
    let folder = Folder::new();
    let more =
        "--searcher reinforce --candidate-updates each --search-batches 2 --search-share 0.5";
    let (whole, parts) = whole(&folder, more);
    let again = interrupt(&folder, &tiny("parts/run", more), "-INT", &["epoch 2/4"]);
    let other = again.replace("--search-batches 2", "--search-batches 3");
    refused(&folder, &other, 2, &["--search-batches"]);
    ok(&folder, &again);
    assert_same(&whole, &parts, 0);
}

#[test]
fn a_training_that_is_killed_again_and_again_goes_on_to_the_same_bits() {
    let folder = Folder::new();
    let more = "--search-mode paper";
    let (whole, parts) = whole(&folder, more);
    let command = tiny("parts/run", &format!("{more} --resume"));
    let mut killed = 0;
    let mut wait = Duration::from_millis(300);
    loop {
        let mut running = Running::start(&folder, &command);
        std::thread::sleep(wait);
        if running.child.try_wait().unwrap().is_some() {
            let ended = running.end();
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            break;
        }
        running.child.kill().unwrap();
        running.end();
        killed += 1;
        wait += Duration::from_millis(170);
        // Whatever is there is whole.
        let fold = parts.join("fold_0");
        for name in ["last", "previous", "best", "final"] {
            let path = fold.join(format!("checkpoint_{name}.safetensors"));
            if path.exists() {
                read_weights(&path).unwrap();
            }
        }
        let policy = fold.join("policy.json");
        if policy.exists() {
            serde_json::from_slice::<Value>(&std::fs::read(policy).unwrap()).unwrap();
        }
    }
    assert!(killed > 0, "nothing was killed");
    assert_same(&whole, &parts, 0);
}

#[test]
fn a_damaged_state_a_stray_file_and_torn_lines_do_no_harm() {
    let folder = Folder::new();
    let (whole, parts) = whole(&folder, "");
    let again = interrupt(&folder, &tiny("parts/run", ""), "-INT", &["epoch 2/4"]);
    let [last, previous] = state_paths(&parts, 0);
    let bytes = std::fs::read(&last).unwrap();
    std::fs::write(&last, &bytes[..bytes.len() / 2]).unwrap();
    let fold = parts.join("fold_0");
    std::fs::write(fold.join(".writing-Ab1.tmp"), &bytes[..99]).unwrap();
    for name in ["metrics.jsonl", "policy.jsonl"] {
        let mut file = std::fs::OpenOptions::new().append(true).open(fold.join(name)).unwrap();
        file.write_all(b"{\"epoch\":3,\"lo").unwrap();
    }
    // The damaged file is named to whoever predicts with it, too.
    let predict = format!(
        "{} predict -m parts/run --checkpoint last -i data/imagesTs -o out",
        assert_cmd::cargo::cargo_bin("asng-wgpu").display()
    );
    refused(&folder, &predict, 1, &["checkpoint_last"]);
    let said = ok(&folder, &again);
    let names = ["warning", &last.file_name().unwrap().to_string_lossy(), "is damaged"];
    assert!(names.iter().all(|word| said.contains(word)), "{said}");
    assert!(previous.exists());
    assert_same(&whole, &parts, 0);
}

#[test]
fn flags_folders_and_states_that_do_not_fit_are_refused() {
    let folder = Folder::new();
    let (_, parts) = whole(&folder, "");
    let again = interrupt(&folder, &tiny("parts/run", ""), "-INT", &["epoch 1/4"]);
    let wrong: &[(&str, i32, &[&str])] = &[
        ("--lr 0.01", 2, &["with --lr 3e-4; this has --lr 1e-2"]),
        ("--searcher default", 2, &["with --searcher asng; this has --searcher default"]),
        ("--search-mode paper", 2, &["--search-mode"]),
        ("--batch-size 1", 2, &["with --batch-size 2; this has --batch-size 1"]),
        ("--no-mirror", 2, &["--no-mirror"]),
    ];
    for (more, code, words) in wrong {
        refused(&folder, &format!("{again} {more}"), *code, words);
    }
    refused(
        &folder,
        &again.replace("--epochs 4", "--epochs 9"),
        2,
        &["with --epochs 4; this has --epochs 9"],
    );
    let few = "[[variables]]\nname = \"p_gamma\"\nlow = 0.0\nhigh = 1.0\ncount = 3\n";
    std::fs::write(folder.path("space.toml"), few).unwrap();
    refused(&folder, &format!("{again} --space space.toml"), 1, &["--space"]);
    refused(&folder, &tiny("x", "").replace("--out x", "--resume"), 2, &["--out"]);
    std::fs::write(folder.path("file"), "").unwrap();
    refused(&folder, &tiny("file/run", "--resume"), 1, &["file/run"]);
    let closed = folder.path("closed");
    std::fs::create_dir(&closed).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o555);
    std::fs::set_permissions(&closed, mode).unwrap();
    if let Some(prefix) = require::need("permissions", heeding_permissions(&closed)) {
        refused(&folder, &format!("{prefix}{}", tiny("closed/run", "--resume")), 1, &["closed"]);
    }
    // Written by another version of the program: said, and gone on with.
    let found = find_state(&parts, 0, &mut |_| ()).unwrap().unwrap();
    let mut record: Value = serde_json::from_str(&found.state.record).unwrap();
    record["conditions"]["program"] = "0.0.7".into();
    let state = State { record: record.to_string(), ..found.state };
    write_state(&parts, 0, &found.net, &state, 1).unwrap();
    let mut running = Running::start(&folder, &again);
    running.wait_for(&["warning", "0.0.7"]);
    running.wait_for(&["epoch 2/4"]);
    // Stopped, it neither ends nor trains on.
    running.signal("-STOP");
    refused(&folder, &again, 1, &["another training"]);
    running.child.kill().unwrap();
    running.end();
    // Weights without a state, as before there were states.
    let [last, _] = state_paths(&parts, 0);
    asng_wgpu::run::write_checkpoint(&last, &found.net, &state.weights, 1).unwrap();
    refused(&folder, &again, 1, &["checkpoint_last", "older version", "--out"]);
}

#[test]
fn resuming_begins_what_has_no_state_and_validates_what_is_trained() {
    let folder = Folder::new();
    let (whole, parts) = whole(&folder, "");
    let said = ok(&folder, &tiny("parts/run", "--resume"));
    assert!(said.contains("begins anew"), "{said}");
    assert_same(&whole, &parts, 0);
    let validating = tiny("parts/run", "--resume").replace("--no-validate", "");
    let said = ok(&folder, &validating);
    assert!(said.contains("predicting 1 validation cases"), "{said}");
    assert!(parts.join("fold_0/validation/summary.json").exists());
    assert!(ok(&folder, &validating).contains("trained already"));
    assert_same(&whole, &parts, 0);
    let summary = folder.bytes("parts/run/fold_0/validation/summary.json");
    let forget = || std::fs::remove_dir_all(parts.join("fold_0/validation")).unwrap();
    forget();
    refused(&folder, &format!("{validating} --lr 0.1"), 2, &["--lr"]);
    // The final weights alone are enough, and the logs stay.
    state_paths(&parts, 0).iter().for_each(|path| std::fs::remove_file(path).unwrap());
    let log = folder.bytes("parts/run/fold_0/metrics.jsonl");
    ok(&folder, &validating);
    assert!(folder.bytes("parts/run/fold_0/validation/summary.json") == summary);
    assert!(folder.bytes("parts/run/fold_0/metrics.jsonl") == log);
    forget();
    let other = validating.replace("--features 4", "--features 8");
    refused(&folder, &other, 2, &["--features 4; this has --features 8"]);
}

#[test]
fn all_folds_go_on_where_one_was_interrupted() {
    let folder = Folder::new();
    folder.demo("heart", 5);
    let names: Vec<String> = (1..=5).map(|n| format!("heart_{n:03}")).collect();
    let split = |at: usize| serde_json::json!({"train": names[..at], "val": names[at..]});
    let splits = serde_json::json!([split(4), split(3)]).to_string();
    std::fs::write(folder.path("splits.json"), splits).unwrap();
    let all = "--splits splits.json --fold all";
    ok(&folder, &tiny("whole/run", all));
    let mut running = Running::start(&folder, &tiny("parts/run", all));
    running.wait_for(&["fold 1"]);
    running.wait_for(&["epoch 1/4"]);
    running.signal("-INT");
    let ended = running.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    let (_, again) = ended.stderr.split_once("go on with: ").unwrap();
    let said = ok(&folder, again.trim());
    assert!(said.contains("fold 0 is trained already"), "{said}");
    for fold in [0, 1] {
        assert_same(&folder.path("whole/run"), &folder.path("parts/run"), fold);
    }
}

/// A bound on the size of files stands for a full disk: the write of the state fails half way.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_that_leaves_the_earlier_state() {
    let folder = Folder::new();
    let (whole, parts) = whole(&folder, "");
    let mut running =
        Running::start(&folder, &format!("sh -c \"trap '' XFSZ; exec {}\"", tiny("parts/run", "")));
    running.wait_for(&["epoch 1/4"]);
    let id = running.child.id().to_string();
    let limited = Command::new("prlimit").args(["--fsize=60000", "--pid", &id]).status().ok();
    let Some(limited) = require::need("prlimit", limited) else {
        running.child.kill().unwrap();
        running.end();
        return;
    };
    assert!(limited.success());
    let ended = running.end();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let words = ["cannot write", "checkpoint_last", "space"];
    assert!(words.iter().all(|word| ended.stderr.contains(word)), "{}", ended.stderr);
    latest(&parts, 0);
    ok(&folder, &tiny("parts/run", "--resume"));
    assert_same(&whole, &parts, 0);
}
