//! A program that runs on a host, and its output.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Host;

/// How long a test waits for what must come: far more than it takes, because a slow machine is not a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program under test, started on a [`Host`]. Its output is read as it comes, so that a test can wait for a line
/// instead of a time. Dropping this kills the program.
#[derive(Debug)]
pub struct Program {
    child: Child,
    out: Lines,
    err: Lines,
}

/// The output of a program, and how it ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finished {
    /// The exit status; `None` if a signal ended the program.
    pub code: Option<i32>,
    /// All of its standard output.
    pub out: String,
    /// All of its standard error.
    pub err: String,
}

impl Program {
    /// Starts a program without standard input.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn start(host: &Host, command: Command) -> io::Result<Self> {
        Self::new(command, Stdio::null(), |command| host.spawn(command))
    }

    /// Like [`start`](Self::start), with a standard input: a file, a pipe, or a socket to inherit.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn start_with_input(
        host: &Host,
        command: Command,
        input: impl Into<Stdio>,
    ) -> io::Result<Self> {
        Self::new(command, input.into(), |command| host.spawn(command))
    }

    /// Like [`start`](Self::start), including the processes that the program starts: see [`Host::spawn_tree`].
    ///
    /// # Errors
    /// As [`Host::spawn_tree`].
    pub fn start_tree(host: &Host, command: Command) -> io::Result<Self> {
        Self::new(command, Stdio::null(), |command| host.spawn_tree(command))
    }

    fn new(
        mut command: Command,
        input: Stdio,
        spawn: impl FnOnce(Command) -> io::Result<Child>,
    ) -> io::Result<Self> {
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(command)?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        Ok(Self { out: Lines::read(out), err: Lines::read(err), child })
    }

    /// Returns the process ID.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the lines of its standard output.
    #[must_use]
    pub fn out(&self) -> &Lines {
        &self.out
    }

    /// Returns the lines of its standard error.
    #[must_use]
    pub fn err(&self) -> &Lines {
        &self.err
    }

    /// Sends a signal, such as `TERM`, to the program.
    ///
    /// # Errors
    /// The program has ended already, or there is no shell.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        self.signal_burst(name, 1)
    }

    /// Sends the same signal several times, microseconds apart, as `timeout(1)` does twice.
    ///
    /// # Errors
    /// As [`signal`](Self::signal).
    pub fn signal_burst(&self, name: &str, times: usize) -> io::Result<()> {
        let kill = vec![format!("kill -s {name} {}", self.id()); times].join(" && ");
        let status = Command::new("sh").args(["-c", &kill]).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("{kill}: {status}"))) }
    }

    /// Waits until the program ends by itself.
    ///
    /// # Panics
    /// If the program does not end, or cannot be waited for.
    #[must_use]
    pub fn finish(mut self) -> Finished {
        let ended = self.out.wait(|_, ended| ended.then_some(())).is_some()
            && self.err.wait(|_, ended| ended.then_some(())).is_some();
        let (out, err) = (self.out.to_string(), self.err.to_string());
        assert!(ended, "the program must end by itself; it said:\n{out}\n{err}");
        let status = self.child.wait();
        let code = status.as_ref().ok().and_then(ExitStatus::code);
        assert!(status.is_ok(), "the program can't be waited for: {status:?}");
        Finished { code, out, err }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail if the program has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a stream, as they come.
#[derive(Debug, Clone)]
pub struct Lines {
    shared: Arc<(Mutex<Heard>, Condvar)>,
}

#[derive(Debug, Default)]
struct Heard {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    /// Waits for a line that contains all of these pieces, and returns the first one.
    ///
    /// # Panics
    /// If no such line comes.
    #[must_use]
    pub fn expect(&self, pieces: &[&str]) -> String {
        let fits = |line: &&String| pieces.iter().all(|piece| line.contains(piece));
        let found = self.wait(|lines, ended| match lines.iter().find(fits) {
            Some(line) => Some(Some(line.clone())),
            None => ended.then_some(None),
        });
        let Some(Some(line)) = found else { panic!("no line with {pieces:?} in:\n{self}") };
        line
    }

    /// Waits for the first `count` lines, and returns them.
    ///
    /// # Panics
    /// If they do not come.
    #[must_use]
    pub fn first(&self, count: usize) -> Vec<String> {
        let found = self.wait(|lines, _| lines.get(..count).map(<[_]>::to_vec));
        let Some(lines) = found else { panic!("less than {count} lines in:\n{self}") };
        lines
    }

    /// Returns how many lines contain this piece by now.
    #[must_use]
    pub fn count(&self, piece: &str) -> usize {
        self.lock().lines.iter().filter(|line| line.contains(piece)).count()
    }

    fn read(stream: Option<impl Read + Send + 'static>) -> Self {
        let lines = Self { shared: Arc::default() };
        let told = lines.clone();
        thread::spawn(move || {
            if let Some(stream) = stream {
                let mut stream = BufReader::new(stream);
                let mut line = Vec::new();
                while stream.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
                    let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                    told.change(|heard| heard.lines.push(text));
                    line.clear();
                }
            }
            told.change(|heard| heard.ended = true);
        });
        lines
    }

    fn change(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.lock());
        self.shared.1.notify_all();
    }

    /// Waits until `look` returns a value, given the lines and whether the stream has ended.
    fn wait<T>(&self, look: impl Fn(&[String], bool) -> Option<T>) -> Option<T> {
        let end = Instant::now() + PATIENCE;
        let mut heard = self.lock();
        loop {
            let found = look(&heard.lines, heard.ended);
            let left = end.saturating_duration_since(Instant::now());
            if found.is_some() || left.is_zero() {
                return found;
            }
            let woken = self.shared.1.wait_timeout(heard, left);
            heard = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock().lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
