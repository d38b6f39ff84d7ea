//! Completion scripts in the shells that they are for.
#![cfg(unix)]

mod common_cli;
#[path = "support/require.rs"]
mod require;

use common_cli::Folder;
use std::io::Write;
use std::process::{Command, Stdio};

/// What is typed before the Tab key, and the words that the program gets then.
const TYPED: [(&str, &str); 8] = [
    ("tra", "train"),
    ("cross", "cross-validate"),
    ("train --searcher-v", "train|--searcher-variables"),
    ("train data --searcher rein", "train|data|--searcher|reinforce"),
    ("policy sam", "policy|sample"),
    ("policy show --as", "policy|show|--ascii"),
    ("policy export runs --format mon", "policy|export|runs|--format|monai"),
    ("predict --checkpoint la", "predict|--checkpoint|last"),
];

/// The shell's program, if it runs.
fn shell(name: &str) -> Option<&str> {
    let runs = Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success());
    require::need(name, runs.then_some(name))
}

/// A folder with the shell's script and some files.
fn folder(shell: &str) -> Folder {
    let folder = Folder::new();
    std::fs::write(folder.path("script"), folder.ok(&["completions", shell]).stdout).unwrap();
    std::fs::create_dir_all(folder.path("runs/my heart")).unwrap();
    std::fs::write(folder.path("scan.nii.gz"), "").unwrap();
    folder
}

/// Runs a shell without the user's settings; gives what it printed.
fn printed(folder: &Folder, shell: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(shell)
        .args(arguments)
        .current_dir(folder.path("."))
        .env("HOME", folder.path("."))
        .env("XDG_CONFIG_HOME", folder.path("."))
        .env("INPUTRC", "/dev/null")
        .env("TERM", "dumb")
        .env_remove("HISTFILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// An interactive bash without bash-completion, in which keys are typed after the program's name, which
/// prints its words between bars.
fn in_bash(folder: &Folder, keys: &str) -> String {
    let program = "asng-wgpu() { printf '[%s' \"$1\"; shift; printf '|%s' \"$@\"; echo ']'; }";
    let input = format!("source ./script\n{program}\nasng-wgpu {keys}\nexit\n");
    let said = printed(folder, "bash", &["--norc", "--noprofile", "-i"], &input);
    let line = said.lines().rev().find(|line| line.starts_with('[') && line.ends_with(']'));
    let line = line.unwrap_or_else(|| panic!("{keys}: no words in {said}"));
    line.trim_start_matches('[').trim_end_matches(']').trim_end_matches('|').to_owned()
}

#[test]
fn bash_completes_after_every_word() {
    let Some(_) = shell("bash") else { return };
    let folder = folder("bash");
    for (typed, words) in TYPED {
        assert_eq!(in_bash(&folder, &format!("{typed}\t")), words, "{typed}");
    }
    for (typed, words) in [
        ("train --searcher=rein\t", "train|--searcher=reinforce"),
        ("-q policy show --js\t", "-q|policy|show|--json"),
        ("train --lr 1e-3 --searcher-v\t", "train|--lr|1e-3|--searcher-variables"),
        // Folders are completed with a slash, so that one goes on to what they hold.
        ("train ru\t", "train|runs/"),
        ("train --out ru\t", "train|--out|runs/"),
        ("train --out=ru\t", "train|--out=runs/"),
        ("predict -m runs/my\t", "predict|-m|runs/my heart/"),
        ("predict -i scan\t", "predict|-i|scan.nii.gz"),
        // Meta-* puts in everything that could follow.
        ("policy \u{1b}*", "policy|show|export|sample|plot|help"),
        ("completions \u{1b}*", "completions|bash|elvish|fish|powershell|zsh"),
        ("predict --checkpoint \u{1b}*", "predict|--checkpoint|final|best|last"),
    ] {
        assert_eq!(in_bash(&folder, typed), words, "{typed}");
    }
    let first = in_bash(&folder, "\u{1b}*");
    let commands = asng_wgpu::cli::command();
    let names: Vec<&str> = commands.get_subcommands().map(|c| c.get_name()).collect();
    assert!(names.len() > 10 && names.iter().all(|name| first.split('|').any(|w| w == *name)));
    assert!(first.split('|').all(|word| !word.starts_with('-')), "{first}");
}

/// Every command of the program with the words that lead to it.
fn commands(command: &clap::Command, path: &[String]) -> Vec<(Vec<String>, clap::Command)> {
    let mut all = vec![(path.to_vec(), command.clone())];
    for inner in command.get_subcommands().filter(|c| c.get_name() != "help") {
        all.extend(commands(inner, &[path, &[inner.get_name().to_owned()]].concat()));
    }
    all
}

#[test]
fn bash_knows_every_flag_of_every_command_and_its_values() {
    let Some(_) = shell("bash") else { return };
    let folder = folder("bash");
    let mut root = asng_wgpu::cli::command();
    root.build();
    let mut script = String::from(
        "source ./script\nfunction=$(complete -p asng-wgpu | sed 's/.* -F \\([^ ]*\\) .*/\\1/')\n\
         ask() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=()\n\
         $function asng-wgpu \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"\n\
         echo \"${COMPREPLY[*]}\"; }\n",
    );
    // A line of the script each: what is asked, and what must be among the answers.
    let mut wanted: Vec<(String, Vec<String>)> = Vec::new();
    let mut ask = |words: Vec<String>, answers: Vec<String>| {
        let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        script += &format!("ask asng-wgpu {}\n", words.join(" "));
        wanted.push((words.join(" "), answers));
    };
    let mut enums = 0;
    for (path, command) in commands(&root, &[]) {
        let flags: Vec<&clap::Arg> = command
            .get_arguments()
            .filter(|a| a.get_long().is_some() && !a.is_hide_set())
            .collect();
        let long = |arg: &&clap::Arg| format!("--{}", arg.get_long().unwrap());
        let hyphens = [path.clone(), vec!["--".into()]].concat();
        ask(hyphens, flags.iter().map(long).collect());
        for flag in flags {
            let values = flag.get_possible_values();
            let values: Vec<String> =
                values.iter().filter(|v| !v.is_hide_set()).map(|v| v.get_name().into()).collect();
            if flag.get_action().takes_values() && !values.is_empty() {
                enums += 1;
                ask([path.clone(), vec![long(&flag), String::new()]].concat(), values);
            }
        }
    }
    assert!(wanted.len() > 30 && enums > 10, "{enums} of {}", wanted.len());
    let said = printed(&folder, "bash", &["--norc", "--noprofile"], &script);
    let answers: Vec<&str> = said.lines().collect();
    assert_eq!(answers.len(), wanted.len(), "{said}");
    for ((asked, wanted), answer) in wanted.iter().zip(answers) {
        let words: Vec<&str> = answer.split(' ').collect();
        let missing: Vec<_> = wanted.iter().filter(|w| !words.contains(&w.as_str())).collect();
        assert!(missing.is_empty(), "{asked}: {missing:?} not in {answer}");
    }
}

#[test]
fn zsh_completes_after_every_word() {
    let Some(_) = shell("zsh") else { return };
    let folder = folder("zsh");
    // Only a terminal has the line editor; zsh makes one for another zsh.
    let mut script = String::from(
        "zmodload zsh/zpty\nzpty z zsh -f -i\n\
         zpty -w z 'PS1=; autoload -Uz compinit; compinit -u -d ./dump; source ./script'\n\
         zpty -w z 'asng-wgpu() { print -r -- \"[${(j:|:)@}]\" }'\n",
    );
    for (typed, _) in TYPED {
        script += &format!("zpty -w z $'asng-wgpu {typed}\\t'\n");
    }
    script += "zpty -w z exit\nwhile zpty -r z line; do print -r -- $line; done\n";
    let said = printed(&folder, "zsh", &["-f"], &script);
    for (typed, words) in TYPED {
        let wanted = format!("[{words}]");
        assert!(said.lines().any(|line| line.trim() == wanted), "{typed}: no {wanted} in {said}");
    }
}

#[test]
fn fish_completes_after_every_word() {
    let Some(_) = shell("fish") else { return };
    let folder = folder("fish");
    for (typed, words) in TYPED {
        let ask = format!("source ./script; complete -C 'asng-wgpu {typed}'");
        let said = printed(&folder, "fish", &["--no-config", "-c", &ask], "");
        let word = words.rsplit('|').next().unwrap();
        // A word, then what it means after a tab.
        let found = said.lines().any(|line| line.split('\t').next() == Some(word));
        assert!(found, "{typed}: no {word} in {said}");
    }
}
