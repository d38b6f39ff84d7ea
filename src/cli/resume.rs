//! The command that goes on with an interrupted training.

use std::path::Path;

/// The command line of this process, quoted for a shell.
pub(super) fn this_command() -> String {
    let words = std::env::args_os().map(|a| quoted(&a.to_string_lossy()));
    words.collect::<Vec<_>>().join(" ")
}

/// The command line of this process with `--resume`, and with `--out` where it was left to its
/// default; quoted for a shell.
pub(super) fn resume_command(out: &Path) -> String {
    command(std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect(), out)
}

fn command(mut words: Vec<String>, out: &Path) -> String {
    // No flag before the name of the command takes a value.
    let after = words.iter().position(|word| word == "train").map_or(words.len(), |at| at + 1);
    let has = |flag: &str| {
        let with_value = format!("{flag}=");
        words.iter().any(|word| word == flag || word.starts_with(&with_value))
    };
    let mut added = Vec::new();
    if !has("--resume") {
        added.push("--resume".to_owned());
    }
    if !has("--out") {
        added.extend(["--out".to_owned(), out.display().to_string()]);
    }
    words.splice(after..after, added);
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./\\:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) && (cfg!(windows) || !word.contains('\\')) {
        return word.to_owned();
    }
    match cfg!(windows) {
        true => format!("\"{word}\""),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> String {
        command(words.iter().map(|w| (*w).to_owned()).collect(), Path::new("runs/heart 1"))
    }

    #[cfg(unix)]
    #[test]
    fn the_command_is_the_one_given_with_what_it_lacks() {
        assert_eq!(
            of(&["asng-wgpu", "-q", "train", "heart", "--epochs", "3"]),
            "asng-wgpu -q train --resume --out 'runs/heart 1' heart --epochs 3"
        );
        assert_eq!(
            of(&["bin/asng-wgpu", "train", "my data's", "--out", "x"]),
            r"bin/asng-wgpu train --resume 'my data'\''s' --out x"
        );
        assert_eq!(of(&["a", "train", "--resume", "d", "--out=x"]), "a train --resume d --out=x");
    }
}
