//! The real binary, end to end.

use assert_cmd::Command;
use std::io::BufRead;
use std::path::{Path, PathBuf};

fn binary() -> Command {
    Command::cargo_bin("asng-wgpu").expect("the binary is built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A demo data set of five small cases in `folder`.
fn demo(folder: &Path) -> PathBuf {
    let data = folder.join("demo");
    binary().args(["demo", "--cases", "5"]).arg(&data).assert().success();
    data
}

/// `train` on a small network that writes to `out`.
fn train(data: &Path, out: &Path) -> Command {
    let mut command = binary();
    command.arg("train").arg(data).arg("--out").arg(out).args(SMALL);
    command
}

const SMALL: [&str; 6] = ["--patch", "16,16,16", "--features", "4", "--levels", "2"];

/// The lines of a JSON lines file.
fn json_lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The tensors of a checkpoint as bytes; the metadata before them has no fixed order.
fn weights(path: &Path) -> Vec<u8> {
    let file = std::fs::read(path).unwrap();
    let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    file[8 + header..].to_vec()
}

#[test]
fn a_search_runs_in_both_modes_and_the_same_seed_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = demo(folder.path());
    let mut finals = Vec::new();
    for (run, mode) in [("a", "shared"), ("b", "shared"), ("c", "paper")] {
        let out = folder.path().join(run);
        let done = train(&data, &out)
            .args(["--epochs", "3", "--iterations", "3", "--seed", "5", "--search-mode", mode])
            .args(["--search-preset", "paper", "--search-until", "0.67", "--no-validate"])
            .output()
            .unwrap();
        let stderr = text(&done.stderr);
        assert!(done.status.success(), "{stderr}");
        assert!(stderr.contains("epoch 3/3  loss "), "{stderr}");
        assert!(stderr.contains("  delta ") && stderr.contains("(augment "), "{stderr}");
        let fold = out.join("fold_0");
        let metrics = json_lines(&fold.join("metrics.jsonl"));
        assert_eq!(metrics.len(), 3);
        assert!(metrics.iter().all(|m| m["loss"].as_f64().is_some_and(f64::is_finite)));
        let policies = json_lines(&fold.join("policy.jsonl"));
        assert_eq!(policies.len(), 3);
        assert!(policies[0]["val_loss_mean"].is_number());
        assert_ne!(policies[0]["theta"], policies[1]["theta"], "the search moved");
        assert_eq!(policies[1]["theta"], policies[2]["theta"], "the search is over");
        let policy: serde_json::Value =
            serde_json::from_slice(&std::fs::read(fold.join("policy.json")).unwrap()).unwrap();
        assert_eq!(policy["theta"], policies[2]["theta"]);
        let config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(out.join("config.json")).unwrap()).unwrap();
        assert_eq!(config["training"]["search"]["mode"], mode);
        assert_eq!(config["validation_used_in_search"], false);
        assert_eq!(config["split"].as_array().unwrap().len(), 5);
        finals.push((weights(&fold.join("checkpoint_final.safetensors")), policy["theta"].clone()));
    }
    assert!(finals[0] == finals[1], "two runs of one seed differ");
    assert!(finals[0].0 != finals[2].0, "the modes do the same");
}

#[test]
fn every_searcher_trains() {
    let folder = tempfile::tempdir().unwrap();
    let data = demo(folder.path());
    let run = |name: &str, extra: &[&str]| {
        let out = folder.path().join(name);
        let done = train(&data, &out)
            .args(["--epochs", "1", "--iterations", "2", "--no-validate", "--searcher", name])
            .args(extra)
            .output()
            .unwrap();
        assert!(done.status.success(), "{name}: {}", text(&done.stderr));
        let line = json_lines(&out.join("fold_0/policy.jsonl")).remove(0);
        assert!(line["val_loss_mean"].is_number() == (name == "sng"), "{name}: {line}");
        out
    };
    run("none", &[]);
    run("default", &["--optimizer", "sgd"]);
    run("trivial", &["--lambda", "3", "--accumulate"]);
    let space = folder.path().join("space.toml");
    let few = "[[variables]]\nname = \"p_gamma\"\nlow = 0.0\nhigh = 1.0\ncount = 3\n";
    std::fs::write(&space, few).unwrap();
    let random = run("random", &["--schedule", "constant", "--space", &space.to_string_lossy()]);
    run("sng", &["--search-init", "default", "--lambda", "4", "--search-val", "fold"]);
    let policy = random.join("fold_0/policy.json");
    let fixed = run("fixed", &["--policy", &policy.to_string_lossy()]);
    let read = |run: &Path| {
        asng_wgpu::search::file::PolicyFile::read(&run.join("fold_0/policy.json")).unwrap()
    };
    assert_eq!(
        (read(&fixed).space, read(&fixed).theta),
        (read(&random).space, read(&random).theta)
    );
}

#[test]
fn after_a_search_its_most_probable_policy_augments_where_asked() {
    let folder = tempfile::tempdir().unwrap();
    let data = demo(folder.path());
    let losses = |name: &str, extra: &[&str]| {
        let out = folder.path().join(name);
        let done = train(&data, &out)
            .args(["--epochs", "2", "--iterations", "2", "--no-validate", "--val-every", "9"])
            .args(["--search-init", "uniform", "--search-until", "0.5"])
            .args(extra)
            .output()
            .unwrap();
        assert!(done.status.success(), "{name}: {}", text(&done.stderr));
        let lines = json_lines(&out.join("fold_0/metrics.jsonl"));
        let theta = json_lines(&out.join("fold_0/policy.jsonl")).remove(1)["theta"].clone();
        (lines[0]["loss"].clone(), lines[1]["loss"].clone(), theta)
    };
    let drawn = losses("drawn", &["--after-search", "distribution"]);
    let settled = losses("settled", &["--after-search", "policy"]);
    assert_eq!((&drawn.0, &drawn.2), (&settled.0, &settled.2), "the search is the same");
    assert_ne!(drawn.1, settled.1, "what follows is not");
    // Equal policies that nobody judges must not make equal samples.
    let unjudged = |draws| {
        let flags = ["--searcher", "trivial", "--lambda", "2", "--candidate-draws", draws];
        losses(draws, &flags)
    };
    assert_eq!(unjudged("own"), unjudged("common"));
}

#[test]
fn candidates_that_nobody_judges_make_plain_steps_on_batches_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let data = demo(folder.path());
    let weights = |name: &str, flags: &[&str]| {
        let out = folder.path().join(name);
        let done = train(&data, &out)
            .args(["--searcher", "default", "--epochs", "2", "--no-validate"])
            .args(flags)
            .output()
            .unwrap();
        assert!(done.status.success(), "{name}: {}", text(&done.stderr));
        let checkpoint = out.join("fold_0/checkpoint_final.safetensors");
        asng_wgpu::run::read_weights(&checkpoint).unwrap().1
    };
    let two = ["--lambda", "2", "--candidate-updates", "each", "--iterations", "2"];
    assert!(weights("two", &two) == weights("one", &["--iterations", "4"]));
}

#[cfg(unix)]
#[test]
fn tiles_are_timed_once_and_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    let data = demo(folder.path());
    let cache = folder.path().join("home");
    let tiles = cache.join("asng-wgpu/tiles.json");
    // Mesa's compiled shaders stay where other tests find and leave them.
    let shaders = std::env::var_os("XDG_CACHE_HOME").map(std::path::PathBuf::from).or_else(|| {
        std::env::var_os("HOME").map(|home| std::path::PathBuf::from(home).join(".cache"))
    });
    let run = |name: &str, seconds: &str| {
        let out = folder.path().join(name);
        let done = train(&data, &out)
            .args(["--epochs", "1", "--iterations", "2", "--no-validate", "--tune", seconds])
            .env("XDG_CACHE_HOME", &cache)
            .env("MESA_SHADER_CACHE_DIR", shaders.as_ref().unwrap_or(&cache))
            .output()
            .unwrap();
        let said = text(&done.stderr);
        assert!(done.status.success(), "{name}: {said}");
        let loss = json_lines(&out.join("fold_0/metrics.jsonl")).remove(0)["loss"].clone();
        let checkpoint = out.join("fold_0/checkpoint_final.safetensors");
        let (_, weights) = asng_wgpu::run::read_weights(&checkpoint).unwrap();
        (said.contains("timed the tiles of"), loss, weights)
    };
    let plain = run("plain", "0");
    assert!(!plain.0 && !tiles.exists());
    let first = run("first", "0.01");
    assert!(first.0, "nothing was timed");
    let kept = std::fs::read_to_string(&tiles).unwrap();
    let file: serde_json::Value = serde_json::from_str(&kept).unwrap();
    let devices = file["devices"].as_object().unwrap();
    let classes = devices.values().next().unwrap().as_object().unwrap();
    assert!(devices.len() == 1 && classes.len() > 5, "{kept}");
    let second = run("second", "0.01");
    assert!(!second.0, "timed again");
    assert_eq!(std::fs::read_to_string(&tiles).unwrap(), kept);
    for other in [&first, &second] {
        assert!((&plain.1, &plain.2) == (&other.1, &other.2), "tiles changed the result");
    }
    std::fs::write(&tiles, "no tiles").unwrap();
    assert!(run("damaged", "0").2 == plain.2, "a damaged file is as none");
    let broken = train(&data, &folder.path().join("x")).args(["--tune", "nan"]).output().unwrap();
    assert!(broken.status.code() == Some(2) && text(&broken.stderr).contains("--tune"));
}

#[cfg(unix)]
#[test]
fn an_interrupted_training_leaves_its_weights_and_exit_code_130() {
    let folder = tempfile::tempdir().unwrap();
    let data = demo(folder.path());
    let out = folder.path().join("run");
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("asng-wgpu"))
        .arg("train")
        .arg(&data)
        .arg("--out")
        .arg(&out)
        .args(SMALL)
        .args(["--epochs", "1000", "--iterations", "2", "--no-validate"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.by_ref().map_while(Result::ok).find(|line| line.contains("epoch 1/1000"));
    assert!(first.is_some(), "no epoch was reported");
    let second = train(&data, &out).output().unwrap();
    assert_eq!(second.status.code(), Some(1), "a second training in the same folder");
    assert!(text(&second.stderr).contains("another training"), "{}", text(&second.stderr));
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("checkpoint_last")), "{rest:?}");
    let last = out.join("fold_0/checkpoint_last.safetensors");
    asng_wgpu::run::read_weights(&last).unwrap();
    let left = std::fs::read_dir(out.join("fold_0")).unwrap();
    assert!(
        left.filter_map(Result::ok).all(|e| !e.file_name().to_string_lossy().contains(".tmp")),
        "a temporary file is left"
    );
}

#[test]
fn wrong_input_is_one_sentence_and_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("dataset.json"), "{ \"name\": ").unwrap();
    let data = demo(folder.path());
    // Another data set with one file cut short, and one with a label that is not declared.
    let case = |damage: &str| {
        let copy = folder.path().join(damage);
        binary().args(["demo", "--cases", "5"]).arg(&copy).assert().success();
        let label =
            std::fs::read_dir(copy.join("labelsTr")).unwrap().next().unwrap().unwrap().path();
        if damage == "truncated" {
            let bytes = std::fs::read(&label).unwrap();
            std::fs::write(&label, &bytes[..bytes.len() / 2]).unwrap();
        } else {
            let mut volume = asng_wgpu::data::nifti::read_labels(&label).unwrap();
            volume.labels[7] = 9;
            let header = volume.header.clone();
            asng_wgpu::data::nifti::write_labels(&label, &volume.labels, volume.shape, &header)
                .unwrap();
        }
        (copy.to_string_lossy().into_owned(), label.file_name().unwrap().to_owned())
    };
    let (truncated, truncated_file) = case("truncated");
    let (undeclared, undeclared_file) = case("undeclared");
    let data = data.to_string_lossy().into_owned();
    let broken = broken.to_string_lossy().into_owned();
    // Smoother than the kernels can: refused before any work, not when it is first drawn.
    let wide = folder.path().join("wide.toml");
    let sigma = "[[variables]]\nname = \"elastic_sigma_high\"\nlow = 20.0\nhigh = 100.0\n";
    std::fs::write(&wide, sigma).unwrap();
    let wide = wide.to_string_lossy().into_owned();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["train", "no-such-folder"], 1, "no-such-folder"),
        (&["train", &broken], 1, "dataset.json"),
        (&["train", &truncated], 1, &truncated_file.to_string_lossy()),
        (&["train", &undeclared], 1, &undeclared_file.to_string_lossy()),
        (&["train", &undeclared], 1, "label 9"),
        (&["train", &data, "--patch", "5,5,5"], 2, "--levels"),
        (&["train", &data, "--patch", "16,16,16", "--levels", "6"], 2, "--levels 6"),
        (&["train", &data, "--patch", "16,16"], 2, "--patch"),
        (&["train", &data, "--searcher", "magic"], 2, "magic"),
        (&["train", &data, "--searcher", "none", "--mirror-axes", "h"], 2, "--mirror-axes"),
        (&["train", &data, "--lambda", "1"], 2, "--lambda"),
        (&["train", &data, "--searcher", "fixed"], 2, "--policy"),
        (&["train", &data, "--searcher", "fixed", "--policy", "none.json"], 1, "none.json"),
        (&["train", &data, "--search-until", "1.5"], 2, "--search-until"),
        (
            &["train", &data, "--searcher", "reinforce", "--search-step", "0.5"],
            2,
            "--search-step goes with",
        ),
        (&["train", &data, "--space", &wide], 1, "elastic_sigma_high is 100"),
        (&["train", &data, "--lr", "nan"], 2, "--lr"),
        (&["train", &data, "--epochs", "0"], 2, "--epochs"),
        (&["train", &data, "--fold", "9"], 2, "--fold 9"),
        (&["train", &data, "--backend", "glide"], 2, "--backend"),
        (
            &["train", &data, "--patch", "16,16,16", "--levels", "2", "--device", "no such"],
            1,
            "--device",
        ),
    ];
    for (arguments, code, word) in cases {
        let out = binary().current_dir(folder.path()).args(*arguments).output().unwrap();
        let stderr = text(&out.stderr);
        assert_eq!(out.status.code(), Some(*code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(word), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn without_an_adapter_the_way_out_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = demo(folder.path());
    let out = train(&data, &folder.path().join("run"))
        .args(["--backend", "vulkan"])
        .env("VK_DRIVER_FILES", "/none.json")
        .env("VK_ICD_FILENAMES", "/none.json")
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("mesa-vulkan-drivers"), "{}", text(&out.stderr));
}

#[test]
fn references_evaluated_against_themselves_are_perfect() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    binary().args(["demo", "--kind", "brain", "--cases", "5"]).arg(&data).assert().success();
    let labels = data.join("labelsTr");
    let summary = folder.path().join("summary.json");
    let out =
        binary().arg("evaluate").args([&labels, &labels]).arg("-o").arg(&summary).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("mean    1.0000  1.0000"), "{}", text(&out.stdout));
    let written = std::fs::read_to_string(summary).unwrap();
    assert_eq!(written.matches("\"prediction_file\"").count(), 5);
    let images = data.join("imagesTr");
    let out = binary().arg("evaluate").args([&labels, &images]).output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stdout));
    let out = binary().args(["evaluate", "nowhere", "nowhere"]).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("nowhere"));
}
