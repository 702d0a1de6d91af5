//! The text formats of metrics.

use std::fmt::Display;

/// All metrics of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Family {
    name: String,
    kind: FamilyKind,
    /// The suffix of the name, if it is a unit.
    unit: Option<&'static str>,
    help: String,
    samples: Vec<FamilySample>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FamilyKind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FamilySample {
    suffix: &'static str,
    labels: Labels,
    value: String,
}

/// Names and values, in the order of output.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// The format of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exposition {
    /// [OpenMetrics 1.0](https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md).
    OpenMetrics,
    /// The older [text format 0.0.4](https://prometheus.io/docs/instrumenting/exposition_formats/).
    Text,
}

impl Exposition {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Family {
    /// Creates a family of counters, which only increase. The name has no `_total`.
    pub(crate) fn counter(name: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(FamilyKind::Counter, name, help)
    }

    pub(crate) fn gauge(name: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(FamilyKind::Gauge, name, help)
    }

    pub(crate) fn histogram(name: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(FamilyKind::Histogram, name, help)
    }

    /// Creates a family whose labels contain the information. The name has no `_info`.
    pub(crate) fn info(name: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(FamilyKind::Info, name, help)
    }

    fn new(kind: FamilyKind, name: impl Into<String>, help: impl Into<String>) -> Self {
        let name = name.into();
        let unit = ["seconds", "bytes"]
            .into_iter()
            .find(|unit| name.strip_suffix(unit).is_some_and(|stem| stem.ends_with('_')));
        Self { name, kind, unit, help: help.into(), samples: Vec::new() }
    }

    /// Adds a value of a counter, a gauge or an info.
    pub(crate) fn add(&mut self, labels: Labels, value: impl Display) {
        let suffix = match self.kind {
            FamilyKind::Counter => "_total",
            FamilyKind::Info => "_info",
            FamilyKind::Gauge | FamilyKind::Histogram => "",
        };
        self.samples.push(FamilySample { suffix, labels, value: value.to_string() });
    }

    pub(crate) fn with(mut self, labels: Labels, value: impl Display) -> Self {
        self.add(labels, value);
        self
    }

    /// Adds a histogram. `buckets`: upper bounds with cumulative counts.
    pub(crate) fn add_histogram<'a>(
        &mut self,
        labels: &Labels,
        buckets: impl IntoIterator<Item = (&'a str, u64)>,
        count: u64,
        sum: impl Display,
    ) {
        let mut add =
            |suffix, labels, value| self.samples.push(FamilySample { suffix, labels, value });
        for (end, count) in buckets.into_iter().chain([("+Inf", count)]) {
            let mut labels = labels.clone();
            labels.push(("le", end.to_owned()));
            add("_bucket", labels, count.to_string());
        }
        add("_sum", labels.clone(), sum.to_string());
        add("_count", labels.clone(), count.to_string());
    }

    fn write(&self, out: &mut String, exposition: Exposition) {
        let Self { name, kind, unit, help, samples } = self;
        let open = exposition == Exposition::OpenMetrics;
        let (suffix, kind) = match kind {
            FamilyKind::Counter if open => ("", "counter"),
            FamilyKind::Counter => ("_total", "counter"),
            FamilyKind::Gauge => ("", "gauge"),
            FamilyKind::Histogram => ("", "histogram"),
            FamilyKind::Info if open => ("", "info"),
            FamilyKind::Info => ("_info", "gauge"),
        };
        *out += &format!("# TYPE {name}{suffix} {kind}\n");
        if let Some(unit) = unit.filter(|_| open) {
            *out += &format!("# UNIT {name} {unit}\n");
        }
        *out += &format!("# HELP {name}{suffix} {}\n", escaped(help));
        for FamilySample { suffix, labels, value } in samples {
            let labels: Vec<_> = labels
                .iter()
                .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
                .collect();
            let labels =
                if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            *out += &format!("{name}{suffix}{labels} {value}\n");
        }
    }
}

/// Returns the text for a scraper.
pub(crate) fn exposition(families: &[Family], exposition: Exposition) -> String {
    let mut out = String::new();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        family.write(&mut out, exposition);
    }
    if exposition == Exposition::OpenMetrics {
        out += "# EOF\n";
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::super::parse::Samples;
    use super::*;

    fn families() -> Vec<Family> {
        let labels = || vec![("listener", "[::1]:80".to_owned()), ("cause", String::new())];
        let mut seconds = Family::histogram("a_seconds", "How long.");
        seconds.add_histogram(&labels(), [("0.1", 1), ("1.0", 3)], 4, 12.5);
        vec![
            Family::counter("a_bytes", "What \\ came.\nIn all.").with(labels(), 7),
            Family::gauge("a_open", "Now.").with(vec![], 1.5),
            Family::info("a_build", "The version.").with(vec![("version", "\"0\"".to_owned())], 1),
            seconds,
            Family::gauge("a_gone", "Nothing."),
        ]
    }

    #[test]
    fn openmetrics_has_types_units_and_an_end() {
        let expected = r#"# TYPE a_bytes counter
# UNIT a_bytes bytes
# HELP a_bytes What \\ came.\nIn all.
a_bytes_total{listener="[::1]:80",cause=""} 7
# TYPE a_open gauge
# HELP a_open Now.
a_open 1.5
# TYPE a_build info
# HELP a_build The version.
a_build_info{version="\"0\""} 1
# TYPE a_seconds histogram
# UNIT a_seconds seconds
# HELP a_seconds How long.
a_seconds_bucket{listener="[::1]:80",cause="",le="0.1"} 1
a_seconds_bucket{listener="[::1]:80",cause="",le="1.0"} 3
a_seconds_bucket{listener="[::1]:80",cause="",le="+Inf"} 4
a_seconds_sum{listener="[::1]:80",cause=""} 12.5
a_seconds_count{listener="[::1]:80",cause=""} 4
# EOF
"#;
        assert_eq!(exposition(&families(), Exposition::OpenMetrics), expected);
    }

    #[test]
    fn text_format_has_full_counter_names_and_no_units() {
        let text = exposition(&families(), Exposition::Text);
        assert!(text.starts_with("# TYPE a_bytes_total counter\n# HELP a_bytes_total "), "{text}");
        assert!(text.contains("# TYPE a_build_info gauge\n"), "{text}");
        assert!(!text.contains("UNIT") && !text.contains("EOF"), "{text}");
    }

    #[test]
    fn written_metrics_are_parsed_back() {
        for form in [Exposition::OpenMetrics, Exposition::Text] {
            let samples = Samples::parse(&exposition(&families(), form)).unwrap();
            let sum = |name: &str, label| samples.sum(name, &[label]).to_string();
            assert_eq!(sum("a_bytes_total", ("listener", "[::1]:80")), "7");
            assert_eq!(sum("a_bytes_total", ("listener", "other")), "0");
            assert_eq!(sum("a_seconds_bucket", ("le", "+Inf")), "4");
            assert_eq!(sum("a_build_info", ("version", "\"0\"")), "1");
        }
    }
}
