//! Runs the program in a temporary folder.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::process::{self, output};

/// A temporary folder to run the program in. It contains a configuration file, so that one of the host in `/etc` is not
/// used.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new(config: impl AsRef<[u8]>) -> Self {
        let folder = Self(TempDir::new().unwrap());
        folder.write("config/server.toml", config);
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

    /// Returns the program, to run in this folder with the arguments and without inherited settings.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        let mut command = process::program();
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

pub(crate) fn refused(command: &mut Command) -> String {
    let output = output(command);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{command:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{command:?}: standard output must be empty");
    let error = stderr.strip_prefix("error: ").expect("the message begins with error:");
    // The parser of the flags adds a paragraph about the help.
    let (line, rest) = error.split_once('\n').expect("the message ends with a newline");
    assert!(
        rest.is_empty() || rest.contains("--help"),
        "{command:?}: more than one line: {stderr}"
    );
    line.to_owned()
}
