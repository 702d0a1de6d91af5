//! The order of the sources of a setting: flag, environment variable, file, default.
//!
//! The variables are read here and not by the parser of the flags, because its messages blame a
//! flag that nobody gave.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    str::FromStr,
};

use super::{error::SettingsError, value::Expected};

/// Environment variables: those of this process, or a test's.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

/// Which source a value came from; the greater one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(clippy::exhaustive_enums, reason = "the sources are a contract of the command line")]
pub enum Level {
    /// The configuration file, or the default.
    File,
    /// An environment variable.
    Variable,
    /// The command line.
    Flag,
}

impl Environment {
    /// The variables of this process, now.
    #[must_use]
    pub fn of_process() -> Self {
        env::vars_os().collect()
    }

    /// A variable as it stands. An empty one counts as set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// A variable's value, checked by the rule of its type.
    ///
    /// # Errors
    /// [`SettingsError::Variable`] when the value breaks the rule or isn't UTF-8.
    pub fn value<T: FromStr<Err = Expected>>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, SettingsError> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        let Some(text) = raw.to_str() else {
            return Err(SettingsError::Variable { name, reason: "is not UTF-8".to_owned() });
        };
        text.parse().map(Some).map_err(|expected| SettingsError::variable(name, text, &expected))
    }

    /// Puts the flag's value into `setting`, else the variable's, else leaves what stands there;
    /// returns which it was. A variable that a flag overrides isn't looked at.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn overlay<T: FromStr<Err = Expected>>(
        &self,
        setting: &mut T,
        flag: Option<T>,
        name: &'static str,
    ) -> Result<Level, SettingsError> {
        if let Some(value) = flag {
            *setting = value;
            return Ok(Level::Flag);
        }
        Ok(match self.value(name)? {
            Some(value) => {
                *setting = value;
                Level::Variable
            }
            None => Level::File,
        })
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::cli::{Port, error_chain};

    #[test]
    fn a_flag_beats_a_variable_which_beats_what_stands_there() {
        let none = Environment::default();
        let some: Environment = [("TFO_SERVER_PORT", "90")].into_iter().collect();
        let mut port = Port::new(80);

        assert_eq!(none.overlay(&mut port, None, "TFO_SERVER_PORT").unwrap(), Level::File);
        assert_eq!(port.get(), 80);
        assert_eq!(some.overlay(&mut port, None, "TFO_SERVER_PORT").unwrap(), Level::Variable);
        assert_eq!(port.get(), 90);
        let flag = Some(Port::new(100));
        assert_eq!(some.overlay(&mut port, flag, "TFO_SERVER_PORT").unwrap(), Level::Flag);
        assert_eq!(port.get(), 100);
    }

    #[test]
    fn a_bad_variable_is_named_with_its_value_and_the_rule() {
        let environment: Environment = [("TFO_SERVER_PORT", "70\n000")].into_iter().collect();
        let error = environment.value::<Port>("TFO_SERVER_PORT").unwrap_err();
        assert_eq!(
            error_chain(&error),
            r#"TFO_SERVER_PORT: invalid value "70\n000": expected a port from 1 to 65535"#
        );
    }

    #[test]
    fn a_variable_that_is_empty_or_not_text_is_refused_and_not_skipped() {
        let raw = OsString::from_vec(vec![0xff]);
        let environment: Environment =
            [("EMPTY", OsString::new()), ("RAW", raw)].into_iter().collect();
        assert!(environment.value::<Port>("EMPTY").is_err());
        let error = environment.value::<Port>("RAW").unwrap_err();
        assert_eq!(error_chain(&error), "RAW: is not UTF-8");
    }
}
