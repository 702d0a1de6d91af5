//! Standard output for data: a closed pipe is not an error, a full disk is, and colour is only for terminals.

use std::{
    env,
    ffi::OsStr,
    fmt,
    io::{self, IsTerminal, Write},
    sync::Arc,
};

/// The state of standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a pipe has no third state")]
#[must_use = "a program has nothing left to print once the pipe is closed"]
pub enum Pipe {
    /// The text was written.
    Open,
    /// The other end of the pipe is closed, as by `| head -1`: exit quietly.
    Closed,
}

/// A stream of data. A closed pipe is a result, where `println!` panics.
#[derive(Debug)]
pub struct Output<W = io::Stdout> {
    writer: W,
    pipe: Pipe,
}

impl Output {
    /// Returns the standard output of this process.
    #[must_use]
    pub fn stdout() -> Self {
        Self::new(io::stdout())
    }
}

impl<W: Write> Output<W> {
    /// Creates a stream to any writer.
    pub const fn new(writer: W) -> Self {
        Self { writer, pipe: Pipe::Open }
    }

    /// Prints and flushes the text. Does nothing once the pipe is closed.
    ///
    /// # Errors
    /// Any failure except a closed pipe, such as a full disk.
    pub fn print(&mut self, text: impl fmt::Display) -> io::Result<Pipe> {
        if self.pipe == Pipe::Open {
            // One write per call, so that lines of several threads or programs don't mix.
            let text = text.to_string();
            match self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.pipe = Pipe::Closed;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self.pipe)
    }

    /// [`print`](Self::print) with a newline at the end.
    ///
    /// # Errors
    /// As [`print`](Self::print).
    pub fn print_line(&mut self, text: impl fmt::Display) -> io::Result<Pipe> {
        self.print(format_args!("{text}\n"))
    }
}

/// Makes a write beyond `RLIMIT_FSIZE` fail with `EFBIG`, as on a full disk. Without this call SIGXFSZ ends the
/// process.
///
/// Installs a handler that does nothing instead of ignoring the signal, because child processes inherit an ignored
/// signal but not a handler.
///
/// # Errors
/// If the kernel refuses the handler.
///
/// # References
/// [`setrlimit(2)`](https://man7.org/linux/man-pages/man2/setrlimit.2.html)
#[doc(alias = "SIGXFSZ")]
pub fn survive_file_size_limit() -> io::Result<()> {
    signal_hook::flag::register(libc::SIGXFSZ, Arc::default()).map(drop)
}

/// Returns whether colour and progress may be shown on `stream`: only on a terminal, and without `NO_COLOR`.
#[must_use]
pub fn colour_allowed(stream: &impl IsTerminal) -> bool {
    stream.is_terminal()
        && permits_colour(env::var_os("NO_COLOR").as_deref(), env::var_os("TERM").as_deref())
}

/// See <https://no-color.org>: an empty variable is ignored.
fn permits_colour(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
}

/// Breaks lines between words, but never within backticks, so that commands can be pasted.
#[must_use]
pub fn wrap(text: &str, columns: usize) -> String {
    let mut wrapped = String::new();
    let mut column = 0;
    let mut in_command = false;
    for piece in text.split_inclusive(|c| {
        in_command ^= c == '`';
        c == ' ' && !in_command
    }) {
        let width = piece.trim_end().chars().count();
        if column > 0 && column + width > columns {
            wrapped.truncate(wrapped.trim_end().len());
            wrapped.push('\n');
            column = 0;
        }
        wrapped += piece;
        column += piece.chars().count();
    }
    wrapped + "\n"
}

/// Escapes control characters, so that text from a file or a peer cannot forge a line or control a terminal.
#[must_use]
pub fn escape_control(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// Returns a number with the words that fit it: `1 connection was`, `0 connections were`.
#[must_use]
pub fn counted(count: impl Copy + fmt::Display + TryInto<u64>, one: &str, more: &str) -> String {
    crate::prose::counted(count, one, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(io::ErrorKind, usize);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn closed_pipe_is_no_error_and_is_not_written_again() {
        let mut output = Output::new(Failing(io::ErrorKind::BrokenPipe, 0));
        assert_eq!(output.print_line("one").unwrap(), Pipe::Closed);
        assert_eq!(output.print_line("two").unwrap(), Pipe::Closed);
        assert_eq!(output.writer.1, 1, "the second line must not be written");
    }

    #[test]
    fn full_disk_is_an_error() {
        let mut output = Output::new(Failing(io::ErrorKind::StorageFull, 0));
        assert_eq!(output.print("one").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn printed_lines_are_written_unchanged() {
        let mut output = Output::new(Vec::new());
        assert_eq!(output.print_line("one").unwrap(), Pipe::Open);
        assert_eq!(output.print("two").unwrap(), Pipe::Open);
        assert_eq!(output.writer, b"one\ntwo");
    }

    #[test]
    fn no_color_turns_colour_off_unless_empty() {
        let [no, yes] = ["", "1"].map(OsStr::new);
        assert!(permits_colour(None, None));
        assert!(permits_colour(Some(no), Some(OsStr::new("xterm"))));
        assert!(!permits_colour(Some(yes), None));
        assert!(!permits_colour(None, Some(OsStr::new("dumb"))));
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escape_control("a\nb\x1b[31mü\t"), r"a\nb\u{1b}[31mü\t");
    }
}
