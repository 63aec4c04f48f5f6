//! Rules: conditions for alerts, the apps that they apply to, and their severity.

mod defaults;
mod parse;

pub use defaults::defaults;
pub(crate) use parse::MOST_WINDOW_MS;
pub use parse::rule;

use crate::input::OccurrenceKind;
pub use crate::severity::Severity;

/// Alert rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name, unique among all rules.
    pub name: String,
    /// Its condition.
    pub condition: Condition,
    /// Apps, by name or pattern with `*`; empty = all.
    pub apps: Vec<String>,
    /// Severity of its alerts; none = the default severity of the event.
    pub severity: Option<Severity>,
    /// Time for which the condition has to hold.
    pub for_ms: u64,
    /// Channels to notify; empty = all.
    pub channels: Vec<String>,
    /// Time after which a firing alert is reported again.
    pub repeat_ms: u64,
}

/// Default time after which a firing alert is reported again.
pub const REPEAT_MS: u64 = 4 * 3_600_000;

/// Time between two samples of the metrics.
pub const SAMPLE_MS: u64 = 10_000;

impl Rule {
    /// Returns a rule with default settings.
    pub fn new(name: &str, condition: Condition) -> Self {
        let for_ms = 0;
        Self { name: name.into(), condition, apps: Vec::new(), severity: None, for_ms, channels: Vec::new(), repeat_ms: REPEAT_MS }
    }

    /// Returns true if the rule applies to this app.
    pub fn covers(&self, app: &str) -> bool {
        self.apps.is_empty() || self.apps.iter().any(|pattern| matches(pattern, app))
    }
}

/// The condition of a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// One of these happens.
    Events(Vec<OccurrenceKind>),
    /// A metric is beyond a limit.
    Threshold(Threshold),
    /// Lines of the log match.
    Log {
        /// Pattern of the lines.
        pattern: Pattern,
        /// So many matching lines …
        count: usize,
        /// … within this time.
        window_ms: u64,
    },
    /// An exception is reported.
    Exception {
        /// An exception that did not occur before.
        new: bool,
        /// An exception that was resolved and occurs again.
        returned: bool,
    },
    /// A check over the network.
    Check(Check),
    /// The memory limit will be reached within this time if the trend continues.
    Forecast {
        /// The time.
        within_ms: u64,
    },
}

/// Limit of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// Name of the metric: `cpu`, `memory`, `host.disk`, or a custom metric of the app.
    pub metric: String,
    /// True: above the limit is beyond it; false: below.
    pub above: bool,
    /// The limit.
    pub limit: f64,
    /// The alert ends when the value is within this limit again.
    pub clear: f64,
    /// Window whose mean is compared; 0 = each single value.
    pub window_ms: u64,
}

impl Threshold {
    /// Returns true if the value is beyond the limit. If the alert fires already, the clear value
    /// is the limit.
    pub fn is_beyond(&self, value: f64, fires: bool) -> bool {
        let limit = if fires { self.clear } else { self.limit };
        if self.above { value > limit } else { value < limit }
    }
}

/// Check over the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its target.
    pub target: CheckTarget,
    /// Time between two checks.
    pub every_ms: u64,
    /// Maximum wait for the response.
    pub timeout_ms: u64,
    /// Minimum number of days for which the certificate must be valid; none = the expiry is not
    /// checked.
    pub certificate_days: Option<u32>,
}

/// Target of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckTarget {
    /// `GET` of this address, with this expected status; none = any status below 400.
    Http {
        /// The address.
        url: String,
        /// The status.
        status: Option<u16>,
    },
    /// A connection to this `host:port`.
    Tcp(String),
}

/// Reason why a text is no [`Pattern`].
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct PatternError(#[from] regex_lite::Error);

/// Regular expression.
#[derive(Clone, Debug)]
pub struct Pattern(regex_lite::Regex);

impl Pattern {
    /// Parses a regular expression.
    ///
    /// # Errors
    /// Returns a description of the error if the expression is invalid.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Ok(Self(regex_lite::RegexBuilder::new(text).size_limit(256 << 10).build()?))
    }

    /// Returns true if the pattern matches anywhere in the line.
    pub fn is_in(&self, line: &str) -> bool {
        self.0.is_match(line)
    }

    /// Its text.
    pub fn text(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

/// Returns true if the name matches the pattern, in which `*` is any text. The search is linear
/// except for the last star.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let Some(last) = pattern.rsplit('*').next().filter(|_| pattern.contains('*')) else { return rest.is_empty() };
    let middle = pattern.matches('*').count() - 1;
    for part in parts.take(middle) {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_matches_names_with_wildcards() {
        for (pattern, name, is) in [
            ("api", "api", true),
            ("api", "api2", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c*e", "abcde", true),
            ("a*a", "a", false),
            ("a*b*a", "aba", true),
            ("", "x", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(matches(pattern, name), is, "{pattern} {name}");
        }
    }

    #[test]
    fn threshold_stays_beyond_until_clear_value() {
        let above = Threshold { metric: "cpu".into(), above: true, limit: 90.0, clear: 70.0, window_ms: 0 };
        assert!(
            !above.is_beyond(90.0, false) && above.is_beyond(91.0, false) && above.is_beyond(71.0, true) && !above.is_beyond(70.0, true)
        );
        let below = Threshold { above: false, limit: 1.0, clear: 5.0, ..above };
        assert!(below.is_beyond(0.5, false) && !below.is_beyond(2.0, false) && below.is_beyond(2.0, true) && !below.is_beyond(5.0, true));
    }
}
