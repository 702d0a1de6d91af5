#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "the comments are the help that users read"
)]

use std::{ffi::OsString, mem, path::PathBuf};

use clap::{ArgAction, CommandFactory, Parser, Subcommand, error::ErrorKind};
use tfo_core::cli::{Port, value::Format};

use crate::{
    compare::CompareFlags,
    config::{Overrides, file::Family, server_address::ServerAddress},
    cookies::CookiesFlags,
    doctor::DoctorFlags,
    explain::ExplainFlags,
    lab::LabFlags,
    load::LoadFlags,
    path::PathFlags,
    probe::ProbeFlags,
};

/// Connects with TCP Fast Open (RFC 7413) and says what happened, and why.
#[derive(Debug, Parser)]
#[command(
    name = "tfo-client",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = AFTER_HELP
)]
pub(crate) struct Cli {
    // The orders keep the target first and the rest last in the help of subcommands too.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Host to connect to: name or address, HOST:PORT or [IPV6]:PORT [default: 127.0.0.1]
    #[arg(short, long, global = true, display_order = 1, value_name = "HOST")]
    server: Option<ServerAddress>,

    /// Port to connect to, 1 to 65535 [default: 2222]
    #[arg(short, long, global = true, display_order = 2, value_name = "PORT")]
    port: Option<Port>,

    /// Use IPv4 only
    #[arg(short = '4', long, global = true, display_order = 3)]
    ipv4: bool,

    /// Use IPv6 only
    #[arg(short = '6', long, global = true, display_order = 4)]
    ipv6: bool,

    /// The flags of `probe`, which is also what happens without a subcommand.
    #[command(flatten)]
    pub(crate) probe: ProbeFlags,

    /// Configuration file [default: config/client.toml, else /etc/tfo/client.toml]
    #[arg(short, long, global = true, display_order = 101, value_name = "PATH")]
    config: Option<PathBuf>,

    /// Print the settings in force, as a configuration file, and end
    #[arg(long, global = true, display_order = 102)]
    pub(crate) print_config: bool,

    /// Data on standard output: text or json [default: text]
    #[arg(short, long, global = true, display_order = 103, value_name = "FORMAT")]
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
    /// Connect a few times, say what happened, and why (also without a subcommand)
    Probe(ProbeFlags),
    /// What a verdict or a cause means: packets, evidence, who does it, what to do
    Explain(ExplainFlags),
    /// The cookies that this host has cached: list, show, forget
    Cookies(CookiesFlags),
    /// Two hosts and a path on this machine, and a picture of the packets that cross it
    Lab(Box<LabFlags>),
    /// Which hop of the path breaks fast open? Without root
    Path(Box<PathFlags>),
    /// What does fast open save here, against regular connections, and should it be on?
    Compare(Box<CompareFlags>),
    /// Open connections as fast as they go, or at a fixed rate, and count verdicts and times
    Load(Box<LoadFlags>),
    /// Is this host ready for fast open, and what does it do with it?
    Doctor(DoctorFlags),
}

const AFTER_HELP: &str = "\
A value comes from its flag, else its environment variable, else the configuration file, else the
default. A variable is TFO_CLIENT_ and the name of the flag: TFO_CLIENT_SERVER, TFO_CLIENT_PORT,
TFO_CLIENT_COUNT, TFO_CLIENT_MODE, TFO_CLIENT_MESSAGE, TFO_CLIENT_SIZE, TFO_CLIENT_EXPECT_REPLY
(true or false), TFO_CLIENT_CONNECT_TIMEOUT, TFO_CLIENT_REPLY_TIMEOUT, TFO_CLIENT_INTERVAL,
TFO_CLIENT_FRESH (true or false), TFO_CLIENT_CONFIG, TFO_CLIENT_OUTPUT; and TFO_CLIENT_FAMILY (any,
ipv4 or ipv6) for -4 and -6. RUST_LOG chooses the log where neither -v nor -q does; NO_COLOR turns
colour off. A time has a unit (250ms, 5s, 1m30s), and so has a size (64B, 16KiB, 1MiB).

Exit status: 0 the last connection's SYN data was accepted, 1 connected, but not by fast open,
2 wrong usage or bad configuration, 3 no connection.

Examples:
  tfo-client --listen                      see fast open on this machine
  tfo-client -s 192.0.2.1                  probe tfo-server on another host
  tfo-client -s example.org:443 -n 5       probe any server, five times
  tfo-client -s mail.example.org:25 --no-reply --message 'EHLO me'
  tfo-client -s HOST --balance 20          how many keys answer behind that address?
  tfo-client path example.org:443          which hop of the path breaks it? Without root
  tfo-client explain option-stripped       what a verdict or cause means, and what to do
  tfo-client --print-config > client.toml  start a configuration file";

impl Cli {
    /// The flags of this process; ends it when they are wrong, or ask for help.
    pub(crate) fn from_arguments() -> Self {
        Self::try_from_arguments(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    pub(crate) fn try_from_arguments<I>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item: Into<OsString> + Clone>,
    {
        let mut cli = Self::try_parse_from(arguments)?;
        if let Some(Command::Probe(flags)) = &mut cli.command {
            let flags = mem::take(flags);
            cli.probe = flags.over(mem::take(&mut cli.probe));
        } else if let Some(message) = cli.misplaced() {
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
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

    /// Returns the values that the flags set, whichever command they belong to.
    pub(crate) fn overrides(&self) -> Overrides {
        let of_command = match &self.command {
            Some(Command::Lab(flags)) => flags.overrides(),
            Some(Command::Compare(flags)) => flags.overrides(),
            Some(Command::Path(flags)) => flags.overrides(),
            _ => self.probe.overrides(),
        };
        Overrides {
            config: self.config.clone(),
            server: of_command.server.clone().or_else(|| self.server.clone()),
            port: self.port,
            family: self.family(),
            output: self.output,
            ..of_command
        }
    }

    fn family(&self) -> Option<Family> {
        match (self.ipv4, self.ipv6) {
            (true, _) => Some(Family::Ipv4),
            (_, true) => Some(Family::Ipv6),
            (false, false) => None,
        }
    }

    /// What is wrong with flags of the probe before a command that is another.
    fn misplaced(&self) -> Option<&'static str> {
        if self.probe == ProbeFlags::default() {
            return None;
        }
        match self.command {
            None | Some(Command::Probe(_)) => None,
            Some(Command::Lab(_)) => {
                Some("the flags of the probe stand behind `lab`, as far as it has them")
            }
            Some(Command::Compare(_)) => {
                Some("the flags of the probe stand behind `compare`, as far as it has them")
            }
            Some(
                Command::Explain(_)
                | Command::Cookies(_)
                | Command::Doctor(_)
                | Command::Load(_)
                | Command::Path(_),
            ) => Some("the flags of the probe belong to `probe`"),
        }
    }

    /// Two flags that exclude each other. The parser can't tell, because one may stand before the
    /// subcommand and the other behind it.
    fn conflict(&self) -> Option<(&'static str, &'static str)> {
        let probe = &self.probe;
        let port_in_server = self.server.as_ref().is_some_and(|server| server.port().is_some());
        [
            (self.ipv4 && self.ipv6, "--ipv4", "--ipv6"),
            (port_in_server && self.port.is_some(), "--server <HOST:PORT>", "--port <PORT>"),
            (probe.balance.is_some() && probe.count.is_some(), "--balance <N>", "--count <N>"),
            (probe.message.is_some() && probe.size.is_some(), "--message <TEXT>", "--size <SIZE>"),
            (probe.expect_reply && probe.no_reply, "--expect-reply", "--no-reply"),
        ]
        .into_iter()
        .find_map(|(both, one, other)| both.then_some((one, other)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::{
        ConnectTimeout, Count, File, Interval, Mode, PayloadSize, ReplyTimeout,
    };

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_from_arguments(line.split(' '))
    }

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_work_without_and_before_and_after_the_subcommand() {
        let all = "-s ::1 -p 80 -6 -l -n 1 --mode off --message hi --no-reply --connect-timeout 1s \
                   --reply-timeout 2s --interval 3s --fresh -c x.toml --print-config -o json -v -q";
        let told = |line: String| {
            let mut cli = parse(&line).unwrap();
            cli.command = None;
            format!("{cli:?}")
        };
        let alone = told(format!("tfo-client {all}"));
        assert_eq!(told(format!("tfo-client {all} probe")), alone);
        assert_eq!(told(format!("tfo-client probe {all}")), alone);
        let flag = |cli: Cli| (cli.probe.count, cli.probe.size, cli.port);
        assert_eq!(
            flag(parse("tfo-client -n 1 --size 1B -p 80 probe -n 2 --size 2B").unwrap()),
            (Some(Count::new(2)), Some(PayloadSize::from_bytes(2)), Some(Port::new(80))),
            "the later one wins"
        );
    }

    #[test]
    fn flags_that_exclude_each_other_are_refused_wherever_they_stand() {
        for (one, other) in [
            ("-4", "-6"),
            ("-s a:80", "-p 80"),
            ("-s [::1]:80", "-p 90"),
            ("--balance 20", "-n 3"),
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

    /// The range from "expected … from 1 to 2, such as …".
    fn range(error: &impl ToString) -> String {
        let text = error.to_string();
        text.split(" from ").nth(1).unwrap().split(',').next().unwrap().to_owned()
    }

    #[test]
    fn help_and_shipped_file_state_the_defaults_and_the_rules() {
        let File { server, probe, output } = File::default();
        let shipped = include_str!("../../config/client.toml").replace('"', "");
        let command = Cli::command();
        for (name, default, allowed) in [
            ("server", server.address.to_string(), String::new()),
            ("port", server.port.to_string(), range(&"".parse::<Port>().unwrap_err())),
            ("count", probe.count.to_string(), range(&"".parse::<Count>().unwrap_err())),
            ("mode", probe.mode.to_string(), Mode::NAMES.join(", ").replace(", off", " or off")),
            ("size", probe.size.to_string(), range(&"".parse::<PayloadSize>().unwrap_err())),
            (
                "connect_timeout",
                probe.connect_timeout.to_string(),
                range(&"".parse::<ConnectTimeout>().unwrap_err()),
            ),
            (
                "reply_timeout",
                probe.reply_timeout.to_string(),
                range(&"".parse::<ReplyTimeout>().unwrap_err()),
            ),
            ("interval", probe.interval.to_string(), range(&"".parse::<Interval>().unwrap_err())),
            ("output", output.format.to_string(), Format::NAMES.join(" or ")),
        ] {
            let argument = command.get_arguments().find(|arg| arg.get_id() == name).unwrap();
            let help = argument.get_help().unwrap().to_string();
            assert!(help.contains(&format!("[default: {default}]")), "{name}: {help}");
            assert!(help.contains(&allowed), "{name}: {allowed}: {help}");
            assert!(name == "mode" || shipped.contains(&allowed), "{name}: {allowed} in the file");
        }
    }
}
