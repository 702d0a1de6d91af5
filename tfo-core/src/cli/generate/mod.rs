//! Man pages, completions and configuration files, written by the programs themselves for packages.
//!
//! `PROGRAM generate …` is parsed apart from the other arguments, so that neither the help nor the completions
//! mention the command.

mod command_page;
mod completions;
mod file_page;
mod page;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValue;
use clap::{FromArgMatches, Subcommand};

/// Writes what a package ships beside the program.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum Generate {
    /// Write the man pages, one for each command and one for the configuration file
    Man {
        /// Folder to write to, created if necessary
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Write completions for bash, zsh and fish
    Completions {
        /// Folder to write to, created if necessary
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Print the configuration file with every key, its default and its rule
    Config,
}

/// A program, as far as its pages and completions need it.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs, reason = "each program fills in every field")]
pub struct Program {
    /// Command line of the program.
    pub command: clap::Command,
    /// Values of the arguments with this id, in all commands.
    pub choices: Vec<(&'static str, Vec<PossibleValue>)>,
    /// Name of the configuration file, such as `server.toml`.
    pub config_name: &'static str,
    /// Content of the configuration file that is shipped.
    pub config: &'static str,
}

/// A file or folder that could not be written.
#[derive(Debug)]
#[non_exhaustive]
pub struct NotWritten {
    /// The path.
    pub path: PathBuf,
    /// Why it could not be written.
    pub source: io::Error,
}

impl Generate {
    /// Parses the arguments of this process if the first one is `generate`; exits if the others are invalid.
    #[must_use]
    pub fn from_arguments(program: &'static str) -> Option<Self> {
        Self::parse(program, std::env::args_os())
            .map(|parsed| parsed.unwrap_or_else(|error| error.exit()))
    }

    fn parse(
        program: &'static str,
        arguments: impl Iterator<Item = OsString>,
    ) -> Option<Result<Self, clap::Error>> {
        let mut arguments = arguments.skip(1).peekable();
        arguments.next_if(|first| first == "generate")?;
        let mut command = Self::augment_subcommands(clap::Command::new(program))
            .bin_name(format!("{program} generate"))
            .about("Write what a package ships beside the program")
            .disable_help_subcommand(true)
            .subcommand_required(true)
            .arg_required_else_help(true);
        let arguments = std::iter::once(program.into()).chain(arguments);
        let parsed = command.try_get_matches_from_mut(arguments);
        Some(parsed.and_then(|matches| Self::from_arg_matches(&matches)))
    }

    /// Writes the files, or returns the text to print.
    ///
    /// # Errors
    ///
    /// A file could not be written.
    pub fn run(&self, program: Program) -> Result<Option<&'static str>, NotWritten> {
        match self {
            Self::Man { folder } => {
                create(folder)?;
                for (name, text) in command_page::all(&program) {
                    write(&folder.join(name), text.as_bytes())?;
                }
                let (name, text) = file_page::of(&program);
                write(&folder.join(name), text.as_bytes())?;
                Ok(None)
            }
            Self::Completions { folder } => {
                create(folder)?;
                for (name, script) in completions::all(program) {
                    write(&folder.join(name), &script)?;
                }
                Ok(None)
            }
            Self::Config => Ok(Some(program.config)),
        }
    }
}

fn create(folder: &Path) -> Result<(), NotWritten> {
    fs::create_dir_all(folder).map_err(|source| NotWritten { path: folder.to_owned(), source })
}

fn write(path: &Path, content: &[u8]) -> Result<(), NotWritten> {
    fs::write(path, content).map_err(|source| NotWritten { path: path.to_owned(), source })
}

impl fmt::Display for NotWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can't write {}", self.path.display())
    }
}

impl std::error::Error for NotWritten {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Result<Generate, clap::Error>> {
        Generate::parse("tfo-x", line.split(' ').map(OsString::from))
    }

    #[test]
    fn only_the_first_argument_generates() {
        assert!(matches!(parse("tfo-x generate config"), Some(Ok(Generate::Config))));
        let man = parse("tfo-x generate man out");
        assert!(matches!(man, Some(Ok(Generate::Man { folder })) if folder == Path::new("out")));
        assert!(parse("tfo-x").is_none());
        assert!(parse("tfo-x -s generate").is_none());
    }

    #[test]
    fn wrong_arguments_are_usage_errors() {
        for line in ["tfo-x generate", "tfo-x generate man", "tfo-x generate pages out"] {
            assert_eq!(parse(line).unwrap().unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
