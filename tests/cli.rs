//! The real binary, end to end.

use assert_cmd::Command;

fn binary() -> Command {
    Command::cargo_bin("asng-wgpu").expect("the binary is built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_demo_data_set_trains_and_the_same_seed_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    binary().args(["demo", "--cases", "5"]).arg(&data).assert().success();
    let mut finals = Vec::new();
    for run in ["a", "b"] {
        let out = folder.path().join(run);
        let done = binary()
            .arg("train")
            .arg(&data)
            .arg("--out")
            .arg(&out)
            .args(["--patch", "16,16,16", "--features", "4", "--levels", "2"])
            .args(["--epochs", "2", "--iterations", "3", "--seed", "5"])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
        assert!(text(&done.stderr).contains("epoch 2/2  loss "), "{}", text(&done.stderr));
        let fold = out.join("fold_0");
        assert_eq!(std::fs::read_to_string(fold.join("metrics.jsonl")).unwrap().lines().count(), 2);
        finals.push(std::fs::read(fold.join("checkpoint_final.safetensors")).unwrap());
    }
    // The header's metadata has no fixed order; the weights behind it have.
    let weights = |file: &[u8]| {
        let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        file[8 + header..].to_vec()
    };
    assert!(weights(&finals[0]) == weights(&finals[1]), "two runs of one seed differ");
}

#[test]
fn wrong_input_is_one_sentence_and_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("dataset.json"), "{ \"name\": ").unwrap();
    let data = folder.path().join("demo");
    binary().args(["demo", "--cases", "5"]).arg(&data).assert().success();
    let data = data.to_string_lossy().into_owned();
    let broken = broken.to_string_lossy().into_owned();
    let cases: [(&[&str], i32, &str); 7] = [
        (&["train", "no-such-folder"], 1, "no-such-folder"),
        (&["train", &broken], 1, "dataset.json"),
        (&["train", &data, "--patch", "5,5,5"], 2, "--levels"),
        (&["train", &data, "--patch", "16,16"], 2, "--patch"),
        (&["train", &data, "--searcher", "magic"], 2, "magic"),
        (&["train", &data, "--fold", "9"], 2, "--fold 9"),
        (
            &["train", &data, "--patch", "16,16,16", "--levels", "2", "--device", "no such"],
            1,
            "--device",
        ),
    ];
    for (arguments, code, word) in cases {
        let out = binary().current_dir(folder.path()).args(arguments).output().unwrap();
        let stderr = text(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(word), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
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
