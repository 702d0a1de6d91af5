//! The configuration file: finds, reads and parses it, and reports the first fault with line, column and key.

mod trust;

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::{Spanned, Table, Value};

use super::{
    environment::Environment, error::SettingsError, output::escape_control, value::expected_one_of,
};
use crate::sys::process::effective_ids;

/// The largest file that is read. Stops at a device or a log that was named by mistake.
const MAX_BYTES: u64 = 1 << 20;

/// A configuration file that was found and read.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    path: PathBuf,
    text: String,
}

/// Where a program looks for its configuration file.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::exhaustive_structs, reason = "both programs state theirs as a constant")]
pub struct Places<'a> {
    /// The variable that names the file if no flag does, such as `TFO_SERVER_CONFIG`.
    pub variable: &'static str,
    /// Default paths, of which the first that exists is used.
    pub defaults: &'a [&'a str],
}

impl ConfigFile {
    /// Finds and reads the file: that of the flag, else of the variable, else the first default path that exists, else
    /// none.
    ///
    /// # Errors
    /// If a file that is named does not exist, or a file can't be read or is not UTF-8.
    pub fn find(
        flag: Option<&Path>,
        environment: &Environment,
        places: Places<'_>,
    ) -> Result<Option<Self>, SettingsError> {
        Self::find_with(flag, environment, places, |path| File::open(path))
    }

    /// [`find`](Self::find) for a reload, which must not block: refuses a file that is not a regular one.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn find_again(
        flag: Option<&Path>,
        environment: &Environment,
        places: Places<'_>,
    ) -> Result<Option<Self>, SettingsError> {
        Self::find_with(flag, environment, places, |path| {
            open_regular(path).map_err(|e| match e.kind() {
                io::ErrorKind::InvalidInput => io::Error::new(
                    e.kind(),
                    format!("{e}: a pipe or a device can be read only at the start"),
                ),
                _ => e,
            })
        })
    }

    /// Creates a file from a text instead of reading it.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    fn find_with(
        flag: Option<&Path>,
        environment: &Environment,
        places: Places<'_>,
        open: fn(&Path) -> io::Result<File>,
    ) -> Result<Option<Self>, SettingsError> {
        if let Some(path) = flag {
            return Self::read(path, Some("--config"), open).map(Some);
        }
        if let Some(path) = environment.get(places.variable) {
            return Self::read(Path::new(path), Some(places.variable), open).map(Some);
        }
        for path in places.defaults.iter().map(Path::new) {
            // A dangling link exists: somebody created it on purpose, so it is an error and not skipped.
            match fs::symlink_metadata(path) {
                Ok(_) => return Self::read(path, None, open).map(Some),
                Err(error) if is_absent(&error) => {}
                Err(source) => {
                    return Err(SettingsError::Unreadable {
                        path: path.to_owned(),
                        named_by: None,
                        source,
                    });
                }
            }
        }
        Ok(None)
    }

    fn read(
        path: &Path,
        named_by: Option<&'static str>,
        open: fn(&Path) -> io::Result<File>,
    ) -> Result<Self, SettingsError> {
        let trusted = if effective_ids().0 == 0 { trust::check(path) } else { Ok(()) };
        let bytes = trusted.and_then(|()| read_bounded(path, open)).map_err(|source| {
            SettingsError::Unreadable { path: path.to_owned(), named_by, source }
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            let bytes = error.as_bytes();
            let valid = String::from_utf8_lossy(&bytes[..offset]);
            SettingsError::Content {
                path: path.to_owned(),
                position: position(&valid, offset),
                reason: format!("not UTF-8: found byte 0x{:02x}", bytes[offset]),
            }
        })?;
        Ok(Self { path: path.to_owned(), text })
    }

    /// Returns the path of the file, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Parses the file into a model.
    ///
    /// # Errors
    /// [`SettingsError::Content`] at the first fault.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, SettingsError> {
        let syntax = |error: &toml::de::Error| {
            let offset = offset(error);
            let key = key_at(&self.text, offset);
            let message = match error.message() {
                "duplicate key" => duplicate::<T>(&self.text, offset),
                message => {
                    unquoted::<T>(&self.text, offset, &key).unwrap_or_else(|| message.to_owned())
                }
            };
            self.refused(offset, describe(&key, &message))
        };
        let document = toml::Deserializer::parse(&self.text).map_err(|error| syntax(&error))?;
        serde_path_to_error::deserialize(document).map_err(|error| {
            let key = error.path().to_string();
            let key = if key == "." { "" } else { &key };
            let error = error.into_inner();
            let message = self.misplaced::<T>(error.message());
            self.refused(offset(&error), message.unwrap_or_else(|| describe(key, error.message())))
        })
    }

    /// Returns the message for a key at the top level that belongs in a table.
    fn misplaced<T: DeserializeOwned>(&self, message: &str) -> Option<String> {
        let (name, tables) = unknown_key(message)?;
        let value = self.text.parse::<Table>().ok()?.get(name)?.clone();
        let fits = |table: &&&str| {
            let inner = Table::from_iter([(name.to_owned(), value.clone())]);
            T::deserialize(Value::Table(Table::from_iter([((**table).to_owned(), inner.into())])))
                .is_ok()
        };
        let tables: Vec<String> =
            tables.iter().filter(fits).map(|table| format!("[{table}]")).collect();
        (!tables.is_empty()).then(|| {
            let tables = tables.join(" or ");
            escape_control(&format!("{name} belongs to {tables}: expected it below that line"))
        })
    }

    /// Returns the error for a value that contradicts other settings. The error names the place of `key`, such as
    /// `listen.port` or `listen[1].port`, or of the innermost table around it that the file has. `reason` states what is
    /// wrong, and what is allowed.
    #[must_use]
    pub fn refuse(&self, key: &str, reason: impl fmt::Display) -> SettingsError {
        self.refused(self.offset_of(key), describe(key, &reason.to_string()))
    }

    /// Returns the offset of a key's value, else of the innermost table around it, else of the file.
    fn offset_of(&self, key: &str) -> usize {
        let document = toml::de::DeTable::parse(&self.text).ok();
        let mut table = document.as_ref().map(Spanned::get_ref);
        let mut offset = 0;
        for name in key.split('.') {
            let (name, index) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
                Some((name, index)) => (name, index.parse().ok()),
                None => (name, None::<usize>),
            };
            let value = table.and_then(|table| table.get(name));
            let value = match index {
                Some(index) => value.and_then(|value| value.get_ref().as_array()?.get(index)),
                None => value,
            };
            let Some(value) = value else { break };
            offset = value.span().start;
            table = value.get_ref().as_table();
        }
        offset
    }

    fn refused(&self, offset: usize, reason: String) -> SettingsError {
        SettingsError::Content {
            path: self.path.clone(),
            position: position(&self.text, offset),
            reason,
        }
    }
}

impl fmt::Display for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&escape_control(&self.path.to_string_lossy()))
    }
}

/// Opens a regular file for reading, and refuses any other file without blocking.
///
/// A pipe or a device is not opened, because opening it may block or have effects. The type is checked again after
/// opening (with `O_NONBLOCK`), in case the path was replaced in between.
///
/// # Errors
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if the file is not a regular one. Otherwise as [`File::open`].
pub fn open_regular(path: &Path) -> io::Result<File> {
    let check = |metadata: fs::Metadata| {
        let error = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
        if metadata.is_file() { Ok(()) } else { Err(error()) }
    };
    check(fs::metadata(path)?)?;
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    check(file.metadata()?)?;
    Ok(file)
}

fn read_bounded(path: &Path, open: fn(&Path) -> io::Result<File>) -> io::Result<Vec<u8>> {
    if path.as_os_str().is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name is empty"));
    }
    let mut bytes = Vec::new();
    open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(bytes)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn offset(error: &toml::de::Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

/// Returns line and column of a byte, counted from 1. Columns are characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line..].chars().count() + 1)
}

/// Rewrites the messages of serde and toml for people who edit a file.
fn describe(key: &str, message: &str) -> String {
    if let Some((name, names)) = unknown_key(message) {
        let place = match key.rsplit_once('.') {
            Some((table, _)) => format!("in [{table}]"),
            None => "at the top level".to_owned(),
        };
        return format!("unknown key `{name}` {place}: {}", expected_one_of(&names, name));
    }
    let message = message.replacen(", expected ", ": expected ", 1);
    let separator = if key.is_empty() { "" } else { ": " };
    escape_control(&format!("{key}{separator}{message}"))
}

/// Returns the key and the allowed keys of "unknown field `a`, expected `b` or `c`".
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let (name, allowed) = message.strip_prefix("unknown field `")?.split_once("`, expected ")?;
    Some((name, allowed.split('`').skip(1).step_by(2).collect()))
}

/// Returns the message for a key or a table that is given twice: how several of a table are written, if the model allows
/// several.
fn duplicate<T: DeserializeOwned>(text: &str, offset: usize) -> String {
    let line = line_at(text, offset);
    let Some(name) =
        line.trim_start_matches('[').split(']').next().filter(|_| line.starts_with('['))
    else {
        return "duplicate key: expected once".to_owned();
    };
    let tables = Value::Array(vec![Value::Table(Table::new())]);
    if T::deserialize(Value::Table(Table::from_iter([(name.to_owned(), tables)]))).is_ok() {
        format!("duplicate table: expected one [{name}], or several, each as [[{name}]]")
    } else {
        "duplicate table: expected once".to_owned()
    }
}

/// Returns the message for a value that TOML can't read: text without quotes, or nothing. What is allowed comes from the
/// model, which is given the text in quotes.
fn unquoted<T: DeserializeOwned>(text: &str, offset: usize, path: &str) -> Option<String> {
    let (key, value) = line_at(text, offset).split_once('=')?;
    let (key, value) = (key.trim(), value.split('#').next().unwrap_or_default().trim());
    if value.is_empty() {
        return Some("no value: expected one after the `=`".to_owned());
    }
    if !is_key(key) || value.contains(['"', '\'', '=', '{']) {
        return None;
    }
    let (quoted, shown) = match value.strip_prefix('[').and_then(|list| list.strip_suffix(']')) {
        Some(list) => {
            let items: Vec<&str> = list.split(',').map(str::trim).collect();
            let shown = format!("[\"{}\"]", items.join("\", \""));
            (Value::Array(items.into_iter().map(Value::from).collect()), shown)
        }
        None => (Value::from(value), format!("\"{value}\"")),
    };
    let table = path
        .rsplit('.')
        .fold(quoted, |inner, name| Value::Table(Table::from_iter([(name.to_owned(), inner)])));
    match T::deserialize(table) {
        Ok(_) => Some(format!("text needs quotes: expected {key} = {shown}")),
        Err(error) => {
            let rule = error.message().rsplit_once("expected ")?.1;
            Some(format!("invalid value {value}: expected {rule}"))
        }
    }
}

/// Returns the line with this byte.
fn line_at(text: &str, offset: usize) -> &str {
    let before = text.get(..offset).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    text[start..].lines().next().unwrap_or_default().trim_start()
}

/// Returns the key on the line of a syntax error. The document is not parsed, so this searches for the table header
/// above the line and the word before the `=`.
fn key_at(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = line_at(text, offset);
    let header = |line: &str| {
        let name = line.trim_start().strip_prefix('[')?;
        // `[[` begins one of several tables.
        let name = name.strip_prefix('[').unwrap_or(name).split(']').next()?;
        is_key(name).then(|| name.to_owned())
    };
    if line.starts_with('[') {
        return header(line).unwrap_or_default();
    }
    let table = text[..start].lines().rev().find_map(header);
    let key = line.split('=').next().unwrap_or_default().trim();
    match (table, is_key(key)) {
        (Some(table), true) => format!("{table}.{key}"),
        (None, true) => key.to_owned(),
        (Some(table), false) => format!("in [{table}]"),
        (None, false) => String::new(),
    }
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests;
