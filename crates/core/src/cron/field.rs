//! One field of a pattern.

use std::fmt;

use crate::text::language::translated;
use crate::{marked, message};

/// A field of a cron pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// 0 to 59.
    Second,
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// Day of the month, 1 to 31.
    Day,
    /// 1 to 12.
    Month,
    /// 0 to 7; Sunday is both.
    Weekday,
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

impl fmt::Display for Field {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(translated(match self {
            Self::Second => marked!("second"),
            Self::Minute => marked!("minute"),
            Self::Hour => marked!("hour"),
            Self::Day => marked!("day of month"),
            Self::Month => marked!("month"),
            Self::Weekday => marked!("weekday"),
        }))
    }
}

impl Field {
    /// Returns the first and last value.
    fn range(self) -> (u32, u32) {
        match self {
            Self::Second | Self::Minute => (0, 59),
            Self::Hour => (0, 23),
            Self::Day => (1, 31),
            Self::Month => (1, 12),
            Self::Weekday => (0, 7),
        }
    }

    /// Returns the names of its values.
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Month => &MONTHS,
            Self::Weekday => &WEEKDAYS,
            Self::Second | Self::Minute | Self::Hour | Self::Day => &[],
        }
    }

    /// Describes the accepted values for users.
    fn expects(self) -> String {
        let (first, last) = self.range();
        match self {
            Self::Month => message!("expected {first} to {last} or JAN to DEC", first, last),
            Self::Weekday => message!("expected {first} to {last} or SUN to SAT", first, last),
            Self::Second | Self::Minute | Self::Hour | Self::Day => message!("expected {first} to {last}", first, last),
        }
    }

    /// Reads a number or a name.
    pub(super) fn value(self, text: &str) -> Result<u32, String> {
        let named = self.names().iter().position(|name| name.eq_ignore_ascii_case(text)).and_then(|at| u32::try_from(at).ok());
        let name = named.map(|at| if self == Self::Month { at + 1 } else { at });
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = name.or_else(|| if digits { text.parse().ok() } else { None });
        let (first, last) = self.range();
        number.filter(|value| (first..=last).contains(value)).ok_or_else(|| self.expects())
    }

    /// Returns the bits of one part of a list: `*`, `a`, `a-b`, each with or without `/n`.
    pub(super) fn bits(self, part: &str) -> Result<u64, String> {
        let (first, last) = self.range();
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (part, None),
        };
        let any = range == "*" || (range == "?" && matches!(self, Self::Day | Self::Weekday));
        let (from, to) = if any {
            (first, last)
        } else if let Some((from, to)) = range.split_once('-') {
            (self.value(from)?, self.value(to)?)
        } else if range.is_empty() {
            return Err(message!("expected something before the /, as in */{step}", step = step.unwrap_or(1)));
        } else {
            let from = self.value(range)?;
            (from, if step.is_some() { last } else { from })
        };
        if from > to {
            return Err(message!(
                "the range ends before it starts; write {range_from}-{last},{first}-{range_to}",
                last,
                first,
                range_from = from,
                range_to = to
            ));
        }
        let bits = (from..=to).step_by(step.unwrap_or(1)).fold(0, |bits, value| bits | 1 << value);
        Ok(self.folded(bits))
    }

    fn step(self, text: &str) -> Result<usize, String> {
        let (first, last) = self.range();
        let most = last - first + 1;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let step = if digits { text.parse::<u32>().ok() } else { None };
        let step =
            step.filter(|step| (1..=most).contains(step)).ok_or_else(|| message!("expected a step from 1 to {most} after the /", most))?;
        usize::try_from(step).map_err(|error| error.to_string())
    }

    /// Returns the bits with Sunday (0 or 7) as one bit.
    fn folded(self, bits: u64) -> u64 {
        match self {
            Self::Weekday => (bits | bits >> 7) & 0x7f,
            Self::Second | Self::Minute | Self::Hour | Self::Day | Self::Month => bits,
        }
    }
}
