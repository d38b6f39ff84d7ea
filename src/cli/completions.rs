//! `asng-wgpu completions SHELL`.

use super::{Cli, print};
use crate::error::Result;
use clap::{Arg, Command, CommandFactory, ValueHint};
use clap_complete::{Shell, generate};

#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
Examples:
  asng-wgpu completions bash > ~/.local/share/bash-completion/completions/asng-wgpu
  asng-wgpu completions zsh > ~/.zfunc/_asng-wgpu
  asng-wgpu completions fish > ~/.config/fish/completions/asng-wgpu.fish

The script for bash needs no bash-completion: `source` it in ~/.bashrc.")]
pub(super) struct Completions {
    /// Shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<()> {
        let mut command = with_paths(Cli::command());
        let script = match self.shell {
            Shell::Bash => for_bash(&mut command),
            shell => script(shell, &mut command, NAME),
        };
        print(script.trim_end())
    }
}

/// Name of the program, as it is typed.
const NAME: &str = "asng-wgpu";

/// Name of the program inside the bash script. clap_complete 4.6.11 spells a hyphen in the program's
/// name in two ways, `__` and `__subcmd__`, so that no word after the first is completed.
const BASH_NAME: &str = "asng__wgpu";

/// Completes every path with a slash after folders; clap_complete does so for bash only where an
/// argument says that it is a file.
fn with_paths(command: Command) -> Command {
    let as_file = |arg: Arg| match arg.get_value_hint() {
        ValueHint::AnyPath => arg.value_hint(ValueHint::FilePath),
        _ => arg,
    };
    command.mut_args(as_file).mut_subcommands(with_paths)
}

fn script(shell: Shell, command: &mut Command, name: &str) -> String {
    let mut script = Vec::new();
    generate(shell, command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The generated function behind one that calls it with the right words: bash cuts `--flag=value`
/// into three.
fn for_bash(command: &mut Command) -> String {
    let generated = script(Shell::Bash, command, BASH_NAME);
    let registered = format!("complete -F _{BASH_NAME} ");
    let lines = generated.lines().map(|line| match line.trim_start().starts_with(&registered) {
        true => line
            .replace(&registered, &format!("complete -F _{BASH_NAME}_words "))
            .replace(&format!(" {BASH_NAME}"), &format!(" {NAME}")),
        false => line.to_owned(),
    });
    let lines: Vec<String> = lines.collect();
    format!("{BASH_WORDS}\n{}", lines.join("\n"))
}

/// Offers flags only after a hyphen, so that files and folders are completed where they are due.
const BASH_WORDS: &str = r#"_asng__wgpu_words() {
    local current="$2" previous="$3" word words=()
    if [[ "$previous" == "=" ]]; then
        previous="${COMP_WORDS[COMP_CWORD-2]}"
    elif [[ "$current" == "=" ]]; then
        current=""
    fi
    _asng__wgpu "$1" "$current" "$previous"
    [[ "$current" == -* ]] && return 0
    for word in ${COMPREPLY[@]+"${COMPREPLY[@]}"}; do
        [[ "$word" == -* ]] || words+=("$word")
    done
    COMPREPLY=(${words[@]+"${words[@]}"})
}
"#;
