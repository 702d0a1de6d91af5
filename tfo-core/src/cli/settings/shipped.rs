//! The configuration file that a program ships documents every key: its default, its rule and its variable.

use serde::{Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use super::{FlagValues, Sources, leaves, replace, rule};

impl Sources {
    /// Compares the shipped file with the model: it must set every key to its default, and the paragraph of the key
    /// must name the variable, the range and the words that are allowed. Returns what is missing. For tests.
    #[must_use]
    pub fn undocumented<T: Serialize + DeserializeOwned + Default>(
        &self,
        file: &str,
    ) -> Vec<String> {
        let tables = |text: &str| text.parse::<Table>().map_err(|e| e.to_string());
        let defaults = toml::to_string(&T::default()).map_err(|e| e.to_string());
        let (shipped, defaults) = match (tables(file), defaults.and_then(|text| tables(&text))) {
            (Ok(shipped), Ok(defaults)) => (shipped, defaults),
            (Err(e), _) | (_, Err(e)) => return vec![e],
        };
        let (shipped, expected) = (leaves(&shipped), leaves(&defaults));
        let mut faults: Vec<String> = shipped
            .iter()
            .filter(|(key, _)| expected.iter().all(|(known, _)| known != key))
            .map(|(key, _)| format!("{key}: the model has no such key"))
            .collect();
        for (key, default) in &expected {
            if !shipped.contains(&(key.clone(), default.clone())) {
                faults.push(format!("{key}: set it to {default}, its default"));
            }
            let paragraph = paragraph(file, key);
            let variable = self.variable(key);
            let mut names = paragraph.split(|c: char| c != '_' && !c.is_ascii_uppercase());
            if names.all(|name| name != variable) {
                faults.push(format!("{key}: name its variable, {variable}"));
            }
            let rule = rule_of::<T>(&defaults, key, default);
            let missing = words(&rule).into_iter().filter(|words| !paragraph.contains(words));
            faults.extend(missing.map(|words| format!("{key}: state what is allowed, {words}")));
        }
        faults
    }

    /// Returns the keys that their variable does not set, because another key has the same variable or because the
    /// text of the key's default is refused. For tests.
    #[must_use]
    pub fn unreachable_keys<T: Serialize + DeserializeOwned + Default>(&self) -> Vec<String> {
        let Ok(defaults) = Table::try_from(T::default()) else { return vec![String::new()] };
        let mut keys = leaves(&defaults);
        keys.retain(|(key, default)| {
            let text = match default {
                Value::String(text) => text.clone(),
                Value::Array(_) => String::new(),
                other => other.to_string(),
            };
            let environment = [(self.variable(key), text)].into_iter().collect();
            !self
                .fill::<T>(None, &FlagValues::default(), &environment)
                .is_ok_and(|resolved| resolved.origins.keys().eq([key]))
        });
        keys.into_iter().map(|(key, _)| key).collect()
    }
}

/// Returns the rule of a key, from the error for a value of a wrong type.
fn rule_of<T: DeserializeOwned>(defaults: &Table, key: &str, default: &Value) -> String {
    let wrong = match default {
        Value::Array(_) => Value::Boolean(false),
        _ => Value::Array(Vec::new()),
    };
    let mut table = defaults.clone();
    let model = replace(&mut table, key, wrong)
        .and_then(|()| T::deserialize(Value::Table(table)).map_err(|e| e.message().to_owned()));
    model.err().map(|message| rule(&message).to_owned()).unwrap_or_default()
}

/// Returns what documentation must contain of a rule: a range, "1 to 65535", or the words in backticks.
fn words(rule: &str) -> Vec<String> {
    match rule.split_once(" from ") {
        Some((_, range)) => range.split(',').take(1).map(str::to_owned).collect(),
        None => rule.split('`').skip(1).step_by(2).map(str::to_owned).collect(),
    }
}

/// Returns the lines around a key up to the next empty ones, as one line without quotes and remarks in parentheses.
fn paragraph(file: &str, key: &str) -> String {
    let (table, name) = key.split_once('.').unwrap_or(("", key));
    let mut header = String::new();
    for paragraph in file.split("\n\n") {
        let mut found = false;
        for line in paragraph.lines() {
            if let Some(table) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                table.clone_into(&mut header);
            }
            found |= header == table && line.split(" = ").next() == Some(name);
        }
        if found {
            let lines = paragraph.lines().map(|line| line.trim_start_matches('#').trim());
            let text = lines.collect::<Vec<_>>().join(" ").replace('"', "");
            return without_remarks(&text);
        }
    }
    String::new()
}

fn without_remarks(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, remark)) = rest.split_once(" (") {
        plain.push_str(before);
        rest = remark.split_once(')').map_or("", |(_, after)| after);
    }
    plain + rest
}
