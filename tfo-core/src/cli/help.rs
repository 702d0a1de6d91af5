//! The help of a command line, beyond what clap derives.

use clap::Command;

/// Joins the lines of the paragraphs below each help, so that they are wrapped to the terminal's width. Indented lines,
/// which are tables and examples, stay as they are.
#[must_use]
pub fn reflow(mut command: Command) -> Command {
    if let Some(text) = command.get_after_help().map(ToString::to_string) {
        command = command.after_help(joined(&text));
    }
    command.mut_subcommands(reflow)
}

fn joined(text: &str) -> String {
    let mut joined = String::new();
    let mut within = false;
    for line in text.lines() {
        let runs_on = !line.is_empty() && !line.starts_with(' ');
        if !joined.is_empty() {
            joined.push(if within && runs_on { ' ' } else { '\n' });
        }
        joined += line;
        within = runs_on;
    }
    joined
}

/// Hides these flags of these commands and of their subcommands, which would list them because they are global.
#[must_use]
pub fn hide(mut command: Command, commands: &[&str], flags: &[&str]) -> Command {
    // Global flags reach the subcommands only now.
    command.build();
    command.mut_subcommands(|command| {
        if commands.contains(&command.get_name()) { hide_in(command, flags) } else { command }
    })
}

fn hide_in(command: Command, flags: &[&str]) -> Command {
    command
        .mut_args(|flag| {
            let hidden = flags.contains(&flag.get_id().as_str());
            flag.hide(hidden)
        })
        .mut_subcommands(|command| hide_in(command, flags))
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn paragraphs_are_joined_and_examples_are_not() {
        let text = "One\ntwo.\n\nExamples:\n  a  b\n  c  d";
        assert_eq!(joined(text), "One two.\n\nExamples:\n  a  b\n  c  d");
    }

    #[test]
    fn hidden_flag_is_parsed_but_not_listed() {
        let command = Command::new("x")
            .arg(Arg::new("port").long("port").global(true))
            .subcommand(Command::new("sub").subcommand(Command::new("deep")))
            .subcommand(Command::new("other"));
        let mut command = hide(command, &["sub"], &["port"]);
        let mut help = |path: &[&str]| {
            let arguments = ["x"].iter().chain(path).chain(&["--help"]);
            command.try_get_matches_from_mut(arguments).unwrap_err().to_string()
        };
        assert!(help(&[]).contains("--port"));
        assert!(help(&["other"]).contains("--port"));
        assert!(!help(&["sub"]).contains("--port"));
        assert!(!help(&["sub", "deep"]).contains("--port"));
        assert!(command.try_get_matches_from(["x", "sub", "--port", "1"]).is_ok());
    }
}
