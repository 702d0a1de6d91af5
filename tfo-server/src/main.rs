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

use tfo_core::program::{Environment, SettingsError, logging, output};

use cli::{Cli, Command};

fn main() -> ExitCode {
    // Before anything is printed. Should it fail, SIGXFSZ ends the process, as by default.
    let _ = output::survive_file_size_limit();
    let cli = Cli::from_arguments();
    let status = run(&cli).unwrap_or_else(|error| report::settings_error(&error));
    logging::finish();
    status
}

fn run(cli: &Cli) -> Result<ExitCode, SettingsError> {
    let environment = Environment::of_process();
    let serves = cli.command.is_none() && !cli.print_config;
    let start_logging = if serves { logging::init_queued } else { logging::init };
    start_logging(cli.verbose, cli.quiet, &environment)?;
    let config = config::resolve(cli, &environment)?;
    let again = || config::resolve_again(cli, &environment).map(|config| config.settings);
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
