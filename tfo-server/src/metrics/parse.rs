//! Parses metrics that this program has written.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::output::json;

/// The samples of one reading.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Samples(Vec<Sample>);

/// A value with its name and labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

#[derive(Serialize)]
struct SamplesDocument<'a> {
    schema: u32,
    metrics: &'a Samples,
}

impl Samples {
    /// Parses metrics. Returns `None` if the text contains anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(sample).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Returns all samples as one JSON document.
    pub(crate) fn to_json(&self) -> String {
        json(&SamplesDocument { schema: 1, metrics: self })
    }

    /// Returns whether a sample has this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|sample| sample.name == name)
    }

    /// Indexes the samples by name, and by name and listener, so that a lookup costs no more than the samples found.
    pub(super) fn index(&self) -> Index<'_> {
        let mut index = Index { by_name: HashMap::new() };
        for sample in &self.0 {
            let by_name = index.by_name.entry(sample.name.as_str()).or_default();
            by_name.all.push(sample);
            if let Some(listener) = sample.listener() {
                by_name.by_listener.entry(listener).or_default().push(sample);
            }
        }
        index
    }

    /// Returns the sum of the samples with this name and these labels.
    #[cfg(test)]
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            let has = |(name, value): &(&str, &str)| sample.label(name) == *value;
            sample.name == name && labels.iter().all(has)
        };
        sum(self.0.iter().filter(fits))
    }
}

/// The labels of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ListenerLabels<'a> {
    pub(super) address: &'a str,
    /// Empty if the samples have no such label.
    pub(super) service: &'a str,
}

/// An index of the samples by name, and by name and listener.
pub(super) struct Index<'a> {
    by_name: HashMap<&'a str, NamedSamples<'a>>,
}

/// The samples of one name.
#[derive(Default)]
struct NamedSamples<'a> {
    all: Vec<&'a Sample>,
    by_listener: HashMap<ListenerLabels<'a>, Vec<&'a Sample>>,
}

impl<'a> Index<'a> {
    /// Returns the samples with this name, in their order.
    pub(super) fn named(&self, name: &str) -> &[&'a Sample] {
        self.by_name.get(name).map_or(&[], |samples| &samples.all)
    }

    /// Returns the samples with this name and listener, in their order.
    pub(super) fn of_listener(&self, name: &str, listener: ListenerLabels<'a>) -> &[&'a Sample] {
        self.by_name
            .get(name)
            .and_then(|samples| samples.by_listener.get(&listener))
            .map_or(&[], Vec::as_slice)
    }
}

/// Returns the sum of the samples' values.
pub(super) fn sum<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> f64 {
    // `Iterator::sum` of nothing would be -0.
    samples.into_iter().fold(0.0, |sum, sample| sum + sample.value)
}

/// Returns the sums of the samples' values, grouped by the value of a label.
pub(super) fn sums_by<'a>(samples: &[&'a Sample], label: &str) -> BTreeMap<&'a str, f64> {
    let mut sums = BTreeMap::new();
    for sample in samples {
        *sums.entry(sample.label(label)).or_insert(0.0) += sample.value;
    }
    sums
}

impl Sample {
    /// Returns the value of a label; empty without the label.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// Returns the labels of the sample's listener, if it has any.
    pub(super) fn listener(&self) -> Option<ListenerLabels<'_>> {
        let address = self.labels.get("listener")?;
        Some(ListenerLabels { address, service: self.label("service") })
    }
}

/// Parses `name{label="value",…} 1`.
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

/// Returns the text up to the closing quotation mark, and what follows it.
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
    fn text_that_is_no_metric_is_refused() {
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
        fn any_text_is_parsed_or_refused(text in "\\PC*", lines in "([a-z]\\{?|=\"|\"|,|\\}| |[0-9]|\\\\|\n)*") {
            let _ = Samples::parse(&text);
            let _ = Samples::parse(&lines);
        }
    }
}
