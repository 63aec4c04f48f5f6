//! Cron patterns: which seconds of a wall clock they name, and the next such instant in a zone.
//!
//! # The dialect
//!
//! That of PM2 (npm `croner` 4): five fields (minute, hour, day of month, month, weekday) or six (second first); `*`, `a`, `a-b`,
//! `*/n`, `a/n` (from `a` to the last), `a-b/n` and lists of them; `JAN`…`DEC`, `SUN`…`SAT` in any case; Sunday is 0 or 7; `L` = the
//! last day of the month. Both day fields have to match (classic cron: either). On top of it: `LW` and `15W` (the weekday next to that
//! day), `5#2` (the second Friday), `5L` (the last Friday), `?` for `*` in the day fields and the words `@hourly` … `@yearly`.
//!
//! # When a zone changes its offset
//!
//! A pattern with all hours in it follows the time that passes: it goes on through an hour that comes twice, and has nothing to do in one
//! that is left out. Any other pattern names times of day, and each of them is one run: the first of two equal ones, and where the clock
//! jumps over it, the instant of the jump.
//!
//! # Why not the crate `croner`
//!
//! It is by the author of PM2's library, but of another version: it refuses `2/3` and `*,5` or takes them in a sloppy mode with more, loses
//! the run of `0 2,14 * * *` where two o'clock is left out, runs it twice where it comes twice, says "Number out of bounds." without a
//! field, looks to the year 5000 for a date that never comes, and brings a dozen crates of macros for what are a few hundred lines here.
//!
//! Nothing here reads a clock or a zone file: the caller passes both.

mod field;
mod next;
mod parse;
mod spec;
#[cfg(test)]
mod tests;
mod ticks;

pub use field::Field;
pub use parse::CronError;
pub use spec::{
    CronSpec, DEFAULT_HISTORY, DEFAULT_RETRIES, DEFAULT_RETRY_DELAY_MS, JobSpec, MOST_HISTORY, Overlap, RETRY_DELAY_CAP_MS, RunOn,
};
pub use ticks::{LATE_MS, OnTick, Tick, Ticks};

/// A parsed pattern that matches some date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Bit per second, 0 to 59.
    second: u64,
    /// Bit per minute, 0 to 59.
    minute: u64,
    /// Bit per hour, 0 to 23.
    hour: u64,
    day: Days,
    /// Bit per month, 1 to 12.
    month: u64,
    weekday: Weekdays,
}

/// The days of a month, all as bits 1 to 31.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Days {
    /// On these.
    on: u64,
    /// On the weekday next to these.
    weekday_near: u64,
    /// On the last one.
    last: bool,
    /// On the last weekday.
    last_weekday: bool,
}

/// The days of a week.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weekdays {
    /// Bit per day, Sunday is 0.
    on: u64,
    /// Per occurrence in the month, the first one at 0: bit per day.
    nth: [u8; 5],
    /// The last one of the month: bit per day.
    last: u8,
}
