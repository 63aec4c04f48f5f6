//! Times of rotation: cron in 5 or 6 fields of numbers, and words for the usual ones.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use super::Times;
use crate::units;

/// Days looked at for the next time: the 29th of February comes again within eight years.
const DAYS: i64 = 8 * 366;

/// A set of times, one bit for each value of a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule {
    text: String,
    second: u64,
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    /// Both day and weekday are given: either will do, as in cron.
    either_day: bool,
}

impl Schedule {
    /// Reads `minute hour day month weekday`, with seconds in front if there are six.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fail = || {
            format!("expected a cron pattern of 5 or 6 fields (numbers, `*`, lists, ranges, steps) such as \"0 0 * * *\", found {text:?}")
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (second, rest) = match fields.len() {
            5 => ("0", &fields[..]),
            6 => (fields[0], &fields[1..]),
            _ => return Err(fail()),
        };
        let set = |field: &str, first, last| set(field, first, last).ok_or_else(fail);
        // 7 is a Sunday, too.
        let weekday = set(rest[4], 0, 7)?;
        let schedule = Self {
            text: fields.join(" "),
            second: set(second, 0, 59)?,
            minute: set(rest[0], 0, 59)?,
            hour: set(rest[1], 0, 23)?,
            day: set(rest[2], 1, 31)?,
            month: set(rest[3], 1, 12)?,
            weekday: (weekday | weekday >> 7) & 0x7f,
            either_day: rest[2] != "*" && rest[4] != "*",
        };
        Ok(schedule)
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first time after this one; none = never (the 31st of February).
    pub fn next_after_ms(&self, wall_ms: u64, zone: &TimeZone) -> Option<u64> {
        let after = Timestamp::from_millisecond(i64::try_from(wall_ms).ok()?).ok()?;
        let mut date = after.to_zoned(zone.clone()).date();
        for _ in 0..DAYS {
            let is_day = has(self.day, date.day());
            let is_weekday = has(self.weekday, date.weekday().to_sunday_zero_offset());
            let fits = if self.either_day { is_day || is_weekday } else { is_day && is_weekday };
            if fits && has(self.month, date.month()) {
                let times = bits(self.hour).flat_map(|hour| bits(self.minute).map(move |minute| (hour, minute)));
                for (hour, minute) in times {
                    for second in bits(self.second) {
                        let at = DateTime::from_parts(date, jiff::civil::time(hour, minute, second, 0));
                        // A time that the change to summer time leaves out is taken an hour later.
                        let at = zone.to_ambiguous_timestamp(at).compatible().ok()?;
                        if at > after {
                            return u64::try_from(at.as_millisecond()).ok();
                        }
                    }
                }
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }
}

impl TryFrom<String> for Schedule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.text
    }
}

fn has(set: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| set >> value & 1 == 1)
}

fn bits(set: u64) -> impl Iterator<Item = i8> + Clone {
    (0..60_i8).filter(move |value| has(set, *value))
}

/// `*`, `5`, `1-5`, `*/10`, `0-30/5`, and lists of these.
fn set(field: &str, first: u32, last: u32) -> Option<u64> {
    let mut set = 0;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(number(step).filter(|step| *step > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (first, last),
            Some((from, to)) => (number(from)?, number(to)?),
            None => {
                let one = number(range)?;
                (one, if step.is_some() { last } else { one })
            }
        };
        if from < first || to > last || from > to {
            return None;
        }
        (from..=to).step_by(step.unwrap_or(1) as usize).for_each(|value| set |= 1_u64 << value);
    }
    Some(set)
}

fn number(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn is_never(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "" | "never" | "none" | "false")
}

/// A cron pattern, or `never`.
///
/// # Errors
/// What was expected.
pub fn cron(text: &str) -> Result<Times, String> {
    if is_never(text) { Ok(Times::Never) } else { Schedule::parse(text).map(Times::At) }
}

/// `hourly`, `daily`, `weekly`, `monthly`, `never`, or a time that divides an hour, a day or is a week: `15m`, `6h`, `1d`.
///
/// # Errors
/// What was expected.
pub fn interval(text: &str) -> Result<Times, String> {
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
            _ => {
                return Err(format!(
                    "expected hourly, daily, weekly, monthly, never, or minutes that divide an hour, hours that divide a day (\"15m\", \"6h\"), found {text:?}"
                ));
            }
        },
    };
    Schedule::parse(&pattern).map(Times::At)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn ms(text: &str) -> u64 {
        let at = text.parse::<DateTime>().unwrap().to_zoned(TimeZone::UTC).unwrap();
        at.timestamp().as_millisecond().try_into().unwrap()
    }

    #[test]
    fn next_times() {
        for (pattern, after, next) in [
            ("0 0 * * *", "2026-11-21T12:00:00", "2026-11-22T00:00:00"),
            ("0 0 * * *", "2026-11-21T00:00:00", "2026-11-22T00:00:00"),
            ("*/30 * * * *", "2026-11-21T12:00:01", "2026-11-21T12:30:00"),
            ("*/2 * * * * *", "2026-11-21T12:00:01", "2026-11-21T12:00:02"),
            ("59 23 31 12 *", "2026-12-31T23:59:00", "2027-12-31T23:59:00"),
            ("0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
            ("0 0 * * 0", "2026-11-21T12:00:00", "2026-11-22T00:00:00"),
            ("0 0 * * 7", "2026-11-21T12:00:00", "2026-11-22T00:00:00"),
            ("0 0 1 * 1", "2026-11-21T12:00:00", "2026-11-23T00:00:00"),
            ("10-20/5,50 3 * * *", "2026-11-21T03:16:00", "2026-11-21T03:20:00"),
        ] {
            assert_eq!(Schedule::parse(pattern).unwrap().next_after_ms(ms(after), &TimeZone::UTC), Some(ms(next)), "{pattern}");
        }
        assert_eq!(Schedule::parse("0 0 31 2 *").unwrap().next_after_ms(ms("2026-01-01T00:00:00"), &TimeZone::UTC), None);
    }

    #[test]
    fn in_a_zone() {
        let tokyo = TimeZone::fixed(jiff::tz::offset(9));
        let midnight = Schedule::parse("0 0 * * *").unwrap();
        assert_eq!(midnight.next_after_ms(ms("2026-11-21T12:00:00"), &tokyo), Some(ms("2026-11-21T15:00:00")));
    }

    #[test]
    fn words_and_bad_patterns() {
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
            "1,,2 * * * *",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_a_panic_and_always_later(text in "[0-9*/, -]{0,20}", at in 0_u64..4_000_000_000_000) {
            if let Ok(schedule) = Schedule::parse(&text) {
                prop_assert!(schedule.next_after_ms(at, &TimeZone::UTC).is_none_or(|next| next > at));
            }
        }
    }
}
