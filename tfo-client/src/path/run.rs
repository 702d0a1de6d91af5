//! The command, on this host or in the lab.

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;

use tfo_core::cli::value::Format;

use super::arguments::PathFlags;
use super::exploration::explore;
use super::result::{Exploration, Wish};
use super::{document, markdown, text};
use crate::config::file::{Family, InterfaceName, SourceAddress};
use crate::config::{Settings, Target};
use crate::output::{self, Failure, NO_CONNECTION};
use crate::{interruption, target};

/// Exit status: something on the path breaks fast open, or it does not work from end to end.
const BROKEN: u8 = 1;

pub(crate) fn run(settings: &Settings, flags: &PathFlags) -> Result<ExitCode, Failure> {
    output::try_files(&flags.report)?;
    let v6 = settings.probe.family == Family::Ipv6;
    let described = flags.network.settings(v6)?;
    // Must come before the first thread.
    let lab = flags.lab.then(|| described.start(settings.target.port)).transpose()?;
    let interrupted = interruption::flag().unwrap_or_else(|e| {
        log::warn!("Ctrl-C will end the program at once: {e}");
        Arc::default()
    });
    let mirror = lab.is_some() && described.server_command.is_none();
    let wish = Wish {
        all: flags.all,
        to_target: flags.to_target || mirror,
        max_hops: flags.max_hops(),
        lab: lab.is_some().then_some(described),
    };
    let found = match &lab {
        None => {
            let address = target::resolve(&settings.target, settings.probe.family);
            if let (Err(failure), Format::Json) = (&address, settings.output.format) {
                output::print(document::unresolved(&settings.target.host, failure))?;
            }
            let address = address?;
            target::check_local(&settings.probe, address)?;
            explore(settings, address, wish, &interrupted)?
        }
        Some(lab) => {
            let address = lab.address;
            let target = Target { host: address.ip().to_string(), port: address.port() };
            let mut settings = Settings { target, ..settings.clone() };
            // Those of the configuration are this host's.
            settings.probe.source = SourceAddress::default();
            settings.probe.interface = InterfaceName::default();
            lab.network.client().run(move || explore(&settings, address, wish, &interrupted))?
        }
    };
    output::print(match settings.output.format {
        Format::Json => document::document(&found),
        Format::Text => text::report(&found, output::colour()),
    })?;
    if let Some(file) = &flags.report {
        fs::write(file, markdown::report(&found)).map_err(|e| Failure::write(file, e))?;
    }
    Ok(status(&found))
}

fn status(found: &Exploration) -> ExitCode {
    if !found.is_answered() {
        return ExitCode::from(NO_CONNECTION);
    }
    let broken = !found.conclusion.faults.is_empty() || found.works() == Some(false);
    ExitCode::from(if broken { BROKEN } else { 0 })
}
