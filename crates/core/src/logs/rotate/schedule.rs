//! Times of rotation: cron patterns, and words for the common ones.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::Times;
use crate::cron::{self, CronError};
use crate::message;
use crate::text::units;

/// Reason why a text is no time of rotation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Text that is no cron pattern.
    #[error("{}", message!("expected a cron pattern, found {found}: {source}", found = format!("{text:?}"), source))]
    Cron {
        /// The text.
        text: String,
        /// Reason why it cannot be read.
        source: CronError,
    },
    /// Text that is neither a word nor a time that divides an hour, a day or a week.
    #[error("{}", message!("expected hourly, daily, weekly, monthly, never, or minutes that divide an hour, hours that divide a day (\"15m\", \"6h\"), found {found}", found = format!("{_0:?}")))]
    Interval(String),
}

/// A cron pattern as it was given, and its times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule {
    text: String,
    times: cron::Schedule,
}

impl Schedule {
    /// Reads a pattern as [`cron::Schedule`] does.
    ///
    /// # Errors
    /// Returns the reason why it is invalid.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        match cron::Schedule::parse(&text) {
            Ok(times) => Ok(Self { text, times }),
            Err(source) => Err(ScheduleError::Cron { text, source }),
        }
    }

    /// Returns the pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the first time after this one.
    pub fn next_after_ms(&self, wall_ms: u64, zone: &TimeZone) -> Option<u64> {
        self.times.next_after(wall_ms, zone)
    }
}

impl TryFrom<String> for Schedule {
    type Error = ScheduleError;

    fn try_from(text: String) -> Result<Self, ScheduleError> {
        Self::parse(&text)
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.text
    }
}

fn is_never(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "" | "never" | "none" | "false")
}

/// Reads a cron pattern, or `never`.
///
/// # Errors
/// Returns the expected form.
pub fn cron(text: &str) -> Result<Times, ScheduleError> {
    if is_never(text) { Ok(Times::Never) } else { Schedule::parse(text).map(Times::At) }
}

/// Reads `hourly`, `daily`, `weekly`, `monthly`, `never`, or a time that divides an hour or a day,
/// or is a week: `15m`, `6h`, `1d`.
///
/// # Errors
/// Returns the expected form.
pub fn interval(text: &str) -> Result<Times, ScheduleError> {
    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let pattern = match text.to_ascii_lowercase().as_str() {
        word if is_never(word) => return Ok(Times::Never),
        "hourly" => "0 * * * *".to_owned(),
        "daily" => "0 0 * * *".to_owned(),
        "weekly" => "0 0 * * 0".to_owned(),
        "monthly" => "0 0 1 * *".to_owned(),
        _ => match units::millis(text) {
            Ok(DAY) => "0 0 * * *".to_owned(),
            Ok(ms) if ms == 7 * DAY => "0 0 * * 0".to_owned(),
            Ok(ms) if (HOUR..DAY).contains(&ms) && DAY.is_multiple_of(ms) && ms.is_multiple_of(HOUR) => format!("0 */{} * * *", ms / HOUR),
            Ok(ms) if (MINUTE..HOUR).contains(&ms) && HOUR.is_multiple_of(ms) && ms.is_multiple_of(MINUTE) => {
                format!("*/{} * * * *", ms / MINUTE)
            }
            _ => return Err(ScheduleError::Interval(text.to_owned())),
        },
    };
    Schedule::parse(&pattern).map(Times::At)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use jiff::civil::DateTime;

    use super::*;

    fn ms(text: &str) -> u64 {
        let at = text.parse::<DateTime>().unwrap().to_zoned(TimeZone::UTC).unwrap();
        at.timestamp().as_millisecond().try_into().unwrap()
    }

    #[test]
    fn rotation_pattern_gives_the_next_time() {
        for (pattern, after, next) in [
            ("0 0 * * *", "2026-11-21T12:00:00", "2026-11-22T00:00:00"),
            ("0 0 * * *", "2026-11-21T00:00:00", "2026-11-22T00:00:00"),
            ("*/30 * * * *", "2026-11-21T12:00:01", "2026-11-21T12:30:00"),
            ("*/2 * * * * *", "2026-11-21T12:00:01", "2026-11-21T12:00:02"),
            ("59 23 31 12 *", "2026-12-31T23:59:00", "2027-12-31T23:59:00"),
            ("0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
            ("0 0 * * 0", "2026-11-21T12:00:00", "2026-11-22T00:00:00"),
            ("0 0 * * 7", "2026-11-21T12:00:00", "2026-11-22T00:00:00"),
            ("10-20/5,50 3 * * *", "2026-11-21T03:16:00", "2026-11-21T03:20:00"),
        ] {
            assert_eq!(Schedule::parse(pattern).unwrap().next_after_ms(ms(after), &TimeZone::UTC), Some(ms(next)), "{pattern}");
        }
        assert!(Schedule::parse("0 0 31 2 *").is_err());
    }

    #[test]
    fn rotation_time_respects_the_zone() {
        let tokyo = TimeZone::fixed(jiff::tz::offset(9));
        let midnight = Schedule::parse("0 0 * * *").unwrap();
        assert_eq!(midnight.next_after_ms(ms("2026-11-21T12:00:00"), &tokyo), Some(ms("2026-11-21T15:00:00")));
    }

    #[test]
    fn interval_words_are_parsed_and_bad_patterns_rejected() {
        for (text, pattern) in
            [("daily", "0 0 * * *"), ("1d", "0 0 * * *"), ("6h", "0 */6 * * *"), ("15m", "*/15 * * * *"), ("Hourly", "0 * * * *")]
        {
            assert_eq!(interval(text).unwrap(), Times::At(Schedule::parse(pattern).unwrap()), "{text}");
        }
        assert_eq!(interval("never").unwrap(), Times::Never);
        for text in ["7m", "5h", "2d", "30s", "sometimes"] {
            assert!(interval(text).is_err(), "{text}");
        }
        for text in [
            "",
            "* * * *",
            "* * * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "-1 * * * *",
            "1-, * * * *",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn next_time_never_panics_and_is_always_later(text in "[0-9*/, -]{0,20}", at in 0_u64..4_000_000_000_000) {
            if let Ok(schedule) = Schedule::parse(&text) {
                prop_assert!(schedule.next_after_ms(at, &TimeZone::UTC).is_none_or(|next| next > at));
            }
        }
    }
}
