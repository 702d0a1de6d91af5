//! What `tfo-server` and `tfo-client` share as programs: the sources of settings, the types of their values, and output.
//!
//! - [`settings`]: a flag overrides a variable, which overrides the file; an error names the source.
//! - [`file`](mod@file): finds and reads the configuration file; an error names file, line and key.
//! - [`value`]: ports, counts, durations and sizes, each with one rule for flags, variables and files.
//! - [`generate`]: man pages, completions and configuration files for packages.
//! - [`help`]: which flags and which text each command's help shows.
//! - [`logging`] and [`output`]: standard error, standard output, and when colour is allowed.
//! - [`screen`]: the width of the terminal, and a screen that is refreshed until `q`.
//! - [`queue`]: a bounded queue in front of a thread that may block.

mod environment;
mod error;
pub mod file;
pub mod generate;
pub mod help;
pub mod logging;
pub mod output;
pub mod queue;
pub mod screen;
pub mod settings;
pub mod value;

pub use environment::Environment;
pub use error::{SettingsError, error_chain};
pub use file::ConfigFile;
pub use settings::{FlagValues, Resolved, Source, Sources};
pub use value::{Expected, Integer, Period, Port, Size, Switch};

#[doc(hidden)]
pub use clap;
#[doc(hidden)]
pub use serde;
