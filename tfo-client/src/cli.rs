#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "the comments are the help that users read"
)]

use std::{ffi::OsString, mem, path::PathBuf};

use clap::{
    ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};
use tfo_core::cli::{
    FlagValues, Port, help,
    value::{Format, named, nearest},
};

use crate::{
    compare::CompareFlags,
    config::{file::Family, server_address::ServerAddress, service_name},
    cookies::CookiesFlags,
    doctor::DoctorFlags,
    explain::ExplainFlags,
    lab::LabFlags,
    load::LoadFlags,
    path::PathFlags,
    probe::ProbeFlags,
};

/// Connects with TCP Fast Open (RFC 7413) and reports what happened, and why.
#[derive(Debug, Parser)]
#[command(
    name = "tfo-client",
    version,
    max_term_width = 100,
    args_override_self = true,
    after_help = AFTER_HELP
)]
pub(crate) struct Cli {
    // `display_order` keeps the target first and the general flags last, also in the help of subcommands.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Host to connect to: name or address, HOST:PORT or [IPV6]:PORT [default: 127.0.0.1]
    #[arg(short, long, global = true, display_order = 1, value_name = "HOST")]
    server: Option<ServerAddress>,

    /// Port to connect to, 1 to 65535, or a service such as https [default: 2222]
    #[arg(short, long, global = true, display_order = 2, value_name = "PORT", value_parser = service_name::port)]
    port: Option<Port>,

    /// Use IPv4 only
    #[arg(short = '4', long, global = true, display_order = 3)]
    ipv4: bool,

    /// Use IPv6 only
    #[arg(short = '6', long, global = true, display_order = 4)]
    ipv6: bool,

    /// The flags of `probe`, which is the default subcommand.
    #[command(flatten)]
    pub(crate) probe: ProbeFlags,

    /// Configuration file [default: config/client.toml, else /etc/tfo/client.toml]
    #[arg(short, long, global = true, display_order = 101, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,

    /// Print the effective configuration as TOML and exit
    #[arg(long, global = true, display_order = 102)]
    pub(crate) print_config: bool,

    /// Format of standard output: text or json [default: text]
    #[arg(short, long, global = true, display_order = 103, value_name = "FORMAT", value_parser = named::<Format>)]
    output: Option<Format>,

    /// Log more: -v debug, -vv trace
    #[arg(short, long, global = true, display_order = 104, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Log less: -q warnings, -qq errors
    #[arg(short, long, global = true, display_order = 105, action = ArgAction::Count)]
    pub(crate) quiet: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Connect a few times and report what happened, and why (the default subcommand)
    #[command(after_help = AFTER_HELP_OF_PROBE)]
    Probe(ProbeFlags),
    /// Explain a verdict, a cause or a fault: packets, evidence, what produces it, what to do
    Explain(ExplainFlags),
    /// List, show or forget the cookies that this host has cached
    Cookies(CookiesFlags),
    /// Connect two hosts on this machine over a configurable path, and draw their packets
    Lab(Box<LabFlags>),
    /// Find the hop of the path that breaks fast open, without root
    Path(Box<PathFlags>),
    /// Measure how much time fast open saves, and recommend whether to enable it
    Compare(Box<CompareFlags>),
    /// Open connections as fast as possible or at a fixed rate, and report verdicts and times
    Load(Box<LoadFlags>),
    /// Check whether this host is ready for fast open, and show how fast open is used
    Doctor(DoctorFlags),
}

const AFTER_HELP: &str = "\
A value is taken from its flag, else its environment variable, else the configuration file, else the
default. A variable is named TFO_CLIENT_ and the flag: TFO_CLIENT_SERVER, TFO_CLIENT_PORT,
TFO_CLIENT_COUNT, TFO_CLIENT_MODE, TFO_CLIENT_MESSAGE, TFO_CLIENT_SIZE, TFO_CLIENT_EXPECT_REPLY
(true or false), TFO_CLIENT_CONNECT_TIMEOUT, TFO_CLIENT_REPLY_TIMEOUT, TFO_CLIENT_INTERVAL,
TFO_CLIENT_FRESH (true or false), TFO_CLIENT_SOURCE, TFO_CLIENT_INTERFACE, TFO_CLIENT_CONFIG,
TFO_CLIENT_OUTPUT; and TFO_CLIENT_FAMILY (any,
ipv4 or ipv6) for -4 and -6. RUST_LOG sets the log level if neither -v nor -q is given; NO_COLOR
disables colour. Times and sizes need a unit: 250ms, 5s, 1m30s; 64B, 16KiB, 1MiB.

Exit status: 0 the last connection's SYN data was accepted, 1 connected, but not by fast open,
2 wrong usage or bad configuration, 3 no connection.

Examples:
  tfo-client --listen                      try fast open on this machine
  tfo-client 192.0.2.1                     probe tfo-server on another host
  tfo-client example.org:443 -n 5          probe any server, five times
  tfo-client mail.example.org:25 --no-reply --message 'EHLO me'
  tfo-client HOST --balance 20             count the keys of the servers behind an address
  tfo-client path example.org:443          find the hop of the path that breaks fast open
  tfo-client explain option-stripped       explain a verdict, cause or fault, and what to do
  tfo-client --print-config > client.toml  create a configuration file";

const AFTER_HELP_OF_PROBE: &str = "\
Exit status: 0 the last connection's SYN data was accepted, 1 connected, but not by fast open,
2 wrong usage or bad configuration, 3 no connection. With --all-addresses: the highest of all.

Examples:
  tfo-client probe 192.0.2.1               as tfo-client 192.0.2.1
  tfo-client probe example.org:https --all-addresses
  tfo-client probe 192.0.2.1 --source 192.0.2.7 --interface eth0
  tfo-client probe 192.0.2.1 --forever --interval 10s";

impl Cli {
    /// Parses the arguments of this process. Exits if they are invalid or ask for help.
    pub(crate) fn from_arguments() -> Self {
        Self::try_from_arguments(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    pub(crate) fn try_from_arguments<I>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item: Into<OsString> + Clone>,
    {
        let matches = Self::parser().try_get_matches_from(arguments).map_err(explain_argument)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        if let Some(Command::Probe(flags)) = &mut cli.command {
            let flags = mem::take(flags);
            cli.probe = flags.over(mem::take(&mut cli.probe));
        } else if let Some(message) = cli.misplaced() {
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        if let Some(message) = cli.useless_target() {
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        cli.take_host()?;
        if let Some(Command::Compare(flags)) = &cli.command
            && let Some(message) = flags.conflict(cli.server.is_some())
        {
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        if let Some(Command::Path(flags)) = &cli.command
            && let Some(message) = flags.conflict()
        {
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        match cli.conflict() {
            Some((one, other)) => Err(Self::command().error(
                ErrorKind::ArgumentConflict,
                format_args!("the argument '{one}' cannot be used with '{other}'"),
            )),
            None => Ok(cli),
        }
    }

    /// Returns the command line, with the help that users see: without the flags that a command does not use.
    pub(crate) fn parser() -> clap::Command {
        let command = help::hide(help::reflow(Self::command()), &WITHOUT_TARGET, &TARGET);
        help::hide(command, &["lab"], &["server"])
    }

    /// Returns an error message if a command that connects to nothing is given a target.
    fn useless_target(&self) -> Option<String> {
        let command = match &self.command {
            Some(Command::Explain(_)) => "explain",
            Some(Command::Cookies(_)) => "cookies",
            Some(Command::Doctor(_)) => "doctor",
            Some(Command::Lab(_)) if self.server.is_some() => {
                return Some("`lab` starts its own server: omit --server".to_owned());
            }
            _ => return None,
        };
        let given = [
            (self.server.is_some(), "--server"),
            (self.port.is_some(), "--port"),
            (self.ipv4, "--ipv4"),
            (self.ipv6, "--ipv6"),
        ];
        let (_, flag) = given.into_iter().find(|(given, _)| *given)?;
        Some(format!("`{command}` connects to nothing: omit {flag}"))
    }

    /// Moves the host that is given without a flag to `--server`.
    fn take_host(&mut self) -> Result<(), clap::Error> {
        let host = match &mut self.command {
            None | Some(Command::Probe(_)) => self.probe.host.take(),
            Some(Command::Compare(flags)) => flags.host.take(),
            Some(Command::Load(flags)) => flags.host.take(),
            _ => None,
        };
        let Some(host) = host else { return Ok(()) };
        if let Some(command) =
            self.command.is_none().then(|| similar_command(host.host())).flatten()
        {
            let name = host.host();
            return Err(Self::command().error(
                ErrorKind::InvalidSubcommand,
                format_args!(
                    "no command is called '{name}'; did you mean `tfo-client {command}`? To connect to a host of \
                     this name: `tfo-client -s {name}`"
                ),
            ));
        }
        if self.server.is_some() {
            return Err(Self::command().error(
                ErrorKind::ArgumentConflict,
                "the argument '[HOST]' cannot be used with '--server <HOST>'",
            ));
        }
        self.server = Some(host);
        Ok(())
    }

    /// Returns the settings that the flags set, including those of the chosen command.
    pub(crate) fn values(&self) -> FlagValues {
        let command_values = match &self.command {
            Some(Command::Lab(flags)) => flags.values(),
            Some(Command::Compare(flags)) => flags.values(),
            Some(Command::Path(flags)) => flags.values(),
            _ => self.probe.values(),
        };
        command_values
            .with("--server", "server.address", self.server.as_ref())
            .with("--port", "server.port", self.port)
            .with("--ipv4", "probe.family", self.ipv4.then_some(Family::Ipv4))
            .with("--ipv6", "probe.family", self.ipv6.then_some(Family::Ipv6))
            .with("--output", "output.format", self.output)
    }

    /// Returns an error message if flags of the probe precede another command.
    fn misplaced(&self) -> Option<&'static str> {
        if self.probe == ProbeFlags::default() {
            return None;
        }
        match self.command {
            None | Some(Command::Probe(_)) => None,
            Some(Command::Lab(_)) => {
                Some("flags before `lab` belong to `probe`; put those that `lab` accepts after it")
            }
            Some(Command::Compare(_)) => Some(
                "flags before `compare` belong to `probe`; put those that `compare` accepts after it",
            ),
            Some(
                Command::Explain(_)
                | Command::Cookies(_)
                | Command::Doctor(_)
                | Command::Load(_)
                | Command::Path(_),
            ) => Some("flags of `probe` can't be used with another subcommand"),
        }
    }

    /// Returns two given flags that exclude each other. The parser can't check this, because one may
    /// precede the subcommand and the other follow it.
    fn conflict(&self) -> Option<(&'static str, &'static str)> {
        let probe = &self.probe;
        let port_in_server = self.server.as_ref().is_some_and(|server| server.port().is_some());
        [
            (self.ipv4 && self.ipv6, "--ipv4", "--ipv6"),
            (port_in_server && self.port.is_some(), "--server <HOST:PORT>", "--port <PORT>"),
            (probe.forever && probe.count.is_some(), "--forever", "--count <N>"),
            (probe.forever && probe.balance.is_some(), "--forever", "--balance <N>"),
            (probe.forever && probe.all_addresses, "--forever", "--all-addresses"),
            (probe.listen && probe.all_addresses, "--listen", "--all-addresses"),
            (probe.balance.is_some() && probe.count.is_some(), "--balance <N>", "--count <N>"),
            (probe.message.is_some() && probe.size.is_some(), "--message <TEXT>", "--size <SIZE>"),
            (probe.expect_reply && probe.no_reply, "--expect-reply", "--no-reply"),
        ]
        .into_iter()
        .find_map(|(both, one, other)| both.then_some((one, other)))
    }
}

/// Explains an argument that no command expects there: a port after a blank, as `nc` takes it, or a flag of another
/// command.
fn explain_argument(error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let mut command = Cli::command();
    let flag = given.strip_prefix("--");
    let has_flag = |command: &&clap::Command| {
        command.get_arguments().any(|argument| flag.is_some() && argument.get_long() == flag)
    };
    let owners: Vec<&str> =
        command.get_subcommands().filter(has_flag).map(clap::Command::get_name).collect();
    let meant = match error.kind() {
        ErrorKind::UnknownArgument if service_name::port(given).is_ok() => {
            format!("a port is given as HOST:{given} or -p {given}")
        }
        ErrorKind::UnknownArgument if !owners.is_empty() => {
            format!("it is a flag of {}", owners.join(", "))
        }
        _ => return error,
    };
    let message = format!("unexpected argument '{given}' found: {meant}");
    command.error(error.kind(), message)
}

/// The commands that connect to nothing, and the flags that name a target.
const WITHOUT_TARGET: [&str; 3] = ["explain", "cookies", "doctor"];
const TARGET: [&str; 4] = ["server", "port", "ipv4", "ipv6"];

/// Returns the command that a word resembles, unless the word looks like a host: a name with a dot, an address.
fn similar_command(word: &str) -> Option<String> {
    if word.contains(['.', ':']) || word.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let command = Cli::command();
    let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    nearest(&names, word).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::{fmt, str::FromStr};

    use tfo_core::cli::{Expected, value::names};

    use super::*;
    use crate::config::file::{Count, File, Interval, Mode, PayloadSize, Timeout};

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_from_arguments(line.split(' '))
    }

    #[test]
    fn flag_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_work_without_and_before_and_after_the_subcommand() {
        let all = "-s ::1 -p 80 -6 -l -n 1 --mode off --message hi --no-reply --connect-timeout 1s \
                   --reply-timeout 2s --interval 3s --fresh -c x.toml --print-config -o json -v -q";
        let debug_text = |line: String| {
            let mut cli = parse(&line).unwrap();
            cli.command = None;
            format!("{cli:?}")
        };
        let alone = debug_text(format!("tfo-client {all}"));
        assert_eq!(debug_text(format!("tfo-client {all} probe")), alone);
        assert_eq!(debug_text(format!("tfo-client probe {all}")), alone);
        let flag = |cli: Cli| (cli.probe.count, cli.probe.size, cli.port);
        assert_eq!(
            flag(parse("tfo-client -n 1 --size 1B -p 80 probe -n 2 --size 2B").unwrap()),
            (Some(Count::new(2)), Some(PayloadSize::from_bytes(2)), Some(Port::new(80))),
            "the flag after the subcommand wins"
        );
    }

    #[test]
    fn host_stands_without_a_flag() {
        for line in [
            "tfo-client example.org:443",
            "tfo-client -n 1 example.org:443",
            "tfo-client example.org:443 -n 1",
            "tfo-client probe example.org:443",
            "tfo-client load example.org:443",
            "tfo-client compare --tls example.org:443",
        ] {
            assert_eq!(parse(line).unwrap().server, "example.org:443".parse().ok(), "{line}");
        }
        for line in ["tfo-client a -s b", "tfo-client -s b probe a", "tfo-client load a -s b"] {
            assert_eq!(parse(line).unwrap_err().kind(), ErrorKind::ArgumentConflict, "{line}");
        }
    }

    #[test]
    fn word_that_resembles_a_command_is_no_host() {
        for (word, command) in [("docter", "doctor"), ("prob", "probe"), ("cookie", "cookies")] {
            let error = parse(&format!("tfo-client {word}")).unwrap_err();
            assert_eq!((error.kind(), error.exit_code()), (ErrorKind::InvalidSubcommand, 2));
            let text = error.to_string();
            assert!(text.contains(&format!("`tfo-client {command}`")), "{text}");
        }
        for host in ["localhost", "docter.example", "prob1", "::1", "web"] {
            assert!(parse(&format!("tfo-client {host}")).is_ok(), "{host}");
        }
        assert!(parse("tfo-client -s docter").is_ok(), "the flag says that it is a host");
    }

    #[test]
    fn flag_of_another_command_is_explained() {
        for (line, owners) in [
            ("tfo-client --rtt 1ms", "--rtt' found: it is a flag of lab, path, compare\n"),
            ("tfo-client doctor --forever", "--forever' found: it is a flag of probe\n"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(owners), "{error}");
        }
        assert!(parse("tfo-client --sorce a").unwrap_err().to_string().contains("'--source'"));
    }

    #[test]
    fn port_after_a_blank_is_explained() {
        for line in ["tfo-client web 9", "tfo-client path web 443"] {
            let error = parse(line).unwrap_err();
            let port = line.split(' ').next_back().unwrap();
            assert!(error.to_string().contains(&format!(" HOST:{port} or -p {port}")), "{error}");
        }
        assert!(!parse("tfo-client a b").unwrap_err().to_string().contains("HOST:b"));
    }

    #[test]
    fn repeated_flag_overrides() {
        let cli = parse("tfo-client -s a -p 1 -n 1 --mode off -s b -p 2 -n 2 --mode auto").unwrap();
        let Cli { server, port, probe, .. } = cli;
        assert_eq!((server, port), ("b".parse().ok(), Some(Port::new(2))));
        assert_eq!((probe.count, probe.mode), (Some(Count::new(2)), Some(Mode::Auto)));
        assert_eq!(parse("tfo-client -v -v").unwrap().verbose, 2, "unless it is counted");
    }

    #[test]
    fn target_of_a_command_that_connects_to_nothing_is_refused() {
        assert!(parse("tfo-client lab -s a").is_err());
        assert!(parse("tfo-client lab -p 1 -6").is_ok());
        for command in WITHOUT_TARGET {
            for flag in ["-s a", "-p 1", "-4", "-6"] {
                for line in [format!("{command} {flag}"), format!("{flag} {command}")] {
                    let error = parse(&format!("tfo-client {line}")).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::ArgumentConflict, "{line}: {error}");
                }
            }
        }
    }

    #[test]
    fn exclusive_flags_before_or_after_the_subcommand_are_refused() {
        for (one, other) in [
            ("-4", "-6"),
            ("-s a:80", "-p 80"),
            ("-s [::1]:80", "-p 90"),
            ("--balance 20", "-n 3"),
            ("--forever", "-n 3"),
            ("--forever", "--balance 3"),
            ("--forever", "--all-addresses"),
            ("-l", "--all-addresses"),
            ("--message hi", "--size 1B"),
            ("--expect-reply", "--no-reply"),
        ] {
            for line in [
                format!("tfo-client {one} {other}"),
                format!("tfo-client probe {other} {one}"),
                format!("tfo-client {one} probe {other}"),
                format!("tfo-client {other} probe {one}"),
            ] {
                let error = parse(&line).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ArgumentConflict, "{line}");
                assert_eq!(error.exit_code(), 2);
            }
        }
    }

    /// Returns the range in an error "expected … from 1 to 2, such as …".
    fn range<T: FromStr<Err = Expected> + fmt::Debug>() -> String {
        let text = "".parse::<T>().unwrap_err().to_string();
        text.split(" from ").nth(1).unwrap().split(',').next().unwrap().to_owned()
    }

    #[test]
    fn help_states_defaults_and_allowed_values() {
        let File { server, probe, output } = File::default();
        let command = Cli::command();
        for (name, default, allowed) in [
            ("server", server.address.to_string(), String::new()),
            ("port", server.port.to_string(), range::<Port>()),
            ("count", probe.count.to_string(), range::<Count>()),
            (
                "mode",
                probe.mode.to_string(),
                names::<Mode>().join(", ").replace(", off", " or off"),
            ),
            ("size", probe.size.to_string(), range::<PayloadSize>()),
            ("connect_timeout", probe.connect_timeout.to_string(), range::<Timeout>()),
            ("reply_timeout", probe.reply_timeout.to_string(), range::<Timeout>()),
            ("interval", probe.interval.to_string(), range::<Interval>()),
            ("output", output.format.to_string(), names::<Format>().join(" or ")),
        ] {
            let argument = command.get_arguments().find(|arg| arg.get_id() == name).unwrap();
            let help = argument.get_help().unwrap().to_string();
            assert!(help.contains(&format!("[default: {default}]")), "{name}: {help}");
            assert!(help.contains(&allowed), "{name}: {allowed}: {help}");
        }
    }
}
