//! Values that a flag cannot take: each is refused with what it expects, by every command.

mod common_cli;

use asng_wgpu::cli::{check_arguments, command};
use common_cli::Folder;
use std::any::TypeId;

/// What the standard library and clap say of a value, which helps nobody.
const UNHELPFUL: [&str; 7] = [
    "invalid digit",
    "invalid float",
    "empty string",
    "too large to fit",
    "provided string",
    "ParseIntError",
    "is not in ",
];

/// Words that a useful sentence has one of.
const HELPFUL: [&str; 5] = ["give ", "use ", "possible values", "must lie", "a value is required"];

fn is_number(arg: &clap::Arg) -> bool {
    let numbers = [
        TypeId::of::<u8>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
        TypeId::of::<i64>(),
        TypeId::of::<f32>(),
        TypeId::of::<f64>(),
    ];
    let parser = arg.get_value_parser();
    numbers.iter().any(|number| parser.type_id() == *number)
}

/// The commands that do something, with the words that lead to them.
fn commands(command: &clap::Command, path: &[String]) -> Vec<(Vec<String>, clap::Command)> {
    let inner: Vec<&clap::Command> =
        command.get_subcommands().filter(|c| c.get_name() != "help").collect();
    if inner.is_empty() {
        return vec![(path.to_vec(), command.clone())];
    }
    let with = |c: &clap::Command| commands(c, &[path, &[c.get_name().to_owned()]].concat());
    inner.into_iter().flat_map(with).collect()
}

/// A command line with all that the command requires but one flag.
fn line(path: &[String], command: &clap::Command, but: &str) -> Vec<String> {
    let mut words = path.to_vec();
    for arg in command.get_arguments().filter(|a| a.is_required_set() && a.get_id() != but) {
        let possible = arg.get_possible_values();
        let value = possible.first().map_or("nowhere", |v| v.get_name()).to_owned();
        words.extend(arg.get_long().map(|long| format!("--{long}")));
        words.extend(vec![value; arg.get_num_args().map_or(1, |n| n.min_values().max(1))]);
    }
    words
}

/// What the program says of a command line, and its exit code. Only one that names `x` is run whole;
/// others are parsed and checked, as the program does before any work.
fn refused(folder: &Folder, words: &[String]) -> (i32, String) {
    if words.last().is_some_and(|word| word.ends_with("=x")) {
        let done = folder.run(&words.iter().map(String::as_str).collect::<Vec<_>>());
        return (done.code, done.stderr);
    }
    let program = ["asng-wgpu".to_owned()];
    match check_arguments(program.iter().chain(words).map(|word| word.into())) {
        Ok(()) => (0, String::new()),
        Err(error) => (i32::from(error.exit_code()), error.to_string()),
    }
}

#[test]
fn every_flag_says_what_it_takes() {
    let folder = Folder::new();
    let mut root = command();
    root.build();
    let (mut numbers, mut others) = (Vec::new(), Vec::new());
    for (path, command) in commands(&root, &[]) {
        let flags = command.get_arguments().filter(|a| a.get_action().takes_values());
        for arg in flags.filter(|a| a.get_long().is_some()) {
            let flag = format!("--{}", arg.get_long().unwrap());
            let title = format!("{} {flag}", path.join(" "));
            for value in ["x", "1.5.2", "", "99999999999999999999999999"] {
                let mut words = line(&path, &command, arg.get_id().as_str());
                words.push(format!("{flag}={value}"));
                let (code, said) = refused(&folder, &words);
                assert!([0, 1, 2].contains(&code), "{words:?}: {code}");
                let unhelpful = UNHELPFUL.iter().find(|words| said.contains(*words));
                assert_eq!(unhelpful, None, "{words:?}: {said}");
                if code == 2 {
                    let helpful = HELPFUL.iter().any(|word| said.contains(word));
                    // Numbers of a policy have the flag's name without hyphens.
                    let name = flag[2..].replace('-', "_");
                    let named = said.contains(&flag) || said.contains(&name);
                    assert!(helpful && named, "{words:?}: {said}");
                }
                // Flags of real numbers take huge ones.
                if is_number(arg) && !value.starts_with('9') {
                    assert_eq!(code, 2, "{words:?}: {said}");
                    numbers.push(title.clone());
                } else if code == 2 {
                    others.push(title.clone());
                }
            }
        }
    }
    for known in ["train --epochs", "train --lr", "plan --lambda", "evaluate --labels"] {
        assert!(numbers.iter().any(|n| n == known), "{known} not in {numbers:?}");
    }
    for known in ["train --patch", "plan --memory", "augment --scale", "policy export --format"] {
        assert!(others.iter().any(|o| o == known), "{known} not in {others:?}");
    }
}
