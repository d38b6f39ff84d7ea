//! Under which heading each flag is listed, in `--help` and in the manual pages.

mod common_cli;

use common_cli::Folder;

/// The heading of a flag of a command; none where it is of no group.
fn group(command: &str, flag: &str) -> Option<&'static str> {
    const TRAINING: [&str; 10] = [
        "preset",
        "epochs",
        "iterations",
        "optimizer",
        "lr",
        "schedule",
        "clip",
        "batch-dice",
        "val-every",
        "seed",
    ];
    const NETWORK: [&str; 10] = [
        "patch",
        "spacing",
        "reorient",
        "batch-size",
        "features",
        "levels",
        "memory",
        "recompute",
        "accumulate",
        "plan",
    ];
    let trains = ["train", "plan"].contains(&command);
    match flag {
        "device" | "backend" | "tune" => Some("Device"),
        "interpolation" | "label-interpolation" | "no-mirror" | "mirror-axes" => {
            Some("Augmentation")
        }
        _ if trains && TRAINING.contains(&flag) => Some("Training"),
        _ if trains && NETWORK.contains(&flag) => Some("Network"),
        "policy" | "lambda" | "space" | "after-search" if trains => Some("Search"),
        _ if trains && (flag.starts_with("search") || flag.starts_with("candidate-")) => {
            Some("Search")
        }
        _ if command == "augment"
            && ["rotation-", "scale", "gamma", "elastic-", "p-"]
                .iter()
                .any(|begin| flag.starts_with(begin)) =>
        {
            Some("Override the policy")
        }
        _ => None,
    }
}

/// The name of the flag that a line begins with.
fn flag(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix(|c| c == '-')?;
    let long = match line.strip_prefix('-') {
        Some(long) => long,
        None => line.split_once(", --")?.1,
    };
    Some(long.split(|c: char| !(c.is_alphanumeric() || c == '-')).next().unwrap_or(long))
}

/// Every command by its words, with its subcommands.
fn commands(of: &clap::Command, words: &[String]) -> Vec<Vec<String>> {
    let mut all = vec![words.to_vec()];
    for inner in of.get_subcommands().filter(|inner| inner.get_name() != "help") {
        let words = [words, &[inner.get_name().to_owned()]].concat();
        all.extend(commands(inner, &words));
    }
    all
}

#[test]
fn every_flag_stands_under_the_heading_of_its_group() {
    let f = Folder::new();
    let mut seen = 0;
    for words in commands(&asng_wgpu::cli::command(), &[]) {
        let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        let command = arguments.last().copied().unwrap_or_default().to_owned();
        for help in ["-h", "--help"] {
            arguments.push(help);
            let text = f.ok(&arguments).stdout;
            arguments.pop();
            let mut heading = String::new();
            for line in text.lines() {
                if let Some(name) = line.strip_suffix(':').filter(|_| !line.starts_with(' ')) {
                    heading = name.to_owned();
                    continue;
                }
                // Flags are indented by 2 or 6, their descriptions by more.
                let indent = line.len() - line.trim_start().len();
                let Some(flag) = flag(line).filter(|_| [2, 6].contains(&indent)) else { continue };
                let expected = group(&command, flag).unwrap_or("Options");
                assert_eq!(heading, expected, "{words:?} {help}: --{flag}");
                seen += 1;
            }
        }
    }
    assert!(seen > 200, "{seen}");
}

#[test]
fn manual_pages_have_the_same_sections() {
    let f = Folder::new();
    f.ok(&["man", "man1"]);
    for (page, flag, section) in [
        ("train", "device", "DEVICE"),
        ("train", "tune", "DEVICE"),
        ("train", "seed", "TRAINING"),
        ("train", "searcher", "SEARCH"),
        ("train", "no\\-mirror", "AUGMENTATION"),
        ("plan", "device", "DEVICE"),
        ("augment", "device", "DEVICE"),
        ("predict", "device", "DEVICE"),
        ("predict", "step", "OPTIONS"),
    ] {
        let text = String::from_utf8(f.bytes(&format!("man1/asng-wgpu-{page}.1"))).unwrap();
        // The synopsis names all flags before.
        let at = text.rfind(&format!("\\fB\\-\\-{flag}\\fR")).expect(flag);
        let head = text[..at].lines().rev().find(|line| line.starts_with(".SH")).unwrap();
        assert!(head.to_uppercase().contains(section), "{page} --{flag}: {head}");
    }
}
