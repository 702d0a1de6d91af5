use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
};

use super::error::SettingsError;

/// Environment variables, of this process or of a test.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// Returns the current variables of this process.
    #[must_use]
    pub fn of_process() -> Self {
        env::vars_os().collect()
    }

    /// Returns the value of a variable. An empty variable is set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Returns the value of a variable as text.
    ///
    /// # Errors
    /// [`SettingsError::Value`] if the value is not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, SettingsError> {
        let not_text = || SettingsError::value(name, "is not UTF-8");
        self.get(name).map(|raw| raw.to_str().ok_or_else(not_text)).transpose()
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}
