//! Command lines of real and mangled flags.

use crate::common_cli::Folder;
use crate::count;
use crate::mutate::Mutator;
use asng_wgpu::cli::{check_arguments, command};
use std::ffi::OsString;
use std::time::{Duration, Instant};

const WORDS: [&str; 34] = [
    "",
    "0",
    "-1",
    "1",
    "2",
    "1.5",
    "-0.0",
    "NaN",
    "inf",
    "1e999",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "99999999999999999999",
    "data",
    "nowhere",
    "nowhere.nii.gz",
    "file.txt",
    "plan.json",
    ".",
    "/",
    "..",
    "--",
    "-",
    "all",
    "8,8,8",
    "0,0,0",
    "4294967295,4294967295,8",
    "1,2",
    "6GiB",
    "-3G",
    "1e30T",
    "default",
    "日本\u{7f}",
];

/// A random command line, and whether its flags go only to the command that has them.
fn line(m: &mut Mutator) -> Vec<OsString> {
    let root = command();
    let commands: Vec<&clap::Command> = root.get_subcommands().collect();
    let mut chosen = commands[m.below(commands.len())];
    let mut words: Vec<OsString> = vec!["asng-wgpu".into(), chosen.get_name().into()];
    if let Some(inner) = chosen.get_subcommands().nth(m.below(4)) {
        words.push(inner.get_name().into());
        chosen = inner;
    }
    let flags: Vec<&clap::Arg> = chosen.get_arguments().collect();
    for _ in 0..m.below(9) {
        match m.below(10) {
            0 => words.push(m.one_of(&WORDS).into()),
            1 => words.push(format!("--{}", m.one_of(&WORDS)).into()),
            2 => words.push(garbage(m)),
            _ => {
                let chosen = flags[m.below(flags.len())];
                flag(m, chosen, &mut words);
            }
        }
    }
    // Most commands have one or two places.
    for _ in 0..m.below(3) {
        words.push(m.one_of(&["data", "file.txt", "nowhere"]).into());
    }
    if m.below(20) == 0 {
        words.swap(0, 1);
    }
    words
}

/// A flag with a value that may be right.
fn flag(m: &mut Mutator, flag: &clap::Arg, words: &mut Vec<OsString>) {
    let Some(long) = flag.get_long() else { return };
    let takes_value = flag.get_action().takes_values();
    let possible: Vec<String> =
        flag.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect();
    let value = match m.below(3) {
        0 if !possible.is_empty() => possible[m.below(possible.len())].clone().into(),
        1 => garbage(m),
        _ => m.one_of(&WORDS).into(),
    };
    match m.below(4) {
        0 => {
            let mut word = OsString::from(format!("--{long}="));
            word.push(value);
            words.push(word);
        }
        _ => {
            words.push(format!("--{long}").into());
            if takes_value != (m.below(20) == 0) {
                words.push(value);
            }
        }
    }
}

fn garbage(m: &mut Mutator) -> OsString {
    let word = m.one_of(&WORDS).as_bytes().to_vec();
    let mut bytes = m.bytes(word);
    // No process can be given a NUL.
    bytes.retain(|&b| b != 0);
    #[cfg(unix)]
    return std::os::unix::ffi::OsStringExt::from_vec(bytes);
    #[cfg(not(unix))]
    return String::from_utf8_lossy(&bytes).into_owned().into();
}

/// A folder with a few files that flags may name.
fn folder() -> Folder {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("data")).unwrap();
    std::fs::write(folder.path("file.txt"), "nothing\n").unwrap();
    std::fs::write(folder.path("plan.json"), "{\"version\": 1}").unwrap();
    folder
}

#[test]
fn mangled_command_lines_are_refused_with_a_sentence() {
    let (mut accepted, mut usage, mut failed) = (0, 0, 0);
    let mut slowest = Duration::ZERO;
    for n in 0..count(4000) {
        let words = line(&mut Mutator::new(1, n));
        let begin = Instant::now();
        let parsed = words.clone();
        let outcome = std::panic::catch_unwind(|| check_arguments(parsed));
        slowest = slowest.max(begin.elapsed());
        let outcome = outcome.unwrap_or_else(|_| panic!("{n}: a panic of {words:?}"));
        match outcome {
            Ok(()) => accepted += 1,
            Err(error) => {
                match error.exit_code() {
                    2 => usage += 1,
                    1 => failed += 1,
                    code => panic!("{n}: {code} of {words:?}"),
                }
                let text = error.sentence();
                assert!(text.len() > 20, "{n}: '{text}' of {words:?}");
            }
        }
    }
    eprintln!("{accepted} accepted, {usage} wrong, {failed} failed; at most {slowest:?}");
    assert!(accepted > 0 && usage > 0);
}

#[test]
fn the_binary_refuses_them_too() {
    let folder = folder();
    let before = folder.list(".");
    let (mut tried, mut wrong) = (0, 0);
    for n in 0.. {
        if tried >= count(300) / 10 {
            break;
        }
        let words = line(&mut Mutator::new(2, n));
        // What would be carried out is tried where it ends for lack of files.
        let harmless = ["train", "check", "predict", "evaluate", "compare", "plan"];
        let name = words[1].to_string_lossy().into_owned();
        if check_arguments(words.clone()).is_ok() && !harmless.contains(&name.as_str()) {
            continue;
        }
        tried += 1;
        let out = assert_cmd::Command::cargo_bin("asng-wgpu")
            .unwrap()
            .current_dir(folder.path("."))
            .args(&words[1..])
            .timeout(Duration::from_secs(60))
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        let help = out.status.success() && !out.stdout.is_empty();
        assert!(help || matches!(out.status.code(), Some(1 | 2)), "{words:?}: {out:?}");
        assert!(help || stderr.trim().len() > 15, "{words:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{words:?}: {stderr}");
        wrong += u64::from(out.status.code() == Some(2));
    }
    eprintln!("{tried} tried, {wrong} wrong usage");
    assert!(wrong > 0);
    assert_eq!(folder.list("."), before);
}
