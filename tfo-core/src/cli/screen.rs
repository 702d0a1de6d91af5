//! The terminal: its width for drawings, and a screen that is refreshed until `q` is pressed.
//!
//! 1. The keyboard is switched to single keys only if both standard input and output are terminals.
//! 2. It is switched back when the [`Screen`] is dropped. SIGINT, SIGTERM, SIGHUP and SIGQUIT end
//!    [`wait`](Screen::wait) instead of the process, so that no exit skips that.

use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use signal_hook::SigId;

use super::output::{Output, Pipe};

/// Columns and rows of a terminal that does not report them. Drawings in a file have as many columns.
const USUAL_SIZE: (usize, usize) = (80, 24);
/// The widths of drawings on a terminal.
const DRAWING_WIDTHS: (usize, usize) = (60, 120);
const HOME_AND_CLEAR: &str = "\x1b[H\x1b[J";
const RESET_COLOUR: &str = "\x1b[0m";

/// Returns the columns of drawings on standard output: those of the terminal, 60 to 120, and 80 for a file.
#[must_use]
pub fn drawing_width() -> usize {
    let (least, most) = DRAWING_WIDTHS;
    size().unwrap_or(USUAL_SIZE).0.clamp(least, most)
}

/// Returns the columns of the terminal on standard error; `None` if that is none.
pub(super) fn message_width() -> Option<usize> {
    io::stderr().is_terminal().then(|| size_of(io::stderr()).unwrap_or(USUAL_SIZE).0)
}

/// Returns columns and rows of the terminal on standard output.
fn size() -> Option<(usize, usize)> {
    size_of(io::stdout())
}

fn size_of(terminal: impl AsFd) -> Option<(usize, usize)> {
    let size = termios::tcgetwinsize(terminal).ok()?;
    let known = size.ws_col > 0 && size.ws_row > 0;
    known.then(|| (usize::from(size.ws_col), usize::from(size.ws_row)))
}

/// Standard output: a terminal whose content is replaced, or a file that grows.
#[derive(Debug)]
pub struct Screen {
    output: Output,
    refreshes: bool,
    keyboard: Option<Keyboard>,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a program goes on or ends")]
pub enum Wait {
    /// The time is over.
    Over,
    /// The user pressed `q` or Ctrl-C, or a signal asks the program to end.
    Quit,
}

impl Screen {
    /// Opens standard output. It is refreshed if it is a terminal and the text is for people.
    #[must_use]
    pub fn stdout(for_people: bool) -> Self {
        let refreshes = for_people && io::stdout().is_terminal();
        // Without single keys, Ctrl-C still ends the program.
        let keyboard = if refreshes { Keyboard::open().ok() } else { None };
        Self { output: Output::stdout(), refreshes, keyboard }
    }

    /// Returns whether each text replaces the one before.
    #[must_use]
    pub const fn refreshes(&self) -> bool {
        self.refreshes
    }

    /// Shows a text: as much as fits on a terminal, all of it in a file.
    ///
    /// # Errors
    /// Any failure except a closed pipe, such as a full disk.
    pub fn show(&mut self, text: &str) -> io::Result<Pipe> {
        if !self.refreshes {
            return self.output.print(text);
        }
        let keys = if self.keyboard.is_some() { "q quits" } else { "Ctrl-C quits" };
        let text = fit(text, size().unwrap_or(USUAL_SIZE), keys);
        self.output.print(HOME_AND_CLEAR.to_owned() + &text)
    }

    /// Waits for this time, or until the user wants to quit.
    #[must_use]
    pub fn wait(&self, time: Duration) -> Wait {
        if let Some(keyboard) = &self.keyboard {
            return keyboard.wait(time);
        }
        std::thread::sleep(time);
        Wait::Over
    }
}

/// A keyboard that sends single keys, without echo.
#[derive(Debug)]
struct Keyboard {
    before: Termios,
    signals: UnixStream,
    registered: Vec<SigId>,
}

impl Keyboard {
    fn open() -> io::Result<Self> {
        let before = termios::tcgetattr(io::stdin())?;
        if !in_foreground() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let (signals, write) = UnixStream::pair()?;
        let mut keyboard = Self { before, signals, registered: Vec::new() };
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
            let id = signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
            keyboard.registered.push(id);
        }
        keyboard.single_keys()?;
        Ok(keyboard)
    }

    fn single_keys(&self) -> io::Result<()> {
        let mut modes = self.before.clone();
        modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        Ok(termios::tcsetattr(io::stdin(), OptionalActions::Now, &modes)?)
    }

    fn wait(&self, time: Duration) -> Wait {
        // Again, because a shell resets the terminal while the program is stopped by Ctrl-Z.
        if in_foreground() {
            let _ = self.single_keys();
        }
        let end = Instant::now() + time;
        let stdin = io::stdin();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut fds =
                [PollFd::new(&stdin, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
            // A signal may interrupt the call; it is then readable at the next one.
            let ready = poll(&mut fds, Timespec::try_from(left).ok().as_ref()).unwrap_or(0);
            if ready == 0 && left.is_zero() {
                return Wait::Over;
            }
            let [keys, signals] = fds.map(|fd| !fd.revents().is_empty());
            if signals || (keys && quits()) {
                return Wait::Quit;
            }
        }
    }
}

impl Drop for Screen {
    /// Ends the last row, for the shell's prompt.
    fn drop(&mut self) {
        if self.refreshes {
            let _ = self.output.print("\n");
        }
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        if in_foreground() {
            let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
        }
        for id in self.registered.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

/// Returns whether the terminal belongs to this process: the kernel stops another one that changes the terminal.
fn in_foreground() -> bool {
    termios::tcgetpgrp(io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Reads keys, and returns whether one of them quits. So does the end of the input: the terminal is gone.
fn quits() -> bool {
    let mut keys = [0; 64];
    match io::stdin().read(&mut keys) {
        Ok(0) | Err(_) => true,
        Ok(count) => keys.iter().take(count).any(|key| matches!(key, b'q' | b'Q')),
    }
}

/// Cuts a text to the columns and rows of a terminal. The last row names the key and counts what does not fit.
fn fit(text: &str, (columns, rows): (usize, usize), keys: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let room = rows.saturating_sub(1);
    let mut fitted = String::new();
    for line in lines.iter().take(room) {
        fitted += &cut(line, columns);
        fitted.push('\n');
    }
    let last = match lines.len().saturating_sub(room) {
        0 => keys.to_owned(),
        1 => format!("1 more line does not fit; {keys}"),
        hidden => format!("{hidden} more lines do not fit; {keys}"),
    };
    fitted + &cut(&last, columns)
}

/// Cuts a line to this many columns. Colours take none.
fn cut(line: &str, columns: usize) -> String {
    let mut column = 0;
    let mut in_colour = false;
    for (at, character) in line.char_indices() {
        if character == '\x1b' {
            in_colour = true;
        } else if in_colour {
            in_colour = character != 'm';
        } else if column == columns {
            return line.get(..at).unwrap_or_default().to_owned() + RESET_COLOUR;
        } else {
            column += 1;
        }
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_to_the_terminal_and_the_rest_counted() {
        assert_eq!(fit("a\nb\n\n", (80, 24), "q quits"), "a\nb\nq quits");
        assert_eq!(fit("a\nb\nc", (80, 3), "q"), "a\nb\n1 more line does not fit; q");
        assert_eq!(fit("a\nb\nc\nd", (20, 3), "q"), "a\nb\n2 more lines do not \x1b[0m");
    }

    #[test]
    fn colours_take_no_columns() {
        assert_eq!(cut("\x1b[1mab\x1b[0mc", 3), "\x1b[1mab\x1b[0mc");
        assert_eq!(cut("\x1b[1mabcd\x1b[0m", 2), "\x1b[1mab\x1b[0m");
    }
}
