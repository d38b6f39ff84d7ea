//! Presets, schedules, the plan's file and the parts of the work that are shown.

mod common_cli;

#[cfg(unix)]
use common_cli::running::{Running, assert_same, ok};
use common_cli::{Done, Folder, run_folder};
use serde_json::Value;

const SMALL: [&str; 6] = ["--patch", "16,16,16", "--features", "4", "--levels", "2"];

/// What `plan` with some flags prints, and its file.
fn planned(f: &Folder, data: &str, more: &[&str]) -> (Done, Value) {
    let plan = ["plan", data, "--no-forecast", "--json", "--force", "-o", "plan.json"];
    let done = f.ok(&[&plan[..], more].concat());
    let json = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&f.bytes("plan.json")).unwrap(), json);
    (done, json)
}

/// The training that a run's `config.json` records.
fn training(f: &Folder, run: &str) -> Value {
    let config: Value = serde_json::from_slice(&f.bytes(&format!("{run}/config.json"))).unwrap();
    config["training"].clone()
}

/// The lines of a fold's `metrics.jsonl`.
fn metrics(f: &Folder, run: &str) -> Vec<Value> {
    let text = String::from_utf8(f.bytes(&format!("{run}/fold_0/metrics.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_papers_recipe_is_one_flag() {
    let f = Folder::new();
    for (kind, epochs, patch, spacing) in [
        ("heart", 200, [64, 192, 160], [0.7; 3]),
        ("brain", 50, [128; 3], [0.7; 3]),
        ("prostate", 200, [20, 320, 256], [3.6, 0.6, 0.6]),
    ] {
        f.demo_as(kind, 4, kind);
        // A small network: the recipe's own is planned for minutes without a GPU.
        let small = ["--features", "1", "--levels", "2"];
        let (done, plan) = planned(&f, kind, &[&["--preset", "paper"], &small[..]].concat());
        assert_eq!(plan["network"]["patch"], Value::from(patch.to_vec()), "{kind}");
        assert_eq!((&plan["network"]["batch"], &plan["epochs"]), (&2.into(), &epochs.into()));
        assert_eq!(plan["iterations"], 250);
        let mm: Vec<f64> =
            serde_json::from_value(plan["preprocessing"]["spacing_mm"].clone()).unwrap();
        assert!(mm.iter().zip(spacing).all(|(a, b)| (a - b).abs() < 0.11), "{kind} {mm:?}");
        let patch = patch.map(|edge| edge.to_string()).join(",");
        for words in [
            &format!("--patch {patch}")[..],
            "--schedule plateau",
            "--optimizer adam",
            "--lambda 2",
            "--search-mode paper",
            "--search-val fold",
            "--features 1",
            &format!("demo-{kind}"),
        ] {
            assert!(done.stderr.contains(words), "{words}: {}", done.all());
        }
        assert_eq!(done.stderr.contains("--spacing 0.7,0.7,0.7"), kind != "prostate");
    }
    // Flags win, also those of --plan, and other data have the usual patch.
    std::fs::rename(f.path("heart"), f.path("other")).unwrap();
    let json = std::fs::read_to_string(f.path("other/dataset.json")).unwrap();
    std::fs::write(f.path("other/dataset.json"), json.replace("demo-heart", "liver")).unwrap();
    let small = ["--features", "1", "--levels", "2", "--batch-size", "1"];
    let (done, plan) = planned(&f, "other", &[&["--preset", "paper"], &small[..]].concat());
    assert_eq!(plan["network"]["patch"], Value::from(vec![128; 3]), "{}", done.all());
    let more = ["--epochs", "3", "--patch", "16,16,24", "--spacing", "1,1,1"];
    let (done, plan) = planned(&f, "other", &[&["--preset", "paper"], &small[..], &more].concat());
    assert_eq!(plan["network"]["patch"], Value::from(vec![16, 16, 24]), "{}", done.all());
    assert_eq!((&plan["epochs"], &plan["network"]["batch"]), (&3.into(), &1.into()));
    assert_eq!(plan["preprocessing"]["spacing_mm"], Value::from(vec![1.0; 3]));
    let (_, again) = planned(&f, "other", &["--preset", "paper", "--plan", "plan.json"]);
    assert_eq!(again["network"], plan["network"]);
}

#[test]
fn a_memory_that_does_not_hold_the_papers_patch_is_the_usual_refusal() {
    let f = Folder::new();
    f.demo("brain", 4);
    let plan = ["plan", "data", "--preset", "paper", "--features", "2", "--levels", "2"];
    let words = ["--memory 20 MiB", "would fit"];
    f.refused(&[&plan[..], &["--memory", "20MiB", "--no-forecast"]].concat(), 2, &words);
}

#[test]
fn a_training_by_the_recipe_records_what_it_used() {
    let f = Folder::new();
    f.demo("heart", 5);
    let run = ["train", "data", "--preset", "paper", "--out", "run", "--no-validate"];
    let more = ["--spacing", "1,1,1", "--epochs", "2", "--iterations", "2"];
    let done = f.ok(&[&run[..], &SMALL, &more].concat());
    let used = training(&f, "run");
    for (name, value) in [
        ("preset", Value::from("paper")),
        ("features", 4.into()),
        ("epochs", 2.into()),
        ("batch", 2.into()),
        ("schedule", "plateau".into()),
        ("optimizer", "adam".into()),
        ("learning_rate", 3e-4.into()),
    ] {
        assert_eq!(used[name], value, "{name}");
    }
    for (name, value) in [
        ("mode", Value::from("paper")),
        ("lambda", 2.into()),
        ("validation", "fold".into()),
        ("every", 1.into()),
        ("init", "uniform".into()),
    ] {
        assert_eq!(used["search"][name], value, "{name}");
    }
    assert!(done.stderr.contains("--preset paper, the paper's task Heart"), "{}", done.all());

    // A preset of the search alone leaves the rest; one that is given wins over the recipe's.
    let run = ["train", "data", "--search-preset", "paper", "--out", "a", "--no-validate"];
    let one = ["--epochs", "1", "--iterations", "1"];
    f.ok(&[&run[..], &SMALL, &one].concat());
    let used = training(&f, "a");
    assert_eq!((&used["preset"], &used["schedule"]), (&Value::Null, &"poly".into()));
    assert_eq!(used["search"]["validation"], "inner");
    let run = ["train", "data", "--preset", "paper", "--search-preset", "careful", "--out", "b"];
    let more = ["--no-validate", "--spacing", "1,1,1", "--schedule", "constant"];
    f.ok(&[&run[..], &SMALL, &one, &more].concat());
    let used = training(&f, "b");
    assert_eq!((&used["search"]["mode"], &used["search"]["every"]), (&"shared".into(), &4.into()));
    assert_eq!((&used["schedule"], &used["batch"]), (&"constant".into(), &2.into()));
}

#[test]
fn a_plateau_lowers_the_rate_and_ends_the_training_early() {
    let f = Folder::new();
    f.demo("heart", 4);
    // So small a rate that the loss stays where it is, and the first fall ends the training.
    let run = ["train", "data", "--out", "run", "--schedule", "plateau", "--lr", "4e-6"];
    let more = ["--epochs", "400", "--iterations", "1", "--val-every", "1000", "--batch-size", "1"];
    let arguments = [&run[..], &SMALL, &more, &["--searcher", "none"]].concat();
    let done = f.ok(&arguments);
    let lines = metrics(&f, "run");
    let last = lines.len();
    assert!((32..400).contains(&last), "{last} epochs");
    assert!(lines.iter().all(|line| line["learning_rate"] == 4e-6));
    let words = format!("the training ends after epoch {last} of 400");
    assert!(done.stderr.contains(&words) && done.stderr.contains("below 1e-6"), "{}", done.all());
    // The last epoch is validated whatever --val-every says, and the final weights are those after it.
    assert!(lines[last - 1]["val_loss"].is_number() && lines[last - 2]["val_loss"].is_null());
    assert!(f.path("run/fold_0/checkpoint_final.safetensors").exists());
    assert!(f.path("run/fold_0/validation/summary.json").exists());
    let page = String::from_utf8(f.bytes("run/fold_0/report.html")).unwrap();
    assert!(page.contains(&format!("Trained for {last} epoch")), "{last}");
    assert!(!page.contains(">Left<"));
    // It is finished.
    let again = f.ok(&[&arguments[..], &["--resume"]].concat());
    assert!(again.stderr.contains("trained already"), "{}", again.all());
    let small = ["train", "data", "--schedule", "plateau", "--lr", "1e-7"];
    f.refused(&small, 2, &["--lr 1e-7", "1e-6"]);
}

#[cfg(unix)]
#[test]
fn an_interrupted_plateau_goes_on_to_the_same_end() {
    let f = Folder::new();
    f.demo("heart", 4);
    // The schedule's average decides when the training ends, so it must be taken up again.
    let binary = assert_cmd::cargo::cargo_bin("asng-wgpu");
    let command = |out: &str| {
        format!(
            "{} train data --out {out} {} --schedule plateau --lr 4e-6 --epochs 400 --iterations 2 \
             --val-every 1000 --batch-size 1 --searcher none --no-validate",
            binary.display(),
            SMALL.join(" ")
        )
    };
    ok(&f, &command("whole/run"));
    let mut running = Running::start(&f, &command("parts/run"));
    running.wait_for(&["epoch 12/"]);
    running.signal("-INT");
    let ended = running.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    ok(&f, &format!("{} --resume", command("parts/run")));
    let epochs = [metrics(&f, "whole/run").len(), metrics(&f, "parts/run").len()];
    assert!(epochs[0] < 400 && epochs[0] == epochs[1], "{epochs:?}");
    assert_same(&f.path("whole/run"), &f.path("parts/run"), 0);
}

#[test]
fn a_plans_file_is_named_after_the_folder_and_kept() {
    let f = Folder::new();
    f.demo_as("heart", 4, "Task99_Demo");
    fn plan<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["plan", "Task99_Demo"], &SMALL[..], more].concat()
    }
    fn quick<'a>(more: &[&'a str]) -> Vec<&'a str> {
        plan(&[&["--no-forecast"], more].concat())
    }
    f.ok(&plan(&[]));
    let first = f.bytes("plan-Task99_Demo.json");
    // The same plan may be measured again; another one takes its place, which is said.
    let again = f.ok(&quick(&[]));
    assert!(!again.stderr.contains("another plan"), "{}", again.all());
    assert!(!f.path("plan-Task99_Demo.json.previous").exists());
    let same = f.bytes("plan-Task99_Demo.json");
    let other = f.ok(&quick(&["--batch-size", "1"]));
    let words =
        "'plan-Task99_Demo.json' held another plan, which is now 'plan-Task99_Demo.json.previous'";
    assert!(other.stderr.contains(words), "{}", other.all());
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap()["network"].clone();
    assert_eq!(read(&same), read(&first));
    assert_eq!(read(&f.bytes("plan-Task99_Demo.json"))["batch"], 1);
    assert_eq!(f.bytes("plan-Task99_Demo.json.previous"), same);
    std::fs::write(f.path("notes.json"), "mine").unwrap();
    f.refused(&quick(&["-o", "notes.json"]), 2, &["notes.json", "--force"]);
    assert_eq!(f.bytes("notes.json"), b"mine");
    f.ok(&quick(&["-o", "notes.json", "--force"]));
    assert!(read(&f.bytes("notes.json")).is_object());
    assert!(f.ok(&["plan", "--help"]).stdout.contains("--plan plan-Task04_Hippocampus.json"));
}

/// The first words of lines of a log, in order.
fn assert_lines(log: &str, expected: &[&str]) {
    let mut lines = log.lines();
    for words in expected {
        assert!(lines.any(|line| line.starts_with(words)), "'{words}' in order in:\n{log}");
    }
    assert!(!log.contains("0s left"), "{log}");
}

#[test]
fn every_part_of_the_work_has_a_line_of_its_own_in_a_log() {
    let f = Folder::new();
    let data = f.demo("heart", 4);
    let run = ["train", "data", "--out", "run", "--epochs", "2", "--iterations", "2"];
    let done = f.ok(&[&run[..], &SMALL].concat());
    let expected = [
        "testing the device",
        "hashing 4 cases",
        "reading 4 cases",
        "preparing 4 cases",
        "compiling kernels",
        "training 4 iterations",
        "epoch 1/2",
        "epoch 2/2",
        "validating 1 case",
    ];
    assert_lines(&done.stderr, &expected);
    assert_eq!(done.stderr.matches("compiling kernels").count(), 1, "{}", done.all());
    let done = f.ok(&[&["plan", "data"], &SMALL[..]].concat());
    let expected = ["testing the device", "reading 4 cases", "compiling kernels", "timing"];
    assert_lines(&done.stderr, &expected);
    let model = run_folder(&f.path("model"), &data, &[0], [16; 3]);
    let done = f.ok(&["predict", "-m", &model, "-i", "data/imagesTr", "-o", "out", "--no-tta"]);
    assert_lines(&done.stderr, &["testing the device", "compiling kernels", "predicting ", "[1/"]);
    let quiet =
        f.ok(&["-q", "predict", "-m", &model, "-i", "data/imagesTr", "-o", "q", "--no-tta"]);
    // Drivers may have words of their own.
    assert!(!["testing", "compiling", "["].iter().any(|w| quiet.stderr.contains(w)));
}
