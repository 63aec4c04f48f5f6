//! Text formats: Prometheus 0.0.4 and OpenMetrics 1.0. Pure.

use std::fmt::Write as _;

use super::scrape::{self, escaped};

/// Text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FamilyKind {
    Gauge,
    Counter,
    Info,
}

/// Text that is built family by family.
pub(super) struct Exposition {
    format: Format,
    text: String,
    /// Name of the samples of the current family.
    sample: String,
}

impl Exposition {
    pub(super) fn new(format: Format) -> Self {
        Self { format, text: String::new(), sample: String::new() }
    }

    /// Starts a family. `name` is without the suffix of its kind.
    pub(super) fn family(&mut self, name: &str, kind: FamilyKind, unit: Option<&str>, help: &str) {
        let ending = match kind {
            FamilyKind::Gauge => "",
            FamilyKind::Counter => "_total",
            FamilyKind::Info => "_info",
        };
        self.sample = format!("{name}{ending}");
        let (family, word) = match (self.format, kind) {
            (Format::OpenMetrics, FamilyKind::Info) => (name, "info"),
            (Format::OpenMetrics, FamilyKind::Counter) => (name, "counter"),
            (_, FamilyKind::Counter) => (self.sample.as_str(), "counter"),
            (_, FamilyKind::Gauge | FamilyKind::Info) => (self.sample.as_str(), "gauge"),
        };
        let _ = writeln!(self.text, "# HELP {family} {}\n# TYPE {family} {word}", escaped(help));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            let _ = writeln!(self.text, "# UNIT {family} {unit}");
        }
    }

    /// Adds a sample to the current family.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(&self.sample);
        for (at, (name, text)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{name}=\"{}\"", if at == 0 { '{' } else { ',' }, escaped(text));
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// Starts a family of an app's own page; it has the same name as its samples.
    pub(super) fn own_family(&mut self, name: &str, kind: scrape::FamilyKind, help: &str) {
        let word = word(kind, name, self.format);
        let family = match (self.format, word) {
            (Format::OpenMetrics, "counter") => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        // Quotes are escaped in one format and must not be escaped in the other.
        let help = if self.format == Format::Text { help.replace('\\', "\\\\").replace('\n', "\\n") } else { escaped(help) };
        let _ = writeln!(self.text, "# HELP {family} {help}\n# TYPE {family} {word}");
    }

    /// Adds a sample of an app's own page: labels from ostler, the sample's own labels (already
    /// formatted), and one more.
    pub(super) fn own_sample(
        &mut self,
        name: &str,
        ending: &str,
        ours: &[(&str, &str)],
        own: &str,
        more: Option<(&str, &str)>,
        value: f64,
    ) {
        let _ = write!(self.text, "{name}{ending}{{");
        for (at, (label, text)) in ours.iter().chain(&more).enumerate() {
            let _ = write!(self.text, "{}{label}=\"{}\"", if at == 0 { "" } else { "," }, escaped(text));
        }
        let comma = if own.is_empty() { "" } else { "," };
        let _ = writeln!(self.text, "{comma}{own}}} {}", Number(value));
    }

    /// Returns the whole text.
    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// Number in the syntax of the formats.
struct Number(f64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            value => write!(f, "{value}"),
        }
    }
}

/// Returns the format's word for the kind of a family of an app's own page.
fn word(kind: scrape::FamilyKind, name: &str, format: Format) -> &'static str {
    match (kind, format) {
        // OpenMetrics recognizes counters only by their suffix.
        (scrape::FamilyKind::Counter, Format::OpenMetrics) if !name.ends_with("_total") => "unknown",
        (scrape::FamilyKind::Counter, _) => "counter",
        (scrape::FamilyKind::Gauge, _) => "gauge",
        (scrape::FamilyKind::Histogram, _) => "histogram",
        (scrape::FamilyKind::Summary, _) => "summary",
        (scrape::FamilyKind::Untyped, Format::OpenMetrics) => "unknown",
        (scrape::FamilyKind::Untyped, Format::Text) => "untyped",
    }
}
