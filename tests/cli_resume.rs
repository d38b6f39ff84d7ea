//! Trainings that are interrupted, killed or out of disk space go on to the bits that they would
//! have come to.
#![cfg(unix)]

mod common_cli;

use asng_wgpu::run::{State, find_state, read_weights, state_paths, write_state};
use common_cli::Folder;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A training that takes a second, with an epoch in which the search is over.
const TINY: &str = "--patch 16,16,16 --features 4 --levels 2 --epochs 4 --iterations 10 --seed 5 \
                    --no-validate --search-until 0.7 --search-every 3 --val-every 2";

/// `train data --out OUT`, tiny.
fn tiny(out: &str, more: &str) -> String {
    let binary = assert_cmd::cargo::cargo_bin("asng-wgpu");
    format!("{} train data --out {out} {TINY} {more}", binary.display())
}

/// What a command line came to.
struct Ended {
    code: Option<i32>,
    stderr: String,
}

/// A command line under way.
struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStderr>,
    stderr: String,
}

impl Running {
    fn start(folder: &Folder, command: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .current_dir(folder.path("."))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Running { child, lines, stderr: String::new() }
    }

    /// Reads on until a line holds all `words`.
    fn wait_for(&mut self, words: &[&str]) {
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).unwrap();
            self.stderr.push_str(&line);
            assert!(read > 0, "no {words:?} in:\n{}", self.stderr);
            if words.iter().all(|word| line.contains(word)) {
                return;
            }
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    fn end(mut self) -> Ended {
        std::io::Read::read_to_string(&mut self.lines, &mut self.stderr).unwrap();
        Ended { code: self.child.wait().unwrap().code(), stderr: self.stderr }
    }
}

fn run(folder: &Folder, command: &str) -> Ended {
    Running::start(folder, command).end()
}

fn ok(folder: &Folder, command: &str) -> String {
    let ended = run(folder, command);
    assert_eq!(ended.code, Some(0), "{command}\n{}", ended.stderr);
    ended.stderr
}

fn refused(folder: &Folder, command: &str, code: i32, words: &[&str]) {
    let ended = run(folder, command);
    assert_eq!(ended.code, Some(code), "{command}\n{}", ended.stderr);
    assert!(words.iter().all(|w| ended.stderr.contains(w)), "{words:?} in\n{}", ended.stderr);
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

/// The lines of a log without times.
fn log(path: &Path) -> Vec<Value> {
    let mut lines: Vec<Value> = std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for line in &mut lines {
        let times = |key: &str| {
            key.ends_with("seconds")
                || key == "augment_share"
                || key == "policy_share"
                || key.ends_with("_ms")
        };
        line.as_object_mut().unwrap().retain(|key, _| !times(key));
    }
    lines
}

fn latest(run: &Path, fold: usize) -> State {
    let found = find_state(run, fold, &mut |note| panic!("{note}")).unwrap();
    found.expect("a state").state
}

/// Holds a fold of two runs against each other, bit for bit.
fn assert_same(whole: &Path, parts: &Path, fold: usize) {
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let file = |run: &Path, name: &str| run.join(format!("fold_{fold}")).join(name);
    for name in ["checkpoint_final.safetensors", "checkpoint_best.safetensors"] {
        let weights = |run: &Path| bits(&read_weights(&file(run, name)).unwrap().1);
        assert!(weights(whole) == weights(parts), "{name} differs");
    }
    let (a, b) = (latest(whole, fold), latest(parts, fold));
    for ((name, values), (_, others)) in a.moments.iter().zip(&b.moments) {
        assert!(bits(values) == bits(others), "moment {name} differs");
    }
    let searcher = |state: &State| {
        let record: Value = serde_json::from_str(&state.record).unwrap();
        (record["searcher"].clone(), record["steps"].clone())
    };
    assert_eq!(searcher(&a), searcher(&b));
    for name in ["metrics.jsonl", "policy.jsonl"] {
        assert_eq!(log(&file(whole, name)), log(&file(parts, name)), "{name}");
    }
    let policy = |run: &Path| std::fs::read_to_string(file(run, "policy.json")).unwrap();
    assert_eq!(policy(whole), policy(parts));
    let left = std::fs::read_dir(file(parts, "")).unwrap();
    let left: Vec<_> = left.map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|n| n.to_string_lossy().contains(".tmp")), "{left:?}");
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
        ("--lr 0.01", 2, &["--lr (0.0003 then, 0.01 now)"]),
        ("--searcher default", 2, &["--searcher (\"asng\" then, \"default\" now)"]),
        ("--search-mode paper", 2, &["--search-mode"]),
        ("--batch-size 1", 2, &["--batch-size (2 then, 1 now)"]),
        ("--no-mirror", 2, &["--no-mirror"]),
    ];
    for (more, code, words) in wrong {
        refused(&folder, &format!("{again} {more}"), *code, words);
    }
    refused(&folder, &again.replace("--epochs 4", "--epochs 9"), 2, &["--epochs (4 then, 9 now)"]);
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
    // Nothing is closed to the superuser.
    if std::fs::write(closed.join("test"), "").is_err() {
        refused(&folder, &tiny("closed/run", "--resume"), 1, &["closed"]);
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
    refused(&folder, &other, 1, &["checkpoint_final", "plan"]);
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
    match Command::new("prlimit").args(["--fsize=60000", "--pid", &id]).status() {
        Ok(status) => assert!(status.success()),
        Err(_) => {
            eprintln!("skipped: no prlimit");
            running.child.kill().unwrap();
            return;
        }
    }
    let ended = running.end();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let words = ["cannot write", "checkpoint_last", "space"];
    assert!(words.iter().all(|word| ended.stderr.contains(word)), "{}", ended.stderr);
    latest(&parts, 0);
    ok(&folder, &tiny("parts/run", "--resume"));
    assert_same(&whole, &parts, 0);
}
