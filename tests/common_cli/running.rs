//! Trainings under way: started, interrupted, waited for, and held against each other.

use super::Folder;
use asng_wgpu::run::{State, find_state, read_weights};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A training that takes a second, with an epoch in which the search is over.
pub const TINY: &str = "--patch 16,16,16 --features 4 --levels 2 --epochs 4 --iterations 10 --seed 5 \
                    --no-validate --search-until 0.7 --search-every 3 --val-every 2";

/// `train data --out OUT`, tiny.
pub fn tiny(out: &str, more: &str) -> String {
    let binary = assert_cmd::cargo::cargo_bin("asng-wgpu");
    format!("{} train data --out {out} {TINY} {more}", binary.display())
}

/// What a command line came to.
pub struct Ended {
    pub code: Option<i32>,
    pub stderr: String,
}

/// A command line under way.
pub struct Running {
    pub child: Child,
    lines: BufReader<std::process::ChildStderr>,
    pub stderr: String,
}

impl Running {
    pub fn start(folder: &Folder, command: &str) -> Self {
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
    pub fn wait_for(&mut self, words: &[&str]) {
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

    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    pub fn end(mut self) -> Ended {
        std::io::Read::read_to_string(&mut self.lines, &mut self.stderr).unwrap();
        Ended { code: self.child.wait().unwrap().code(), stderr: self.stderr }
    }
}

pub fn run(folder: &Folder, command: &str) -> Ended {
    Running::start(folder, command).end()
}

pub fn ok(folder: &Folder, command: &str) -> String {
    let ended = run(folder, command);
    assert_eq!(ended.code, Some(0), "{command}\n{}", ended.stderr);
    ended.stderr
}

pub fn refused(folder: &Folder, command: &str, code: i32, words: &[&str]) {
    let ended = run(folder, command);
    assert_eq!(ended.code, Some(code), "{command}\n{}", ended.stderr);
    assert!(words.iter().all(|w| ended.stderr.contains(w)), "{words:?} in\n{}", ended.stderr);
}

/// The lines of a log without times.
pub fn log(path: &Path) -> Vec<Value> {
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

pub fn latest(run: &Path, fold: usize) -> State {
    let found = find_state(run, fold, &mut |note| panic!("{note}")).unwrap();
    found.expect("a state").state
}

/// Holds a fold of two runs against each other, bit for bit.
pub fn assert_same(whole: &Path, parts: &Path, fold: usize) {
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
