#![allow(
    clippy::doc_markdown,
    rustdoc::broken_intra_doc_links,
    reason = "the comments are the help that users read"
)]

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tfo_core::cli::help;

use crate::config::flags::Flags;
use crate::keys::command::arguments::KeysArguments;
use crate::metrics::top::TopArguments;

/// Serves over TCP Fast Open (RFC 7413) and reports, for each connection, whether fast open was used.
#[derive(Debug, Parser)]
#[command(
    name = "tfo-server",
    version,
    max_term_width = 100,
    args_override_self = true,
    after_help = AFTER_HELP
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) flags: Flags,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check this host, the configuration and its upstreams, without changing anything
    #[command(after_help = AFTER_HELP_OF_CHECK)]
    Check,
    /// Create, show, convert and compare keys
    Keys(KeysArguments),
    /// Show the counters of a running server, refreshed on a terminal; needs its [metrics]
    Top(TopArguments),
}

const AFTER_HELP: &str = r#"Settings are taken from flags, then environment variables, then the configuration file, then the
defaults. config/server.toml documents every key and its environment variable. The variables of the
flags are TFO_SERVER_ADDRESS, TFO_SERVER_PORT, TFO_SERVER_SERVICE, TFO_SERVER_CONFIG and
TFO_SERVER_OUTPUT. RUST_LOG sets the log level unless -v or -q does; NO_COLOR disables colour.

Signals: SIGINT and SIGTERM stop the server after open connections, or at once if sent twice. SIGHUP
reloads settings, keys and files; on an error, the previous configuration is kept. SIGUSR1 prints
the counters.

Exit status: 0 success, or stopped by a signal; 1 not ready, or failed; 2 wrong usage, or invalid
configuration.

Examples:
  tfo-server                                   serve on 127.0.0.1:2222 until SIGINT or SIGTERM
  tfo-server -a :: -p 4433 --service echo      echo on every address of this host
  tfo-server check                             report what this host lacks, and how to fix it
  tfo-server keys new /etc/tfo/keys            create a key file for keys.mode = "file"
  tfo-server top --from 127.0.0.1:9413         watch a running server that has [metrics]
  tfo-server --print-config > server.toml      create a configuration file"#;

const AFTER_HELP_OF_CHECK: &str = "\
Exit status: 0 ready, 1 not ready (a finding is a problem), 2 wrong usage, or invalid configuration.

Examples:
  tfo-server check
  tfo-server check -c /etc/tfo/server.toml -a 0.0.0.0";

impl Cli {
    /// Parses the flags of this process. Exits if they are invalid or request the help.
    pub(crate) fn from_arguments() -> Self {
        Self::try_from_arguments(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn try_from_arguments<I>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item: Into<OsString> + Clone>,
    {
        let cli = Self::from_arg_matches(&Self::parser().try_get_matches_from(arguments)?)?;
        match cli.useless_listener() {
            Some(message) => Err(Self::command().error(ErrorKind::ArgumentConflict, message)),
            None => Ok(cli),
        }
    }

    /// Returns the command line, with the help that users see: without the flags that a command does not use.
    pub(crate) fn parser() -> clap::Command {
        help::hide(help::reflow(Self::command()), &["keys", "top"], &["address", "port", "service"])
    }

    /// Returns an error message if a command that does not listen is given a listener.
    fn useless_listener(&self) -> Option<String> {
        let command = match &self.command {
            Some(Command::Keys(_)) => "keys",
            Some(Command::Top(_)) => "top",
            None | Some(Command::Check) => return None,
        };
        let given = [
            (self.flags.address.is_some(), "--address"),
            (self.flags.port.is_some(), "--port"),
            (self.flags.service.is_some(), "--service"),
        ];
        let (_, flag) = given.into_iter().find(|(given, _)| *given)?;
        Some(format!("`{command}` does not listen: omit {flag}"))
    }
}

#[cfg(test)]
mod tests {
    use tfo_core::cli::Port;
    use tfo_core::cli::value::{Format, names};

    use super::*;
    use crate::config::file::File;
    use crate::config::values::ServiceKind;

    #[test]
    fn flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_work_before_and_after_the_subcommand() {
        for arguments in [
            ["tfo-server", "check", "-p", "80", "--service", "echo"],
            ["tfo-server", "-p", "80", "check", "--service", "echo"],
            ["tfo-server", "-p", "80", "--service", "echo", "check"],
        ] {
            let cli = Cli::try_parse_from(arguments).unwrap();
            assert_eq!(cli.flags.port, Some(Port::new(80)), "{arguments:?}");
            assert_eq!(cli.flags.service, Some(ServiceKind::Echo), "{arguments:?}");
            assert!(matches!(cli.command, Some(Command::Check)), "{arguments:?}");
        }
    }

    #[test]
    fn flag_that_a_command_has_no_use_for_is_refused() {
        for line in ["keys show x -p 80", "-p 80 keys show x", "top -a ::", "--service echo top"] {
            let arguments = ["tfo-server"].into_iter().chain(line.split(' '));
            let error = Cli::try_from_arguments(arguments).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ArgumentConflict, "{line}: {error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn repeated_flag_overrides() {
        let arguments = ["tfo-server", "-p", "80", "--service", "echo", "-p", "81"];
        let cli = Cli::try_from_arguments(arguments).unwrap();
        assert_eq!(cli.flags.port, Some(Port::new(81)));
    }

    #[test]
    fn help_states_defaults_and_allowed_values() {
        let File { listen, output, .. } = File::default();
        let listen = &listen.all()[0];
        let command = Cli::command();
        for (name, default, allowed) in [
            ("address", listen.address.to_string(), String::new()),
            ("port", listen.port.to_string(), "1 to 65535".to_owned()),
            (
                "service",
                listen.service.to_string(),
                names::<ServiceKind>().join(", ").replace(", forward", " or forward"),
            ),
            ("output", output.format.to_string(), names::<Format>().join(" or ")),
        ] {
            let argument = command.get_arguments().find(|arg| arg.get_id() == name).unwrap();
            let help = argument.get_help().unwrap().to_string();
            assert!(help.contains(&format!("[default: {default}]")), "{name}: {help}");
            assert!(help.contains(&allowed), "{name}: {allowed}: {help}");
        }
    }
}
