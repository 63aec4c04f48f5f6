//! Computes the next instant of a [`Schedule`].

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::parse::full;
use super::{Days, Schedule, Weekdays};

/// Years that are searched. A 29 February on a given weekday occurs at least every 40 years.
const YEARS_AHEAD: i16 = 41;

const SECOND: SignedDuration = SignedDuration::from_secs(1);

impl Schedule {
    /// Returns the first instant after this one (both in milliseconds since the epoch), always a
    /// whole second. `None` = beyond the supported years.
    pub fn next_after(&self, wall_ms: u64, zone: &TimeZone) -> Option<u64> {
        let after = Timestamp::from_second(i64::try_from(wall_ms / 1000).ok()?).ok()?;
        let next = if self.follows_elapsed_time() { self.next_elapsed(after, zone) } else { self.next_time_of_day(after, zone) };
        u64::try_from(next?.as_millisecond()).ok()
    }

    /// Returns true if any date at all matches.
    pub(super) fn has_match(&self) -> bool {
        self.next_civil(Date::constant(2000, 1, 1).at(0, 0, 0, 0)).is_some()
    }

    fn follows_elapsed_time(&self) -> bool {
        self.hour == full(0, 23)
    }

    /// Returns the next instant if each time of day is one instant, in the order of the wall clock.
    fn next_time_of_day(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut from = zone.to_datetime(after);
        loop {
            let wall = self.next_civil(from)?;
            let instant = first_instant(wall, zone)?;
            if instant > after {
                return Some(instant);
            }
            from = wall.checked_add(SECOND).ok()?;
        }
    }

    /// Returns the next instant by elapsed time. Between two changes of the zone, the wall clock
    /// and the time run at the same speed, so it searches one interval after another.
    fn next_elapsed(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut from = after.checked_add(SECOND).ok()?;
        let mut changes = zone.following(after);
        loop {
            let offset = zone.to_offset(from);
            let change = changes.next().map(|change| change.timestamp());
            let instant = self.next_civil(offset.to_datetime(from)).and_then(|wall| offset.to_timestamp(wall).ok());
            match (instant, change) {
                // A change at this exact second begins the next interval.
                (Some(instant), Some(change)) if instant >= change => from = change.max(from),
                (Some(instant), _) => return Some(instant),
                (None, _) => return None,
            }
        }
    }

    /// Returns the first matching wall-clock time at or after this one.
    fn next_civil(&self, from: DateTime) -> Option<DateTime> {
        // Parts of a second are in the past.
        let from =
            if from.subsec_nanosecond() == 0 { from } else { from.with().subsec_nanosecond(0).build().ok()?.checked_add(SECOND).ok()? };
        let today = from.date();
        if self.names_date(today)
            && let Some(time) = self.next_time(from.time())
        {
            return Some(today.to_datetime(time));
        }
        let midnight = self.next_time(Time::midnight())?;
        self.next_date(today.tomorrow().ok()?).map(|date| date.to_datetime(midnight))
    }

    /// Returns the first matching day at or after this one.
    fn next_date(&self, from: Date) -> Option<Date> {
        let mut date = from;
        while date.year() - from.year() <= YEARS_AHEAD {
            if bit(self.month, date.month()) {
                if self.names_date(date) {
                    return Some(date);
                }
                date = date.tomorrow().ok()?;
            } else {
                date = date.last_of_month().tomorrow().ok()?;
            }
        }
        None
    }

    fn names_date(&self, date: Date) -> bool {
        bit(self.month, date.month()) && self.day.names(date) && self.weekday.names(date)
    }

    /// Returns the first matching time of the day at or after this one.
    fn next_time(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = (from.hour(), from.minute(), from.second());
        if bit(self.hour, hour) {
            if bit(self.minute, minute)
                && let Some(second) = next_bit(self.second, second)
            {
                return Time::new(hour, minute, second, 0).ok();
            }
            if let Some(minute) = next_bit(self.minute, minute + 1) {
                return Time::new(hour, minute, next_bit(self.second, 0)?, 0).ok();
            }
        }
        let hour = next_bit(self.hour, hour + 1)?;
        Time::new(hour, next_bit(self.minute, 0)?, next_bit(self.second, 0)?, 0).ok()
    }
}

impl Days {
    fn names(self, date: Date) -> bool {
        let last = date.days_in_month();
        bit(self.on, date.day())
            || (self.last && date.day() == last)
            || (self.last_weekday && date.day() == weekday_near(date, last))
            || (self.weekday_near != 0 && (1..=last).any(|day| bit(self.weekday_near, day) && weekday_near(date, day) == date.day()))
    }
}

impl Weekdays {
    fn names(self, date: Date) -> bool {
        let weekday = date.weekday().to_sunday_zero_offset();
        let nth = self.nth.get(usize::from((date.day() - 1).unsigned_abs()) / 7).copied().unwrap_or(0);
        let last = date.day() + 7 > date.days_in_month();
        bit(self.on, weekday) || bit(u64::from(nth), weekday) || (last && bit(u64::from(self.last), weekday))
    }
}

/// Returns the day from Monday to Friday nearest to this day, within the month of `date`.
fn weekday_near(date: Date, day: i8) -> i8 {
    let last = date.days_in_month();
    let weekday = date.with().day(day).build().map_or(1, |date| date.weekday().to_sunday_zero_offset());
    match weekday {
        6 if day > 1 => day - 1,
        6 => day + 2,
        0 if day < last => day + 1,
        0 => day - 2,
        _ => day,
    }
}

/// Returns the instant at which the wall clock shows this time first. If it never does, returns the
/// instant at which the clock jumps over it.
fn first_instant(wall: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok(),
        AmbiguousOffset::Gap { before, after } => {
            // With the offset after the jump, this is before the jump, so the jump is the next
            // change.
            let early = after.to_timestamp(wall).ok()?;
            let late = before.to_timestamp(wall).ok()?;
            let jump = zone.following(early.checked_sub(SECOND).ok()?).next().map(|change| change.timestamp());
            Some(jump.filter(|jump| *jump <= late).unwrap_or(late))
        }
    }
}

fn bit(bits: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| bits >> value & 1 == 1)
}

/// Returns the lowest bit at or after this one.
fn next_bit(bits: u64, from: i8) -> Option<i8> {
    let from = u32::try_from(from).ok()?;
    let rest = bits.checked_shr(from)?;
    if rest == 0 { None } else { i8::try_from(rest.trailing_zeros() + from).ok() }
}
