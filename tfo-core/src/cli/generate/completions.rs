//! Completions for the shells.

use clap::builder::{PossibleValue, PossibleValuesParser, ValueHint};
use clap::{Arg, Command};
use clap_complete::{Shell, generate};

use super::Program;

/// File names and scripts, each named as the shell looks for it.
pub(super) fn all(program: Program) -> Vec<(String, Vec<u8>)> {
    let name = program.command.get_name().to_owned();
    let mut command = with_values(program.command, &program.choices);
    [
        (Shell::Bash, name.clone()),
        (Shell::Zsh, format!("_{name}")),
        (Shell::Fish, format!("{name}.fish")),
    ]
    .into_iter()
    .map(|(shell, file)| {
        let mut script = Vec::new();
        generate(shell, &mut command, name.clone(), &mut script);
        (file, script)
    })
    .collect()
}

/// Adds what can be completed. The parsers of the values state it in their errors, not to clap.
fn with_values(command: Command, choices: &[(&'static str, Vec<PossibleValue>)]) -> Command {
    command
        .mut_args(|argument| {
            let chosen = choices.iter().find(|(id, _)| argument.get_id() == id);
            match chosen {
                Some((_, values)) => {
                    argument.value_parser(PossibleValuesParser::new(values.clone()))
                }
                None => with_hint(argument),
            }
        })
        .mut_subcommands(|command| with_values(command, choices))
}

fn with_hint(argument: Arg) -> Arg {
    let is_host = argument
        .get_value_names()
        .is_some_and(|names| names.iter().any(|name| name.as_str() == "HOST"));
    if is_host { argument.value_hint(ValueHint::Hostname) } else { argument }
}
