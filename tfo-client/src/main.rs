//! `tfo-client`: connects with TCP Fast Open and says what happened, and why.
#![forbid(unsafe_code)]

mod cli;
mod command;
mod config;
mod report;
mod statistics;

use std::process::ExitCode;

use tfo_core::program::{Environment, SettingsError, logging, output};

use cli::{Cli, Command};

fn main() -> ExitCode {
    // Before anything is printed. Should it fail, SIGXFSZ ends the process, as by default.
    let _ = output::survive_file_size_limit();
    let cli = Cli::from_arguments();
    run(&cli).unwrap_or_else(|error| report::settings_error(&error))
}

fn run(cli: &Cli) -> Result<ExitCode, SettingsError> {
    let environment = Environment::of_process();
    logging::init(cli.verbose, cli.quiet, &environment)?;
    let config = config::resolve(cli, &environment)?;
    if cli.print_config {
        return Ok(report::print_config(&config.file));
    }
    Ok(match &cli.command {
        None | Some(Command::Probe(_)) => command::probe::run(&config.settings),
        Some(Command::Explain(flags)) => command::explain::run(&config.settings, flags),
        Some(Command::Cookies(flags)) => command::cookies::run(&config.settings, flags),
        Some(Command::Doctor(flags)) => command::doctor::run(&config.settings, &flags.settings()),
        Some(Command::Compare(flags)) => command::compare::run(&config.settings, flags),
        Some(Command::Load(flags)) => command::load::run(&config.settings, &flags.settings()),
        Some(Command::Lab(flags)) => {
            command::lab::run(&config.settings, &flags.settings(cli.ipv6()))
        }
    })
}
