//! `tfo-server generate`: the files that packages install beside the program. The arguments are parsed in `tfo-core`.

use std::process::ExitCode;

use tfo_core::cli::generate::{Generate, Program};
use tfo_core::cli::value::{Format, possible_values};

use crate::cli::Cli;
use crate::config::values::ServiceKind;
use crate::output::{self, Failure};

pub(crate) fn run(asked: &Generate) -> Result<ExitCode, Failure> {
    if let Some(text) = asked.run(program()).map_err(|e| Failure::settings(&e))? {
        output::print(text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn program() -> Program {
    Program {
        command: Cli::parser(),
        choices: vec![
            ("output", possible_values::<Format>()),
            ("service", possible_values::<ServiceKind>()),
        ],
        config_name: "server.toml",
        config: include_str!("../config/server.toml"),
    }
}
