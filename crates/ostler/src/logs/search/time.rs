//! Time that a line carries, and moments that a user enters. Pure.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};
use ostler_core::text::units;

/// Number of lines of one message that are searched for its time: a line without a time, and lines
/// before it.
pub(in crate::logs) const LINES_OF_ONE: usize = 50;
/// Bytes at the start of a line that are searched for its time.
const FRONT: usize = 4096;
/// Keys of JSON lines that hold the time.
const KEYS: &[&str] = &["\"timestamp\"", "\"time\"", "\"ts\"", "\"@timestamp\""];

/// Returns the time of a line, in ms since the epoch: a leading date, or the time of a JSON line.
/// None if the line carries no time.
pub(crate) fn line_time(line: &[u8], zone: &TimeZone) -> Option<u64> {
    let front = &line[..line.len().min(FRONT)];
    let text = std::str::from_utf8(front).or_else(|error| std::str::from_utf8(&front[..error.valid_up_to()])).ok()?.trim_start();
    if text.starts_with('{') { json_time(text, zone) } else { date(text.trim_start_matches(['[', '(']), zone).map(|(ms, _)| ms) }
}

/// Returns the time of a date at the start of a line, in ms since the epoch, and the number of bytes
/// before the text that follows it. None if the line does not start with a date.
pub(crate) fn leading_date(line: &[u8], zone: &TimeZone) -> Option<(u64, usize)> {
    let front = &line[..line.len().min(FRONT)];
    let text = std::str::from_utf8(front).or_else(|error| std::str::from_utf8(&front[..error.valid_up_to()])).ok()?;
    let inner = text.strip_prefix(['[', '(']);
    let (ms, rest) = date(inner.unwrap_or(text), zone)?;
    let rest = if inner.is_some() { rest.strip_prefix([']', ')'])? } else { rest };
    let rest = rest.strip_prefix(':').or_else(|| rest.strip_prefix(" -").filter(|rest| rest.starts_with(' '))).unwrap_or(rest);
    // One blank separates the date from the text; more blanks belong to the text.
    let rest = if rest.is_empty() || rest.starts_with('\t') { rest } else { rest.strip_prefix(' ')? };
    Some((ms, text.len() - rest.len()))
}

fn json_time(text: &str, zone: &TimeZone) -> Option<u64> {
    let value = |key: &&str| Some(text.split_once(*key)?.1.trim_start().strip_prefix(':')?.trim_start());
    KEYS.iter().filter_map(value).find_map(|value| match value.strip_prefix('"') {
        Some(text) => date(text, zone).map(|(ms, _)| ms),
        None => number(value),
    })
}

/// Parses seconds or milliseconds since the epoch.
fn number(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    match number {
        1_000_000_000..10_000_000_000 => Some(number * 1000),
        1_000_000_000_000..10_000_000_000_000 => Some(number),
        _ => None,
    }
}

/// Parses `2026-11-24T10:00:00.123+01:00`; also with a blank instead of the T, or without fraction,
/// seconds or zone. Returns the rest of the text, too.
fn date<'a>(text: &'a str, zone: &TimeZone) -> Option<(u64, &'a str)> {
    let (day, rest) = day(text)?;
    let rest = rest.strip_prefix(['T', 't', ' ', '_'])?;
    let (time, rest) = time(rest)?;
    let (offset, rest) = offset(rest);
    let at = DateTime::from_parts(day, time);
    let at = match offset {
        Some(offset) => offset.to_timestamp(at).ok()?,
        None => zone.to_timestamp(at).ok()?,
    };
    Some((ms(at)?, rest))
}

fn ms(at: Timestamp) -> Option<u64> {
    u64::try_from(at.as_millisecond()).ok()
}

/// Parses exactly this number of digits.
fn digits<const N: usize>(text: &str) -> Option<(i16, &str)> {
    let (number, rest) = text.split_at_checked(N)?;
    (number.bytes().all(|byte| byte.is_ascii_digit())).then_some((number.parse().ok()?, rest))
}

fn day(text: &str) -> Option<(Date, &str)> {
    let (year, rest) = digits::<4>(text)?;
    let (month, rest) = digits::<2>(rest.strip_prefix(['-', '/'])?)?;
    let (day, rest) = digits::<2>(rest.strip_prefix(['-', '/'])?)?;
    Some((Date::new(year, month as i8, day as i8).ok()?, rest))
}

fn time(text: &str) -> Option<(Time, &str)> {
    let (hour, rest) = digits::<2>(text)?;
    let (minute, rest) = digits::<2>(rest.strip_prefix(':')?)?;
    let (second, rest) = rest.strip_prefix(':').and_then(digits::<2>).unwrap_or((0, rest));
    let (nanos, rest) = match rest.strip_prefix(['.', ',']) {
        Some(fraction) => {
            let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
            let of_nine: i32 = fraction[..end.min(9)].parse().unwrap_or(0);
            (of_nine * 10_i32.pow(9 - end.min(9) as u32), &fraction[end..])
        }
        None => (0, rest),
    };
    Some((Time::new(hour as i8, minute as i8, (second as i8).min(59), nanos).ok()?, rest))
}

/// Parses `Z`, `+01:00`, `+0100`, also after a blank.
fn offset(text: &str) -> (Option<Offset>, &str) {
    let near = text.strip_prefix(' ').unwrap_or(text);
    // A word or a number that follows the date is no zone.
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric());
    if let Some(rest) = near.strip_prefix(['Z', 'z']).filter(|rest| ends(rest)) {
        return (Some(Offset::UTC), rest);
    }
    let read = || {
        let sign = if near.starts_with('-') { -1 } else { 1 };
        let (hours, rest) = digits::<2>(near.strip_prefix(['+', '-'])?)?;
        let (minutes, rest) = digits::<2>(rest.strip_prefix(':').unwrap_or(rest))?;
        if minutes > 59 || !ends(rest) {
            return None;
        }
        Some((Offset::from_seconds(sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60)).ok()?, rest))
    };
    read().map_or((None, text), |(offset, rest)| (Some(offset), rest))
}

/// Parses a moment as a user enters it, in ms since the epoch: `10m` (ten minutes ago), `14:30`,
/// `2026-11-24`, `2026-11-24 14:30`, with seconds or a zone.
pub(crate) fn moment(text: &str, now: &Zoned) -> Option<u64> {
    let text = text.trim();
    let zone = now.time_zone();
    if let Ok(ago) = units::millis(text).map(|ago| ms(now.timestamp()).unwrap_or(0).saturating_sub(ago)) {
        // A number alone is a time since the epoch, not a number of milliseconds ago.
        return if text.bytes().all(|byte| byte.is_ascii_digit()) { number(text) } else { Some(ago) };
    }
    if let Some((ms, rest)) = date(text, zone) {
        return rest.is_empty().then_some(ms);
    }
    let at = match (day(text), time(text)) {
        (Some((day, "")), _) => day.to_datetime(Time::midnight()),
        (_, Some((time, ""))) => now.date().to_datetime(time),
        _ => return None,
    };
    ms(zone.to_timestamp(at).ok()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const AT: u64 = 1_795_514_400_000;

    fn zone() -> TimeZone {
        TimeZone::fixed(Offset::from_hours(1).unwrap())
    }

    #[test]
    fn of_line_reads_common_timestamp_formats() {
        assert_eq!("2026-11-24T10:00:00Z".parse::<Timestamp>().unwrap().as_millisecond(), AT.cast_signed());
        for (line, expected) in [
            ("2026-11-24T11:00:00: started", Some(AT)),
            ("2026-11-24T10:00:00.250Z started", Some(AT + 250)),
            ("2026-11-24 12:00:00,5 +02:00: started", Some(AT + 500)),
            ("[2026-11-24 05:00:00 -0500] x", Some(AT)),
            ("  2026/11/24 11:00 x", Some(AT)),
            ("2026-11-24T11:00:00.1234567890123", Some(AT + 123)),
            (r#"{"level":30,"time":1795514400250,"msg":"x"}"#, Some(AT + 250)),
            (r#"{"message":"x","timestamp":"2026-11-24T10:00:00.000Z"}"#, Some(AT)),
            (r#"{"ts": 1795514400.25}"#, Some(AT)),
            (r#"{"time":"later","ts":1795514400}"#, Some(AT)),
            ("2026-11-24 11:00:00 zebra", Some(AT)),
            ("2026-11-24 11:00:00 +020000 x", Some(AT)),
            (r#"{"time":5}"#, None),
            ("2026-11-24", None),
            ("2026-13-24T10:00:00", None),
            ("10:00 x", None),
            ("Error: at 2026-11-24T10:00:00", None),
            ("", None),
        ] {
            assert_eq!(line_time(line.as_bytes(), &zone()), expected, "{line}");
        }
        assert_eq!(line_time(b"2026-11-24T10:00:00Z \xff\xfe", &zone()), Some(AT));
    }

    #[test]
    fn leading_date_is_separated_from_the_text() {
        for (line, expected) in [
            ("2026-11-24T11:00:00: started", Some((AT, "started"))),
            ("2026-11-24T11:00:00:     at main (/a.js:1:1)", Some((AT, "    at main (/a.js:1:1)"))),
            ("2026-11-24 12:00:00,5 +02:00: started", Some((AT + 500, "started"))),
            ("[2026-11-24 05:00:00 -0500] x", Some((AT, "x"))),
            ("2026-11-24 11:00:00,120 - root - INFO - x", Some((AT + 120, "root - INFO - x"))),
            ("2026-11-24 11:00:00 zebra", Some((AT, "zebra"))),
            ("2026-11-24T11:00:00\t日本", Some((AT, "\t日本"))),
            ("2026-11-24T11:00:00", Some((AT, ""))),
            ("2026-11-24T11:00:00|x", None),
            ("[2026-11-24 11:00:00 x", None),
            ("  2026-11-24 11:00:00 x", None),
            (r#"{"time":1795514400250}"#, None),
            ("", None),
        ] {
            let found = leading_date(line.as_bytes(), &zone()).map(|(at, start)| (at, &line[start..]));
            assert_eq!(found, expected, "{line}");
        }
        assert_eq!(leading_date(b"2026-11-24T10:00:00Z \xff\xfe", &zone()), Some((AT, 21)));
    }

    #[test]
    fn moment_parses_durations_times_and_dates() {
        let now = Timestamp::from_millisecond(AT.cast_signed()).unwrap().to_zoned(zone());
        for (text, expected) in [
            ("10m", Some(AT - 600_000)),
            ("1d", Some(AT - 86_400_000)),
            ("11:00", Some(AT)),
            ("10:59:30", Some(AT - 30_000)),
            ("2026-11-24", Some(AT - 11 * 3_600_000)),
            ("2026-11-24 11:00", Some(AT)),
            ("2026-11-24T10:00:00Z", Some(AT)),
            ("1795514400000", Some(AT)),
            ("500", None),
            ("yesterday", None),
            ("2026-11-24 11:00 x", None),
            ("25:00", None),
        ] {
            assert_eq!(moment(text, &now), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn of_line_never_panics_on_arbitrary_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let _ = line_time(&bytes, &zone());
            assert!(leading_date(&bytes, &zone()).is_none_or(|(_, start)| start <= bytes.len()));
        }

        #[test]
        fn moment_never_panics_on_any_text(text in "[0-9T:+ .,{}\"Z-]{0,40}|.{0,20}") {
            let now = Timestamp::from_millisecond(AT.cast_signed()).unwrap().to_zoned(zone());
            let _ = (moment(&text, &now), line_time(text.as_bytes(), &zone()), leading_date(text.as_bytes(), &zone()));
        }
    }
}
