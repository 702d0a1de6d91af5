//! What `tfo-server` and `tfo-client` share as programs: where a setting comes from, the one rule
//! that checks it, and how a program speaks.
//!
//! - [`value`]: ports, counts, durations and sizes. One rule each, for flags, variables and files.
//! - [`environment`]: a flag beats a variable beats the file; a bad variable is named.
//! - [`file`](mod@file): finding and reading the configuration file; an error names file, line and key.
//! - [`generate`]: man pages, completions and configuration files for packages.
//! - [`help`]: what each command shows of its flags and of the text below them.
//! - [`logging`] and [`output`]: standard error, standard output, and when colour is allowed.
//! - [`queue`]: a bounded queue in front of a thread that may have to wait.

pub mod environment;
mod error;
pub mod file;
pub mod generate;
pub mod help;
pub mod logging;
pub mod output;
pub mod queue;
pub mod value;

pub use environment::{Environment, Level};
pub use error::{SettingsError, error_chain};
pub use file::ConfigFile;
pub use value::{Expected, Integer, Period, Port, Size, Switch};

#[doc(hidden)]
pub use serde;
