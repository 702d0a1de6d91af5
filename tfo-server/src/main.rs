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
use tfo_core::cli::{Environment, logging, value::Format};

use cli::{Cli, Command};
use config::flags::Flags;
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
    if let (Some(Command::Keys(keys)), false) = (&cli.command, flags.print_config) {
        return keys::command::run(&keys.command, format_of_keys(flags, &environment));
    }
    let config = config::resolve(flags, &environment)?;
    let reload = || {
        let config = config::resolve_again(flags, &environment)?;
        // A key file that is missing now does not stop a reload: the keys before stay.
        config.log(true);
        Ok(config.settings)
    };
    if flags.print_config {
        output::print(&config.file.to_toml()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    match &cli.command {
        Some(Command::Top(top)) => metrics::top::run(&config.settings, top),
        command => {
            config.log(serves);
            config.check_files()?;
            match command {
                Some(_) => check::run(&config.settings),
                None => server::run(config.settings, &reload),
            }
        }
    }
}

/// Returns the output format of `keys`, the only setting that it uses: it also works beside a configuration that is not
/// valid yet.
fn format_of_keys(flags: &Flags, environment: &Environment) -> Format {
    match config::resolve(flags, environment) {
        Ok(config) => config.settings.output.format,
        Err(e) => {
            log::warn!("{e}; `keys` does without the configuration");
            flags.output.unwrap_or_default()
        }
    }
}
