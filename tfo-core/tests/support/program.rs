//! A built program in a folder of its own. The tests of both programs include this file; the module around it
//! states `PROGRAM`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::PROGRAM;

/// What the tests need to know of a program.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    /// The path of the built program.
    pub(crate) path: &'static str,
    pub(crate) name: &'static str,
    /// The default path of its configuration file, in the current folder.
    pub(crate) config: &'static str,
    /// The configuration file that the project ships.
    pub(crate) shipped: &'static str,
    /// The prefix of its environment variables.
    pub(crate) prefix: &'static str,
    /// The table that contains `address` and `port`.
    pub(crate) table: &'static str,
}

/// A folder to run the program in. It contains a configuration file, so that a file in `/etc` is not used.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new(config: impl AsRef<[u8]>) -> Self {
        let folder = Self(TempDir::new().unwrap());
        folder.write(PROGRAM.config, config);
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Returns the program with this folder as its current one, and without inherited settings.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        let mut command = clean(Command::new(PROGRAM.path));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command.env("COLUMNS", "100");
        command
    }

    /// Returns the output of `--print-config`.
    pub(crate) fn printed(&self, arguments: &[&str], variables: &[(&str, &str)]) -> toml::Table {
        let mut command = self.program(arguments);
        let output = output(command.arg("--print-config").envs(variables.iter().copied()));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?} {variables:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap().parse().unwrap()
    }

    /// Returns the error of a run that must end with status 2 and one line.
    pub(crate) fn refused(&self, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        refused(self.program(arguments).envs(variables.iter().copied()))
    }
}

/// Removes the environment variables that contain settings.
pub(crate) fn clean(mut command: Command) -> Command {
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("TFO_") {
            command.env_remove(name);
        }
    }
    for name in ["RUST_LOG", "NO_COLOR", "CLICOLOR_FORCE", "JOURNAL_STREAM"] {
        command.env_remove(name);
    }
    command
}

/// Returns the error of a program that must end with status 2 and one line.
pub(crate) fn refused(command: &mut Command) -> String {
    let output = output(command);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{command:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{command:?}: printed to standard output");
    let error = stderr.strip_prefix("error: ").expect("the message begins with error:");
    // The parser of the flags adds a paragraph about the help.
    let (line, rest) = error.split_once('\n').expect("the message ends with a newline");
    assert!(
        rest.is_empty() || rest.contains("--help"),
        "{command:?}: more than one line: {stderr}"
    );
    line.to_owned()
}

/// Runs a program that must end by itself.
pub(crate) fn output(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("{command:?} did not end by itself: {output:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// Compares the help of a command with a stored file in `tests/config` of the crate in `manifest`.
pub(crate) fn assert_help(manifest: &str, arguments: &[&str], snapshot: &str) {
    let output = output(&mut Folder::new("").program(arguments));
    let help = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    let path = Path::new(manifest).join("tests/config").join(snapshot);
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, &help).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        help == stored,
        "{arguments:?} differs from {}; if that is intended, run the test again with \
         UPDATE_SNAPSHOTS=1\n--- now\n{help}\n--- stored\n{stored}",
        path.display()
    );
}
