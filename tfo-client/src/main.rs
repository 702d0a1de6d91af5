//! `tfo-client`: connects with TCP Fast Open and reports what happened, and why.
//!
//! `CONTRIBUTING.md` describes the folders, and which of them may use which.
#![forbid(unsafe_code)]

mod cli;
mod compare;
mod config;
mod cookies;
mod doctor;
mod explain;
mod first_bytes;
mod generate;
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

use std::process::ExitCode;

use tfo_core::cli::{Environment, generate::Generate, logging, output as streams};

use cli::{Cli, Command};
use output::Failure;

fn main() -> ExitCode {
    // Must precede all output. If it fails, SIGXFSZ terminates the process, which is the default.
    let _ = streams::survive_file_size_limit();
    let result = match Generate::from_arguments("tfo-client") {
        Some(asked) => generate::run(&asked),
        None => run(&Cli::from_arguments()),
    };
    result.unwrap_or_else(|failure| {
        output::error(&failure);
        failure.exit_code()
    })
}

fn run(cli: &Cli) -> Result<ExitCode, Failure> {
    let environment = Environment::of_process();
    logging::init(cli.verbose, cli.quiet, &environment)?;
    let config = config::resolve(cli.config.as_deref(), &cli.values(), &environment)?;
    if cli.print_config {
        output::print_as("the settings", config.file.to_toml()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let settings = &config.settings;
    match &cli.command {
        None | Some(Command::Probe(_)) => probe::run(settings, &cli.probe),
        Some(Command::Explain(flags)) => explain::run(settings, flags),
        Some(Command::Cookies(flags)) => cookies::run(settings, flags),
        Some(Command::Doctor(flags)) => doctor::run(settings, flags),
        Some(Command::Compare(flags)) => compare::run(settings, flags, cli.verbose > 0),
        Some(Command::Load(flags)) => load::run(settings, flags),
        Some(Command::Lab(flags)) => lab::run(settings, flags),
        Some(Command::Path(flags)) => path::run(settings, flags),
    }
}
