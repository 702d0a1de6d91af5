//! The sources of a setting, in order of precedence: flag, environment variable, configuration file, default.
//!
//! A program states its settings once, as a *model*: a struct of tables with a default for each key.
//! [`Sources::resolve`] fills the model from all sources. No key is listed anywhere else:
//!
//! 1. The file is parsed into the model, so that a fault is reported with line, column and key.
//! 2. The model is written as a [`toml::Table`]. For each key of the model's default, the value of its flag or else of
//!    its variable replaces the value in the table. The text of a flag or variable is converted to the type of the
//!    default.
//! 3. The table is read into the model again. A fault is then at a replaced key, and reported by the name of the flag
//!    or variable.
//!
//! A variable that a flag overrides is not read. [`Resolved`] remembers the source of each replaced key, so that checks
//! of several settings together can name the source too.

mod shipped;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, path::Path};

use serde::{Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use super::{
    environment::Environment,
    error::SettingsError,
    file::{ConfigFile, Places},
    value::Expected,
};

/// Where the settings of a program come from, and how its environment variables are named.
///
/// A variable is `PREFIX_TABLE_KEY`, such as `TFO_SERVER_KEYS_MODE` for `keys.mode`.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::exhaustive_structs, reason = "both programs state theirs as a constant")]
pub struct Sources {
    /// The configuration file.
    pub places: Places<'static>,
    /// The beginning of each variable's name, such as `TFO_SERVER`.
    pub prefix: &'static str,
    /// Tables that are not part of the variables: `TFO_SERVER_PORT` for `listen.port`.
    pub unnamed_tables: &'static [&'static str],
    /// Keys with another variable, each with the end of its name: `("output.format", "OUTPUT")`.
    pub renamed: &'static [(&'static str, &'static str)],
}

/// The values that flags set.
#[derive(Debug, Clone, Default)]
pub struct FlagValues(BTreeMap<&'static str, FlagValue>);

#[derive(Debug, Clone)]
struct FlagValue {
    flag: &'static str,
    text: String,
}

/// A source of a setting, in ascending order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(clippy::exhaustive_enums, reason = "the sources are a contract of the command line")]
pub enum Source {
    /// The configuration file, or the default.
    File,
    /// An environment variable.
    Variable,
    /// The command line.
    Flag,
}

/// A model filled from all sources.
#[derive(Debug)]
#[non_exhaustive]
pub struct Resolved<T> {
    /// The effective configuration.
    pub model: T,
    /// The configuration file, if one was found.
    pub file: Option<ConfigFile>,
    origins: BTreeMap<String, Origin>,
}

/// The flag or variable that replaced the value of a key.
#[derive(Debug)]
struct Origin {
    source: Source,
    name: String,
    text: String,
}

impl FlagValues {
    /// Adds the value of a flag for a key such as `listen.port`, if the flag is given.
    #[must_use]
    pub fn with(
        mut self,
        flag: &'static str,
        key: &'static str,
        value: Option<impl fmt::Display>,
    ) -> Self {
        if let Some(value) = value {
            self.0.insert(key, FlagValue { flag, text: value.to_string() });
        }
        self
    }
}

impl Sources {
    /// Finds and reads the configuration file (`config` is the value of `--config`), and fills the model from all
    /// sources.
    ///
    /// # Errors
    /// At the first fault of any source.
    pub fn resolve<T: Serialize + DeserializeOwned + Default>(
        &self,
        config: Option<&Path>,
        flags: &FlagValues,
        environment: &Environment,
    ) -> Result<Resolved<T>, SettingsError> {
        self.fill(ConfigFile::find(config, environment, self.places)?, flags, environment)
    }

    /// [`resolve`](Self::resolve) for a reload: refuses a file that is not a regular one, because reading it may block.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn resolve_again<T: Serialize + DeserializeOwned + Default>(
        &self,
        config: Option<&Path>,
        flags: &FlagValues,
        environment: &Environment,
    ) -> Result<Resolved<T>, SettingsError> {
        self.fill(ConfigFile::find_again(config, environment, self.places)?, flags, environment)
    }

    /// Fills the model from a file that was read, or from none, and the other sources.
    ///
    /// # Errors
    /// At the first fault of any source.
    pub fn fill<T: Serialize + DeserializeOwned + Default>(
        &self,
        file: Option<ConfigFile>,
        flags: &FlagValues,
        environment: &Environment,
    ) -> Result<Resolved<T>, SettingsError> {
        let from_file: T = file.as_ref().map_or_else(|| Ok(T::default()), ConfigFile::parse)?;
        let mut table = Table::try_from(&from_file)?;
        let mut origins = BTreeMap::new();
        for (key, default) in leaves(&Table::try_from(T::default())?) {
            let Some(origin) = self.origin(&key, flags, environment)? else { continue };
            let value = origin.value(&default)?;
            replace(&mut table, &key, value).map_err(|e| SettingsError::value(&origin.name, e))?;
            origins.insert(key, origin);
        }
        debug_assert!(flags.0.keys().all(|key| origins.contains_key(*key)), "{flags:?}");
        let model = serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
            let key = error.path().to_string();
            let error = error.into_inner();
            match origins.get(key.split('[').next().unwrap_or(&key)) {
                Some(origin) => origin.refuse(rule(error.message())),
                None => SettingsError::value(key, error.message()),
            }
        })?;
        Ok(Resolved { model, file, origins })
    }

    /// Returns the name of a key's environment variable.
    #[must_use]
    pub fn variable(&self, key: &str) -> String {
        let name = match self.renamed.iter().find(|(renamed, _)| *renamed == key) {
            Some((_, name)) => name,
            None => match key.split_once('.') {
                Some((table, key)) if self.unnamed_tables.contains(&table) => key,
                _ => key,
            },
        };
        format!("{}_{}", self.prefix, name.replace(['.', '-'], "_").to_uppercase())
    }

    fn origin(
        &self,
        key: &str,
        flags: &FlagValues,
        environment: &Environment,
    ) -> Result<Option<Origin>, SettingsError> {
        if let Some(FlagValue { flag, text }) = flags.0.get(key) {
            let (name, text) = ((*flag).to_owned(), text.clone());
            return Ok(Some(Origin { source: Source::Flag, name, text }));
        }
        let name = self.variable(key);
        let text = environment.text(&name)?.map(str::to_owned);
        Ok(text.map(|text| Origin { source: Source::Variable, name, text }))
    }
}

impl<T: Serialize> Resolved<T> {
    /// Returns the source of a key's value.
    #[must_use]
    pub fn source(&self, key: &str) -> Source {
        self.origins.get(key).map_or(Source::File, |origin| origin.source)
    }

    /// Returns the error for a value that contradicts other settings. The error names the flag or variable that set
    /// `key`, else the place of `key` in the file, else `key` alone. `reason` states what is
    /// wrong, and what is allowed.
    #[must_use]
    pub fn refuse(&self, key: &str, reason: impl fmt::Display) -> SettingsError {
        match (self.origins.get(key), &self.file) {
            (Some(origin), _) => SettingsError::value(&origin.name, reason),
            (None, Some(file)) => file.refuse(key, reason),
            (None, None) => SettingsError::value(key, reason),
        }
    }

    /// Returns the effective configuration as the text of a configuration file.
    ///
    /// # Errors
    /// If the model can't be written as TOML.
    pub fn to_toml(&self) -> Result<String, SettingsError> {
        Ok(toml::to_string(&self.model)?)
    }
}

impl Origin {
    /// Converts the text to the TOML type of the default. Text that can't be converted stays text, so that the key's
    /// own type refuses it and states its rule.
    fn value(&self, default: &Value) -> Result<Value, SettingsError> {
        let text = self.text.as_str();
        let as_text = || Value::String(text.to_owned());
        Ok(match default {
            Value::Integer(_) => text.parse().map_or_else(|_| as_text(), Value::Integer),
            Value::Boolean(_) => Value::Boolean(
                text.parse().map_err(|_| self.refuse(Expected::new("true or false")))?,
            ),
            Value::Array(_) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
            }
            _ => as_text(),
        })
    }

    fn refuse(&self, rule: impl fmt::Display) -> SettingsError {
        SettingsError::value(&self.name, format_args!("invalid value {:?}: {rule}", self.text))
    }
}

/// Returns the keys of a table with their values, as dotted names: `listen.port`.
fn leaves(table: &Table) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => {
                let inner = leaves(inner).into_iter();
                found.extend(inner.map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            _ => found.push((name.clone(), value.clone())),
        }
    }
    found
}

/// Replaces the value of a key. Fails if the file has several tables for the key, such as `[[listen]]`.
fn replace(table: &mut Table, key: &str, new: Value) -> Result<(), String> {
    let Some((name, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), new);
        return Ok(());
    };
    match table.get_mut(name) {
        Some(Value::Table(inner)) => replace(inner, rest, new),
        Some(Value::Array(several)) => Err(format!(
            "the file has {} [[{name}]] tables, and this value is for one: set {rest} in the file",
            several.len()
        )),
        _ => Err(format!("the settings have no table {name}")),
    }
}

/// Returns the rule, "expected …", from the message of a deserializer. The refused value is before the rule, and may
/// contain the word itself.
fn rule(message: &str) -> &str {
    message.rfind("expected ").map_or(message, |at| &message[at..])
}
