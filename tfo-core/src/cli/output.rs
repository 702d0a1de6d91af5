//! Standard output as data: a closed pipe is no error, a full disk is one, and colour is for terminals.

use std::{
    env,
    ffi::OsStr,
    fmt,
    io::{self, IsTerminal, Write},
    sync::Arc,
};

/// Whether anybody still reads what a program prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third state of a pipe")]
#[must_use = "a program whose reader is gone has nothing left to print"]
pub enum Reader {
    /// What was printed has been handed over.
    Listening,
    /// The other end of the pipe is closed, as by `| head -1`: end quietly.
    Gone,
}

/// A stream of data that survives a closed pipe, where `println!` panics.
#[derive(Debug)]
pub struct Output<W = io::Stdout> {
    writer: W,
    reader: Reader,
}

impl Output {
    /// The standard output of this process.
    #[must_use]
    pub fn stdout() -> Self {
        Self::new(io::stdout())
    }
}

impl<W: Write> Output<W> {
    /// Data for any writer.
    pub const fn new(writer: W) -> Self {
        Self { writer, reader: Reader::Listening }
    }

    /// Prints, and hands it over at once, so that a reader sees each line when it happens. Once
    /// the reader is gone nothing is tried any more.
    ///
    /// # Errors
    /// Any failure but a closed pipe, such as a full disk.
    pub fn print(&mut self, text: impl fmt::Display) -> io::Result<Reader> {
        if self.reader == Reader::Listening {
            // One write for each call: lines of several threads or programs don't mix.
            let text = text.to_string();
            match self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.reader = Reader::Gone;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self.reader)
    }

    /// [`print`](Self::print) with a newline at the end.
    ///
    /// # Errors
    /// As [`print`](Self::print).
    pub fn print_line(&mut self, text: impl fmt::Display) -> io::Result<Reader> {
        self.print(format_args!("{text}\n"))
    }
}

/// Makes a write beyond `RLIMIT_FSIZE` an error (`EFBIG`), as on a full disk. Without this call SIGXFSZ
/// ends the process.
///
/// The signal gets a handler that does nothing: programs that this process starts have the default again.
///
/// # Errors
/// The kernel refused the handler.
///
/// # References
/// [`setrlimit(2)`](https://man7.org/linux/man-pages/man2/setrlimit.2.html)
#[doc(alias = "SIGXFSZ")]
pub fn survive_file_size_limit() -> io::Result<()> {
    signal_hook::flag::register(libc::SIGXFSZ, Arc::default()).map(drop)
}

/// Whether colour and progress may be shown on `stream`: a terminal, and no `NO_COLOR`.
#[must_use]
pub fn colour_allowed(stream: &impl IsTerminal) -> bool {
    stream.is_terminal()
        && permits_colour(env::var_os("NO_COLOR").as_deref(), env::var_os("TERM").as_deref())
}

/// See <https://no-color.org>: an empty variable says nothing.
fn permits_colour(no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
}

/// Text on one line and without control characters: what a file or a peer wrote must not be able
/// to forge a line, or to steer a terminal.
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
    fn a_closed_pipe_is_no_error_and_is_not_tried_again() {
        let mut output = Output::new(Failing(io::ErrorKind::BrokenPipe, 0));
        assert_eq!(output.print_line("one").unwrap(), Reader::Gone);
        assert_eq!(output.print_line("two").unwrap(), Reader::Gone);
        assert_eq!(output.writer.1, 1, "the second line must not be tried");
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let mut output = Output::new(Failing(io::ErrorKind::StorageFull, 0));
        assert_eq!(output.print("one").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn lines_arrive_as_they_were_printed() {
        let mut output = Output::new(Vec::new());
        assert_eq!(output.print_line("one").unwrap(), Reader::Listening);
        assert_eq!(output.print("two").unwrap(), Reader::Listening);
        assert_eq!(output.writer, b"one\ntwo");
    }

    #[test]
    fn no_color_counts_when_it_is_not_empty() {
        let [no, yes] = ["", "1"].map(OsStr::new);
        assert!(permits_colour(None, None));
        assert!(permits_colour(Some(no), Some(OsStr::new("xterm"))));
        assert!(!permits_colour(Some(yes), None));
        assert!(!permits_colour(None, Some(OsStr::new("dumb"))));
    }

    #[test]
    fn control_characters_cannot_forge_a_line_or_steer_a_terminal() {
        assert_eq!(escape_control("a\nb\x1b[31mü\t"), r"a\nb\u{1b}[31mü\t");
    }
}
