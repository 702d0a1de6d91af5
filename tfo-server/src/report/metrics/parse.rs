//! Reads metrics back, as this program writes them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::report::json;

/// The values of a moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Samples(Vec<Sample>);

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    metrics: &'a Samples,
}

impl Samples {
    /// `None`: the text is of something else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(sample).collect::<Option<Vec<_>>>().map(Self)
    }

    /// One document with all of them.
    pub(crate) fn to_json(&self) -> String {
        json(&Document { schema: 1, metrics: self })
    }

    /// Whether there is anything of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.matching(name, &[]).next().is_some()
    }

    /// The sum of what has this name and these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        // The sum of nothing would be -0.
        self.matching(name, labels).fold(0.0, |sum, sample| sum + sample.value)
    }

    /// The values that this label has, each once.
    pub(crate) fn values<'a>(&'a self, name: &'a str, label: &str) -> Vec<&'a str> {
        let values: BTreeSet<_> =
            self.matching(name, &[]).filter_map(|sample| sample.label(label)).collect();
        values.into_iter().collect()
    }

    fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            let has = |(name, value): &(&str, &str)| sample.label(name) == Some(value);
            sample.name == name && labels.iter().all(has)
        })
    }

    /// Each value, with a look at its labels.
    pub(super) fn each<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = (impl Fn(&str) -> &'a str, f64)> {
        self.matching(name, labels)
            .map(|sample| (|name: &str| sample.label(name).unwrap_or_default(), sample.value))
    }

    /// The names that there are, in their order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|sample| sample.name.as_str())
    }
}

impl Sample {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }
}

/// Reads `name{label="value",…} 1`.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (name, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(name.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// The text up to the quotation mark that ends it, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(match chars.next()? {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_metric_is_told() {
        for text in ["<html>", "a", "a{", "a{b} 1", "a{b=\"c} 1", "a x", "a{b=\"c\"", "a{b=\"c\"}"]
        {
            assert_eq!(Samples::parse(text), None, "{text:?}");
        }
        assert_eq!(Samples::parse("\n# EOF\n"), Some(Samples(Vec::new())));
        let exotic = Samples::parse("a +Inf\na{} 2 1700000000\n").unwrap();
        assert!(exotic.sum("a", &[]).is_infinite());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*", lines in "([a-z]\\{?|=\"|\"|,|\\}| |[0-9]|\\\\|\n)*") {
            let _ = Samples::parse(&text);
            let _ = Samples::parse(&lines);
        }
    }
}
