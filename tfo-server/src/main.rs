//! `tfo-server`: serves over TCP Fast Open and says, for each connection, whether it happened.
#![forbid(unsafe_code)]

mod cli;
mod command;
mod config;
mod engine;
mod keys;
mod process;
mod report;
mod service;

use std::process::ExitCode;

use tfo_core::program::{Environment, SettingsError, logging};

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::from_arguments();
    run(&cli).unwrap_or_else(|error| report::settings_error(&error))
}

fn run(cli: &Cli) -> Result<ExitCode, SettingsError> {
    let environment = Environment::of_process();
    logging::init(cli.verbose, cli.quiet, &environment)?;
    let config = config::resolve(cli, &environment)?;
    let again = || config::resolve(cli, &environment).map(|config| config.settings);
    if cli.print_config {
        return Ok(report::print_config(&config.file));
    }
    Ok(match &cli.command {
        None => engine::run(config.settings, &again),
        Some(Command::Check) => command::check::run(&config.settings),
        Some(Command::Top(top)) => command::top::run(&config.settings, top.from),
        Some(Command::Keys(keys)) => command::keys::run(&keys.command, config.settings.format),
    })
}
