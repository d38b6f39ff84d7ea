//! Runs the real binary in a folder of its own.
#![allow(dead_code)]

pub mod running;

use asng_wgpu::data::Axes;
use asng_wgpu::data::Dataset;
use asng_wgpu::data::demo::{DemoKind, DemoSize, write_demo};
use asng_wgpu::data::preprocess::prepare_all;
use asng_wgpu::nn::plan::NetworkPlan;
use asng_wgpu::nn::unet::UNet;
use asng_wgpu::run::{
    CONFIG_VERSION, CheckpointKind, DatasetSummary, RunConfig, checkpoint_path, fold_folder,
    write_checkpoint,
};
use assert_cmd::Command;
use std::path::{Path, PathBuf};

/// What a command left.
pub struct Done {
    pub command: String,
    pub folder: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// Everything, for messages.
    pub fn all(&self) -> String {
        format!(
            "$ {}\nexit code {}\n--- stdout\n{}\n--- stderr\n{}\n--- folder\n{}",
            self.command, self.code, self.stdout, self.stderr, self.folder
        )
    }
}

/// A temporary folder in which commands run.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Names in a folder, sorted.
    pub fn list(&self, name: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path(name))
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// A demo data set in `data`.
    pub fn demo(&self, kind: &str, cases: usize) -> PathBuf {
        self.demo_as(kind, cases, "data")
    }

    pub fn demo_as(&self, kind: &str, cases: usize, name: &str) -> PathBuf {
        let kind = match kind {
            "heart" => DemoKind::Heart,
            "prostate" => DemoKind::Prostate,
            _ => DemoKind::Brain,
        };
        write_demo(&self.path(name), kind, DemoSize::Small, cases, 0).unwrap();
        self.path(name)
    }

    /// Runs the binary in the folder.
    pub fn run(&self, arguments: &[&str]) -> Done {
        let out = Command::cargo_bin("asng-wgpu")
            .unwrap()
            .current_dir(self.0.path())
            .env("NO_COLOR", "1")
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Done {
            command: format!("asng-wgpu {}", arguments.join(" ")),
            folder: self.list(".").join(" "),
            code: out.status.code().unwrap_or(-1),
            stdout: text(&out.stdout),
            stderr: text(&out.stderr),
        }
    }

    /// Runs what must succeed.
    pub fn ok(&self, arguments: &[&str]) -> Done {
        let done = self.run(arguments);
        assert_eq!(done.code, 0, "{}", done.all());
        done
    }

    /// Runs what must be refused with an exit code and a message that holds all `words`.
    pub fn refused(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let done = self.run(arguments);
        assert_eq!(done.code, code, "{}", done.all());
        assert!(words.iter().all(|w| done.stderr.contains(w)), "{words:?} in {}", done.all());
        assert!(!done.stderr.contains("panicked"), "{}", done.all());
    }
}

/// A run with fresh weights on a data set; gives its path.
pub fn run_folder(run: &Path, data: &Path, folds: &[usize], patch: [u32; 3]) -> String {
    let dataset = Dataset::open(data).unwrap();
    let prepared = prepare_all(&dataset, &dataset.cases[..1], 1).unwrap();
    let (channels, classes) = (dataset.modalities.len() as u32, dataset.labels.len() as u32);
    let spacing = prepared.preprocessing.spacing_mm;
    let plan = NetworkPlan::from_spacing(channels, classes, 4, patch, 1, spacing, 2);
    let config = RunConfig {
        version: CONFIG_VERSION,
        program: "test".into(),
        adapter: String::new(),
        driver: String::new(),
        dataset: DatasetSummary {
            name: dataset.name.clone(),
            dir: data.to_owned(),
            channels: dataset.modalities.clone(),
            labels: dataset.labels.clone(),
        },
        preprocessing: prepared.preprocessing.clone(),
        plan: plan.clone(),
        mirror: Axes::ALL,
        interpolation: Default::default(),
        validation_used_in_search: false,
        training: serde_json::Value::Null,
        orientations: prepared
            .cases
            .iter()
            .map(|case| (case.origin.header.orientation().to_string(), 1))
            .collect(),
        split: Vec::new(),
        data_folder: None,
        cases: Default::default(),
        digests: Default::default(),
    };
    std::fs::create_dir_all(run).unwrap();
    config.write(run).unwrap();
    let net = UNet::new(plan);
    for &fold in folds {
        std::fs::create_dir_all(fold_folder(run, fold)).unwrap();
        let values = net.parameters.initial(fold as u64 + 1);
        let path = checkpoint_path(run, fold, CheckpointKind::Final);
        write_checkpoint(&path, &net, &values, 1).unwrap();
    }
    run.display().to_string()
}

/// Fails where tags do not nest, attributes are not quoted, or an entity is unknown.
pub fn assert_well_formed(xml: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml;
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        assert!(!text.contains('>'), "{text}");
        assert!(!open.is_empty() || text.trim().is_empty(), "text outside the root: {text}");
        for entity in text.split('&').skip(1) {
            let known = ["amp;", "lt;", "gt;", "quot;", "#x27;", "#x2f;"];
            assert!(known.iter().any(|k| entity.starts_with(k)), "&{entity}");
        }
        let end = at + rest[at..].find('>').expect("a tag ends");
        let tag = &rest[at + 1..end];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else {
            let (tag, closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
            let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            let quoted: Vec<&str> = attributes.split('"').collect();
            assert_eq!(quoted.len() % 2, 1, "{tag}");
            let names: Vec<&str> =
                quoted.iter().step_by(2).map(|n| n.trim()).filter(|n| !n.is_empty()).collect();
            assert!(names.iter().all(|n| n.ends_with('=') && !n.contains(' ')), "{tag}");
            assert!((1..names.len()).all(|i| !names[..i].contains(&names[i])), "{tag}");
            if !closed {
                open.push(name);
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
}
