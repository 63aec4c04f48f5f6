//! The two text formats: Prometheus 0.0.4 and OpenMetrics 1.0. Pure.

use std::fmt::Write as _;

/// The format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    Counter,
    Info,
}

/// A text that grows family by family.
pub(super) struct Exposition {
    format: Format,
    text: String,
    /// Name of the samples of the present family.
    sample: String,
}

impl Exposition {
    pub(super) fn new(format: Format) -> Self {
        Self { format, text: String::new(), sample: String::new() }
    }

    /// Begins a family. `name` is without the ending of its kind.
    pub(super) fn family(&mut self, name: &str, kind: Kind, unit: Option<&str>, help: &str) {
        let ending = match kind {
            Kind::Gauge => "",
            Kind::Counter => "_total",
            Kind::Info => "_info",
        };
        self.sample = format!("{name}{ending}");
        let (family, word) = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Info) => (name, "info"),
            (Format::OpenMetrics, Kind::Counter) => (name, "counter"),
            (_, Kind::Counter) => (self.sample.as_str(), "counter"),
            (_, Kind::Gauge | Kind::Info) => (self.sample.as_str(), "gauge"),
        };
        let _ = writeln!(self.text, "# HELP {family} {}\n# TYPE {family} {word}", escaped(help));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            let _ = writeln!(self.text, "# UNIT {family} {unit}");
        }
    }

    /// A sample of the present family.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(&self.sample);
        for (at, (name, text)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{name}=\"{}\"", if at == 0 { '{' } else { ',' }, escaped(text));
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// The whole text.
    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// Text in quotes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out
}
