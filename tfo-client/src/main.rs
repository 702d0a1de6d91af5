//! `tfo-client`: connects with TCP Fast Open and says what happened, and why.
#![forbid(unsafe_code)]

mod cli;
mod compare;
mod config;
mod cookies;
mod doctor;
mod explain;
mod first_bytes;
mod interruption;
mod lab;
mod load;
mod network;
mod output;
mod probe;
mod prose;
mod target;
mod trace;

use std::process::ExitCode;

use tfo_core::program::{Environment, SettingsError, logging, output as streams};

use cli::{Cli, Command};

fn main() -> ExitCode {
    // Before anything is printed. Should it fail, SIGXFSZ ends the process, as by default.
    let _ = streams::survive_file_size_limit();
    let cli = Cli::from_arguments();
    run(&cli).unwrap_or_else(|error| output::settings_error(&error))
}

fn run(cli: &Cli) -> Result<ExitCode, SettingsError> {
    let environment = Environment::of_process();
    logging::init(cli.verbose, cli.quiet, &environment)?;
    let config = config::resolve(&cli.overrides(), &environment)?;
    if cli.print_config {
        return Ok(output::print_config(&config.file));
    }
    Ok(match &cli.command {
        None | Some(Command::Probe(_)) => probe::run(&config.settings, &cli.probe),
        Some(Command::Explain(flags)) => explain::run(&config.settings, flags),
        Some(Command::Cookies(flags)) => cookies::run(&config.settings, flags),
        Some(Command::Doctor(flags)) => doctor::run(&config.settings, &flags.settings()),
        Some(Command::Compare(flags)) => compare::run(&config.settings, flags),
        Some(Command::Load(flags)) => load::run(&config.settings, &flags.settings()),
        Some(Command::Lab(flags)) => lab::run(&config.settings, flags),
    })
}
