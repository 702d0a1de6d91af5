//! The log: one line per record on standard error.
//!
//! A server must not block while standard error is blocked. [`init_queued`] therefore starts a thread that writes the
//! log. Lines are counted as lost when the queue of the thread is full, and when they cannot be written.

use super::output::counted;
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    env, fs,
    io::{self, IsTerminal, Write},
    os::unix::fs::MetadataExt,
    panic::{self, PanicHookInfo},
    sync::OnceLock,
    thread,
    time::Duration,
};

use env_logger::{Builder, Target, WriteStyle};
use log::LevelFilter;

use super::{
    environment::Environment,
    error::SettingsError,
    output::{colour_allowed, escape_control, wrap},
    queue::Queue,
    screen,
};

const VARIABLE: &str = "RUST_LOG";
/// Capacity of the queue, in lines. A start with thousands of listeners logs fewer.
const CAPACITY: usize = 16 * 1024;
/// How long [`finish`] waits for one line to be written.
const LINE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long [`finish`] waits for all lines to be written.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// The lines for the writing thread; unset if each line is written directly.
static QUEUE: OnceLock<Queue<Vec<u8>>> = OnceLock::new();

/// Starts the logger. The level is info, raised by each `-v` and lowered by each `-q`; without these flags,
/// `RUST_LOG` sets it. A second call changes nothing.
///
/// Records begin with the time, except on a terminal and in the journal, which adds the time itself.
///
/// # Errors
/// [`SettingsError::Value`] if `RUST_LOG` is used and invalid.
pub fn init(verbose: u8, quiet: u8, environment: &Environment) -> Result<(), SettingsError> {
    start(verbose, quiet, environment, Target::Stderr)
}

/// [`init`] for a server: a dedicated thread writes the log and the messages of panics, so that no other thread blocks
/// on standard error. Call [`finish`] at the end of `main`.
///
/// # Errors
/// As [`init`].
pub fn init_queued(verbose: u8, quiet: u8, environment: &Environment) -> Result<(), SettingsError> {
    let queue = Queue::new(CAPACITY);
    let lines = queue.clone();
    let writer = thread::Builder::new().name("log".to_owned());
    if QUEUE.get().is_some() || writer.spawn(move || write_all(&lines)).is_err() {
        return init(verbose, quiet, environment);
    }
    let queue = QUEUE.get_or_init(|| queue).clone();
    panic::set_hook(Box::new(log_panic));
    start(verbose, quiet, environment, Target::Pipe(Box::new(Lines(queue))))
}

/// Prints a message to standard error, after the log lines before it: one line, which is wrapped on a terminal.
pub fn print(message: &str) {
    let line = match screen::message_width() {
        Some(columns) => wrap(message, columns),
        None => format!("{message}\n"),
    };
    let line = line.into_bytes();
    match QUEUE.get() {
        Some(queue) => {
            queue.put(line);
        }
        // There is no other place to report that standard error is closed.
        None => drop(io::stderr().write_all(&line)),
    }
}

/// Waits until all lines are written, for at most two seconds. Call it at the end of the program.
pub fn finish() {
    if let Some(queue) = QUEUE.get() {
        // Lines that are not written by then are lost when the process ends.
        let _ = queue.drain(LINE_TIMEOUT, FINISH_TIMEOUT);
    }
}

/// Returns the number of lost lines: those for which the queue was full, and those that could not be written.
#[must_use]
pub fn lines_lost() -> u64 {
    QUEUE.get().map_or(0, Queue::lost)
}

/// The target of the logger, which writes each line with one `write`.
struct Lines(Queue<Vec<u8>>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the lines to standard error. Never returns.
///
/// No other thread may use standard error: a write that blocks holds the lock on it.
fn write_all(queue: &Queue<Vec<u8>>) {
    let mut reported = 0;
    loop {
        let line = queue.take();
        let written = io::stderr().write_all(&line);
        if written.is_err() {
            queue.lose();
        } else if queue.lost() > reported && queue.is_empty() {
            let lost = queue.lost();
            log::warn!(
                "standard error works again; {} lost while it was blocked or failed",
                counted(lost - reported, "log line was", "log lines were")
            );
            reported = lost;
        }
    }
}

/// Prints the message of the standard library for a panic, after the log lines before it.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    print(&format!("thread '{}' {panic}", thread.name().unwrap_or("unnamed")));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        print(&backtrace.to_string());
    }
    // A panic of the main thread ends the process without calling `finish`.
    finish();
}

fn start(
    verbose: u8,
    quiet: u8,
    environment: &Environment,
    target: Target,
) -> Result<(), SettingsError> {
    let stderr = io::stderr();
    let with_time = !stderr.is_terminal() && !is_journal();
    let style = if colour_allowed(&stderr) { WriteStyle::Always } else { WriteStyle::Never };

    let mut builder = Builder::new();
    builder.target(target).write_style(style);
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
        writeln!(formatter, "{}", escape_control(&record.args().to_string()))
    });
    // Fails only if a logger exists already, which is then used.
    let _ = builder.try_init();
    Ok(())
}

/// Returns whether standard error is the socket of the journal. `JOURNAL_STREAM` alone does not show it, because
/// programs inherit the variable even if their output is redirected. See systemd.exec(5).
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
    let by_flags = verbose > 0 || quiet > 0;
    match environment.get(VARIABLE) {
        Some(text) if !by_flags && !text.is_empty() => {
            let refused = |reason| SettingsError::value(VARIABLE, reason);
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
    use std::process::Command;

    use super::*;

    const CHILD: &str = "TFO_LOGGING_CHILD";

    /// The process whose log [`queued_lines_and_a_panic_are_printed_in_order`] checks.
    #[test]
    fn child_that_logs() {
        if env::var_os(CHILD).is_none() {
            return;
        }
        init_queued(0, 0, &Environment::default()).unwrap();
        for number in 0..1000 {
            log::info!("line {number}");
        }
        let doomed = thread::Builder::new().name("doomed".to_owned());
        assert!(doomed.spawn(|| panic!("on purpose")).unwrap().join().is_err());
        print("error: printed\u{fc}");
        assert_eq!(lines_lost(), 0);
        finish();
        // Ends the process before anything else could be written.
        std::process::exit(0);
    }

    #[test]
    fn queued_lines_and_a_panic_are_printed_in_order() {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", "cli::logging::tests::child_that_logs", "--nocapture"]);
        child.env(CHILD, "1").env_remove("RUST_BACKTRACE");
        let output = child.output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{log}");
        let lines: Vec<_> = log.lines().collect();
        let in_order = (0..1000).all(|n| lines[n].ends_with(&format!(" info: line {n}")));
        assert!(in_order, "{log}");
        assert!(lines[1000].starts_with("thread 'doomed' panicked at "), "{log}");
        assert_eq!(lines[1001..], ["on purpose", "error: printedü"], "{log}");
    }

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
    fn variable_sets_the_level_without_flags() {
        let filter = "warn,tfo_core=trace";
        assert_eq!(filters(0, 0, &with(filter)).unwrap(), Filters::Text(filter.to_owned()));
        assert_eq!(filters(1, 0, &with(filter)).unwrap(), Filters::Level(LevelFilter::Debug));
        assert_eq!(filters(0, 0, &with("")).unwrap(), Filters::Level(LevelFilter::Info));
    }

    #[test]
    fn invalid_variable_is_named() {
        let error = filters(0, 0, &with("tfo_core=loud")).unwrap_err().to_string();
        assert!(error.starts_with("RUST_LOG: "), "{error}");
    }
}
