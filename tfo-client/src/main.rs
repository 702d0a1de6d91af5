//! `tfo-client`: connects with TCP Fast Open and says what happened, and why.
//!
//! What each folder has, and which may use which, stands in `CONTRIBUTING.md`.
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
mod path;
mod probe;
mod prose;
mod schema;
#[cfg(test)]
mod schema_files;
mod target;
mod trace;

use std::io;
use std::process::ExitCode;

use tfo_core::cli::{Environment, logging, output as streams};

use cli::{Cli, Command};
use output::Failure;

fn main() -> ExitCode {
    // Before anything is printed. Should it fail, SIGXFSZ ends the process, as by default.
    let _ = streams::survive_file_size_limit();
    run(&Cli::from_arguments()).unwrap_or_else(|failure| {
        output::error(&failure);
        failure.exit_code()
    })
}

fn run(cli: &Cli) -> Result<ExitCode, Failure> {
    let environment = Environment::of_process();
    logging::init(cli.verbose, cli.quiet, &environment)?;
    let config = config::resolve(&cli.overrides(), &environment)?;
    if cli.print_config {
        return print_config(&config.file);
    }
    let settings = &config.settings;
    match &cli.command {
        None | Some(Command::Probe(_)) => probe::run(settings, &cli.probe),
        Some(Command::Explain(flags)) => explain::run(settings, flags),
        Some(Command::Cookies(flags)) => cookies::run(settings, flags),
        Some(Command::Doctor(flags)) => doctor::run(settings, flags),
        Some(Command::Compare(flags)) => compare::run(settings, flags),
        Some(Command::Load(flags)) => load::run(settings, flags),
        Some(Command::Lab(flags)) => lab::run(settings, flags),
        Some(Command::Path(flags)) => path::run(settings, flags),
    }
}

/// Prints the effective configuration, so that it can be used as a file.
fn print_config(file: &config::file::File) -> Result<ExitCode, Failure> {
    const WHAT: &str = "the settings";
    let text = toml::to_string(file)
        .map_err(|e| Failure::Print { what: WHAT, source: io::Error::other(e) })?;
    output::print_as(WHAT, text)?;
    Ok(ExitCode::SUCCESS)
}
