//! `tfo-client generate`: the files that packages install beside the program. The arguments are parsed in `tfo-core`.

use std::process::ExitCode;

use clap::builder::PossibleValue;
use tfo_core::cli::generate::{Generate, Program};
use tfo_core::cli::value::{Format, possible_values};
use tfo_core::diagnosis::manual::Topic;

use crate::cli::Cli;
use crate::config::file::Mode;
use crate::output::{self, Failure};

pub(crate) fn run(asked: &Generate) -> Result<ExitCode, Failure> {
    if let Some(text) = asked.run(program()).map_err(|e| Failure::write(&e.path, e.source))? {
        output::print_as("the configuration file", text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn program() -> Program {
    Program {
        command: Cli::parser(),
        choices: vec![
            ("output", possible_values::<Format>()),
            ("mode", possible_values::<Mode>()),
            ("word", Topic::all().map(|topic| PossibleValue::new(topic.as_str())).collect()),
        ],
        config_name: "client.toml",
        config: include_str!("../config/client.toml"),
    }
}
