//! Logs go to standard error, one line a record.

use std::{
    env, fs,
    io::{self, IsTerminal, Write},
    os::unix::fs::MetadataExt,
};

use env_logger::{Builder, WriteStyle};
use log::LevelFilter;

use super::{
    environment::Environment,
    error::SettingsError,
    output::{colour_allowed, printable},
};

const VARIABLE: &str = "RUST_LOG";

/// Starts the logger. `-v` and `-q` move the level from info by their counts; without either,
/// `RUST_LOG` has the word. A second call changes nothing.
///
/// Records carry the time only where nobody else adds it: not on a terminal, not in the journal.
///
/// # Errors
/// [`SettingsError::Variable`] when `RUST_LOG` is in use and can't be understood.
pub fn init(verbose: u8, quiet: u8, environment: &Environment) -> Result<(), SettingsError> {
    let stderr = io::stderr();
    let with_time = !stderr.is_terminal() && !is_journal();
    let style = if colour_allowed(&stderr) { WriteStyle::Always } else { WriteStyle::Never };

    let mut builder = Builder::new();
    builder.write_style(style);
    match filters(verbose, quiet, environment)? {
        Filters::Level(level) => builder.filter_level(level),
        Filters::Text(text) => builder.parse_filters(&text),
    };
    builder.format(move |formatter, record| {
        if with_time {
            write!(formatter, "{} ", formatter.timestamp_millis())?;
        }
        let style = formatter.default_level_style(record.level());
        let level = record.level().as_str().to_ascii_lowercase();
        write!(formatter, "{style}{level}{style:#}: ")?;
        if record.level() >= log::Level::Debug {
            write!(formatter, "{}: ", record.target())?;
        }
        writeln!(formatter, "{}", printable(&record.args().to_string()))
    });
    // It fails only when there is a logger already; then that one serves.
    let _ = builder.try_init();
    Ok(())
}

/// Whether standard error is the journal's socket; the variable alone is inherited by programs
/// whose output goes elsewhere. See systemd.exec(5).
fn is_journal() -> bool {
    let Ok(stderr) = fs::metadata("/proc/self/fd/2") else { return false };
    let found = format!("{}:{}", stderr.dev(), stderr.ino());
    env::var_os("JOURNAL_STREAM").is_some_and(|journal| journal == found.as_str())
}

#[derive(Debug, PartialEq, Eq)]
enum Filters {
    Level(LevelFilter),
    Text(String),
}

fn filters(verbose: u8, quiet: u8, environment: &Environment) -> Result<Filters, SettingsError> {
    let level = match i16::from(verbose) - i16::from(quiet) {
        ..=-2 => LevelFilter::Error,
        -1 => LevelFilter::Warn,
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        2.. => LevelFilter::Trace,
    };
    let spoken = verbose > 0 || quiet > 0;
    match environment.get(VARIABLE) {
        Some(text) if !spoken && !text.is_empty() => {
            let refused = |reason| SettingsError::Variable { name: VARIABLE, reason };
            let text = text.to_str().ok_or_else(|| refused("is not UTF-8".to_owned()))?;
            env_filter::Builder::new().try_parse(text).map_err(|error| {
                refused(format!("{error}: expected a level, such as debug, or target=level"))
            })?;
            Ok(Filters::Text(text.to_owned()))
        }
        _ => Ok(Filters::Level(level)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Environment {
        [(VARIABLE, text)].into_iter().collect()
    }

    #[test]
    fn flags_move_the_level_from_info() {
        for (verbose, quiet, level) in [
            (0, 0, LevelFilter::Info),
            (1, 0, LevelFilter::Debug),
            (2, 0, LevelFilter::Trace),
            (255, 0, LevelFilter::Trace),
            (0, 1, LevelFilter::Warn),
            (0, 2, LevelFilter::Error),
            (0, 255, LevelFilter::Error),
        ] {
            let found = filters(verbose, quiet, &Environment::default()).unwrap();
            assert_eq!(found, Filters::Level(level), "-v {verbose} times, -q {quiet} times");
        }
    }

    #[test]
    fn the_variable_speaks_when_no_flag_does() {
        let filter = "warn,tfo_core=trace";
        assert_eq!(filters(0, 0, &with(filter)).unwrap(), Filters::Text(filter.to_owned()));
        assert_eq!(filters(1, 0, &with(filter)).unwrap(), Filters::Level(LevelFilter::Debug));
        assert_eq!(filters(0, 0, &with("")).unwrap(), Filters::Level(LevelFilter::Info));
    }

    #[test]
    fn a_bad_variable_is_named() {
        let error = filters(0, 0, &with("tfo_core=loud")).unwrap_err().to_string();
        assert!(error.starts_with("RUST_LOG: "), "{error}");
    }
}
