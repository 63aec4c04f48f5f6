//! Cron patterns: the seconds of a wall clock that they match, and the next such instant in a zone.
//!
//! # The dialect
//!
//! That of PM2 (npm `croner` 4):
//!
//! - Five fields (minute, hour, day of month, month, weekday) or six (second first).
//! - Values are `*`, `a`, `a-b`, `*/n`, `a/n` (from `a` to the last), `a-b/n` and lists of them.
//! - Names are `JAN`…`DEC` and `SUN`…`SAT` in any case; Sunday is 0 or 7.
//! - `L` is the last day of the month.
//! - Both day fields have to match (classic cron: either).
//!
//! ostler adds:
//!
//! - `LW` and `15W`: the last weekday, and the weekday nearest to that day.
//! - `5#2`: the second Friday. `5L`: the last Friday.
//! - `?` for `*` in the day fields.
//! - The words `@hourly` … `@yearly`.
//!
//! # When a zone changes its offset
//!
//! A pattern that contains all hours follows elapsed time: it keeps running through an hour that
//! occurs twice, and skips an hour that is left out. Any other pattern names times of day, and each
//! of them is one run. If a time occurs twice, the first one runs. If the clock jumps over a time,
//! the run is at the instant of the jump.
//!
//! # Why not the crate `croner`
//!
//! It has the same author as PM2's library, but it is another version:
//!
//! - It rejects `2/3` and `*,5`, or accepts them only in a mode that accepts too much.
//! - It loses the run of `0 2,14 * * *` if two o'clock is left out, and runs it twice if two
//!   o'clock occurs twice.
//! - It reports "Number out of bounds." without a field.
//! - It searches up to the year 5000 for a date that never comes.
//! - It needs a dozen macro crates for a task that takes a few hundred lines here.
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

/// A parsed pattern that matches at least one date.
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

/// Days of a month; those by number as bits 1 to 31.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Days {
    /// On these days.
    on: u64,
    /// On the weekday nearest to these days.
    weekday_near: u64,
    /// On the last day.
    last: bool,
    /// On the last weekday.
    last_weekday: bool,
}

/// Days of a week.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weekdays {
    /// Bit per day, Sunday is 0.
    on: u64,
    /// One entry per occurrence in the month, the first one at 0: bit per day.
    nth: [u8; 5],
    /// The last occurrence of the month: bit per day.
    last: u8,
}
