//! `tfo-server`: serves over TCP Fast Open and reports, for each connection, whether fast open was used.
//!
//! `CONTRIBUTING.md` describes the folders and their order.
#![forbid(unsafe_code)]

mod access_log;
mod arrival;
mod check;
mod cli;
mod close_reason;
mod config;
mod connection;
mod generate;
mod keys;
mod metrics;
mod output;
mod server;
mod service;
mod worker;

use std::process::ExitCode;

use tfo_core::cli::generate::Generate;
use tfo_core::cli::output::survive_file_size_limit;
use tfo_core::cli::{Environment, logging};

use cli::{Cli, Command};
use output::Failure;

fn main() -> ExitCode {
    // Before anything is printed. If this fails, SIGXFSZ ends the process, as it does by default.
    let _ = survive_file_size_limit();
    let result = match Generate::from_arguments("tfo-server") {
        Some(asked) => generate::run(&asked),
        None => run(&Cli::from_arguments()),
    };
    let status = result.unwrap_or_else(|failure| {
        logging::print(&format!("error: {failure}"));
        failure.exit_code()
    });
    logging::finish();
    status
}

fn run(cli: &Cli) -> Result<ExitCode, Failure> {
    let flags = &cli.flags;
    let environment = Environment::of_process();
    let serves = cli.command.is_none() && !flags.print_config;
    let start_logging = if serves { logging::init_queued } else { logging::init };
    start_logging(flags.verbose, flags.quiet, &environment)?;
    let config = config::resolve(flags, &environment)?;
    let reload = || config::resolve_again(flags, &environment).map(|config| config.settings);
    if flags.print_config {
        output::print(&config.file.to_toml()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    match &cli.command {
        None => server::run(config.settings, &reload),
        Some(Command::Check) => check::run(&config.settings),
        Some(Command::Top(top)) => metrics::top::run(&config.settings, top),
        Some(Command::Keys(keys)) => {
            keys::command::run(&keys.command, config.settings.output.format)
        }
    }
}
