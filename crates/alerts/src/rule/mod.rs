//! Rules: what is an alert, of which apps, how grave.

mod defaults;
mod parse;

pub use defaults::defaults;
pub(crate) use parse::MOST_WINDOW_MS;
pub use parse::rule;

use crate::input::Kind;
pub use crate::severity::Severity;

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name, unique among all rules.
    pub name: String,
    /// What it looks at.
    pub condition: Condition,
    /// Apps, by name or pattern with `*`; empty = all.
    pub apps: Vec<String>,
    /// How grave it is; none = as grave as what happened.
    pub severity: Option<Severity>,
    /// For how long the condition has to hold.
    pub for_ms: u64,
    /// Channels that are told; empty = all.
    pub channels: Vec<String>,
    /// Time after which an alert that still fires is told again.
    pub repeat_ms: u64,
}

/// Time after which an alert that still fires is told again, unless said otherwise.
pub const REPEAT_MS: u64 = 4 * 3_600_000;

/// Time between two samples of figures.
pub const SAMPLE_MS: u64 = 10_000;

impl Rule {
    /// A rule with everything as it usually is.
    pub fn new(name: &str, condition: Condition) -> Self {
        let for_ms = 0;
        Self { name: name.into(), condition, apps: Vec::new(), severity: None, for_ms, channels: Vec::new(), repeat_ms: REPEAT_MS }
    }

    /// True if it is about this app.
    pub fn covers(&self, app: &str) -> bool {
        self.apps.is_empty() || self.apps.iter().any(|pattern| matches(pattern, app))
    }
}

/// The condition of a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// One of these happens.
    Events(Vec<Kind>),
    /// A figure is beyond a limit.
    Threshold(Threshold),
    /// Lines of the log match.
    Log {
        /// What matches.
        pattern: Pattern,
        /// So many of them …
        count: usize,
        /// … within this time.
        window_ms: u64,
    },
    /// An exception is reported.
    Exception {
        /// One that was never seen before.
        new: bool,
        /// One that had been resolved.
        returned: bool,
    },
    /// Something is asked over the network.
    Check(Check),
    /// The memory limit is reached within this time, if it goes on like this.
    Forecast {
        /// The time.
        within_ms: u64,
    },
}

/// A limit of a figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// Name of the figure: `cpu`, `memory`, `host.disk`, or one that the app reports.
    pub metric: String,
    /// True: beyond means above; else below.
    pub above: bool,
    /// The limit.
    pub limit: f64,
    /// It is over when the figure is within this one again.
    pub clear: f64,
    /// The mean of this time is compared; 0 = each figure.
    pub window_ms: u64,
}

impl Threshold {
    /// True if the figure is beyond the limit; for one that fires already, if it is not yet within the clear value.
    pub fn is_beyond(&self, value: f64, fires: bool) -> bool {
        let limit = if fires { self.clear } else { self.limit };
        if self.above { value > limit } else { value < limit }
    }
}

/// A question over the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is asked.
    pub target: Target,
    /// Time between two questions.
    pub every_ms: u64,
    /// Longest wait for the answer.
    pub timeout_ms: u64,
    /// The certificate has to be valid for so many days more; none = it is not looked at.
    pub certificate_days: Option<u32>,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `GET` of this address, which has to be answered with this status; none = any below 400.
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

/// A regular expression.
#[derive(Clone, Debug)]
pub struct Pattern(regex_lite::Regex);

impl Pattern {
    /// Reads one.
    ///
    /// # Errors
    /// Returns an error if the text is no regular expression, or if it needs too much memory.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Ok(Self(regex_lite::RegexBuilder::new(text).size_limit(256 << 10).build()?))
    }

    /// True if it is somewhere in the line.
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

/// True if the name is that of the pattern, in which `*` is any text. Linear but for the last star.
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
    fn names_and_patterns() {
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
    fn beyond_until_the_clear_value() {
        let above = Threshold { metric: "cpu".into(), above: true, limit: 90.0, clear: 70.0, window_ms: 0 };
        assert!(
            !above.is_beyond(90.0, false) && above.is_beyond(91.0, false) && above.is_beyond(71.0, true) && !above.is_beyond(70.0, true)
        );
        let below = Threshold { above: false, limit: 1.0, clear: 5.0, ..above };
        assert!(below.is_beyond(0.5, false) && !below.is_beyond(2.0, false) && below.is_beyond(2.0, true) && !below.is_beyond(5.0, true));
    }
}
