//! day.js date formats, for the date before each log line.
//!
//! Tokens: `YY YYYY M MM MMM MMMM D DD d dd ddd dddd H HH h hh A a m mm s ss SSS Z ZZ`; text in
//! `[ ]` and everything else is copied.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Format of `time: true`.
pub const DEFAULT: &str = "YYYY-MM-DDTHH:mm:ss";

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

#[derive(Clone, Debug, PartialEq)]
enum Item {
    Text(String),
    Token(Token),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Year2,
    Year4,
    /// Month as a number with this many digits.
    Month(u8),
    /// Month by name, cut to this many letters.
    MonthName(usize),
    Day(u8),
    WeekdayNumber,
    WeekdayName(usize),
    Hour24(u8),
    Hour12(u8),
    HalfDay {
        upper: bool,
    },
    Minute(u8),
    Second(u8),
    Millisecond,
    Offset {
        colon: bool,
    },
}

/// Tokens by their text. Longer runs of a letter come first.
const TOKENS: &[(&str, Token)] = &[
    ("YYYY", Token::Year4),
    ("YY", Token::Year2),
    ("MMMM", Token::MonthName(usize::MAX)),
    ("MMM", Token::MonthName(3)),
    ("MM", Token::Month(2)),
    ("M", Token::Month(1)),
    ("DD", Token::Day(2)),
    ("D", Token::Day(1)),
    ("dddd", Token::WeekdayName(usize::MAX)),
    ("ddd", Token::WeekdayName(3)),
    ("dd", Token::WeekdayName(2)),
    ("d", Token::WeekdayNumber),
    ("HH", Token::Hour24(2)),
    ("H", Token::Hour24(1)),
    ("hh", Token::Hour12(2)),
    ("h", Token::Hour12(1)),
    ("A", Token::HalfDay { upper: true }),
    ("a", Token::HalfDay { upper: false }),
    ("mm", Token::Minute(2)),
    ("m", Token::Minute(1)),
    ("ss", Token::Second(2)),
    ("s", Token::Second(1)),
    ("SSS", Token::Millisecond),
    ("ZZ", Token::Offset { colon: false }),
    ("Z", Token::Offset { colon: true }),
];

/// A parsed format.
#[derive(Clone, Debug, PartialEq)]
pub struct DateFormat {
    items: Vec<Item>,
}

impl DateFormat {
    /// Parses a format. Every text is a format.
    pub fn parse(pattern: &str) -> Self {
        let mut items = Vec::new();
        let mut rest = pattern;
        while let Some(c) = rest.chars().next() {
            let bracketed = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')).filter(|(text, _)| !text.is_empty());
            if let Some((text, after)) = bracketed {
                push_text(&mut items, text);
                rest = after;
            } else if let Some((name, token)) = TOKENS.iter().find(|(name, _)| rest.starts_with(name)) {
                items.push(Item::Token(*token));
                rest = &rest[name.len()..];
            } else {
                push_text(&mut items, &rest[..c.len_utf8()]);
                rest = &rest[c.len_utf8()..];
            }
        }
        Self { items }
    }

    /// Appends the date of this instant (milliseconds since the epoch) in this zone.
    pub fn write(&self, wall_ms: u64, zone: &TimeZone, out: &mut Vec<u8>) {
        self.render(wall_ms, zone, out, &mut |_| {});
    }

    /// Appends the date as `write` does, and reports the positions of the milliseconds.
    fn render(&self, wall_ms: u64, zone: &TimeZone, out: &mut Vec<u8>, on_millisecond: &mut dyn FnMut(usize)) {
        let instant = i64::try_from(wall_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX);
        let date = instant.to_zoned(zone.clone());
        for item in &self.items {
            match item {
                Item::Text(text) => out.extend_from_slice(text.as_bytes()),
                Item::Token(token) => {
                    if *token == Token::Millisecond {
                        on_millisecond(out.len());
                    }
                    write_token(*token, &date, out);
                }
            }
        }
    }
}

fn push_text(items: &mut Vec<Item>, text: &str) {
    match items.last_mut() {
        Some(Item::Text(last)) => last.push_str(text),
        _ => items.push(Item::Text(text.to_owned())),
    }
}

fn write_token(token: Token, date: &Zoned, out: &mut Vec<u8>) {
    // All fields of a date are positive except the year, and the year is after 1970.
    let number = |value: i8| u32::from(value.unsigned_abs());
    let year = u32::from(date.year().unsigned_abs());
    let hour12 = match date.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    match token {
        Token::Year4 => digits(year, 4, out),
        Token::Year2 => digits(year % 100, 2, out),
        Token::Month(width) => digits(number(date.month()), width, out),
        Token::MonthName(letters) => out.extend(MONTHS[usize::from(date.month().unsigned_abs()) - 1].bytes().take(letters)),
        Token::Day(width) => digits(number(date.day()), width, out),
        Token::WeekdayNumber => digits(number(date.weekday().to_sunday_zero_offset()), 1, out),
        Token::WeekdayName(letters) => out.extend(day_name(date.weekday()).bytes().take(letters)),
        Token::Hour24(width) => digits(number(date.hour()), width, out),
        Token::Hour12(width) => digits(number(hour12), width, out),
        Token::HalfDay { upper } => out.extend_from_slice(match (date.hour() < 12, upper) {
            (true, true) => b"AM",
            (true, false) => b"am",
            (false, true) => b"PM",
            (false, false) => b"pm",
        }),
        Token::Minute(width) => digits(number(date.minute()), width, out),
        Token::Second(width) => digits(number(date.second()), width, out),
        Token::Millisecond => digits(u32::from(date.millisecond().unsigned_abs()), 3, out),
        Token::Offset { colon } => {
            let seconds = date.offset().seconds();
            let minutes = seconds.unsigned_abs() / 60;
            out.push(if seconds < 0 { b'-' } else { b'+' });
            digits(minutes / 60, 2, out);
            if colon {
                out.push(b':');
            }
            digits(minutes % 60, 2, out);
        }
    }
}

fn day_name(day: Weekday) -> &'static str {
    DAYS[usize::from(day.to_sunday_zero_offset().unsigned_abs())]
}

/// Appends decimal digits, padded with zeros to this width.
fn digits(value: u32, width: u8, out: &mut Vec<u8>) {
    let mut buffer = [b'0'; 10];
    let mut rest = value;
    let mut at = buffer.len();
    while rest > 0 || at > buffer.len() - usize::from(width) {
        at -= 1;
        buffer[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    out.extend_from_slice(&buffer[at..]);
}

/// Cache of dates for successive lines: within a second, only the milliseconds are rewritten.
///
/// A zone's offset changes only at whole seconds, so a text is valid for its whole second.
#[derive(Clone, Debug)]
pub struct Stamper {
    format: DateFormat,
    zone: TimeZone,
    second: Option<u64>,
    text: Vec<u8>,
    /// Positions of the milliseconds in `text`.
    milliseconds: Vec<usize>,
}

impl Stamper {
    /// Returns a cache for dates of this format in this zone.
    pub fn new(format: DateFormat, zone: TimeZone) -> Self {
        Self { format, zone, second: None, text: Vec::new(), milliseconds: Vec::new() }
    }

    /// Returns the text for this instant (milliseconds since the epoch).
    pub fn stamp(&mut self, wall_ms: u64) -> &[u8] {
        let second = wall_ms / 1000;
        if self.second == Some(second) {
            let millisecond = u32::try_from(wall_ms % 1000).unwrap_or(0);
            for &at in &self.milliseconds {
                for (place, unit) in [100, 10, 1].into_iter().enumerate() {
                    self.text[at + place] = b'0' + u8::try_from(millisecond / unit % 10).unwrap_or(0);
                }
            }
        } else {
            self.text.clear();
            self.milliseconds.clear();
            let places = &mut self.milliseconds;
            self.format.render(wall_ms, &self.zone, &mut self.text, &mut |at| places.push(at));
            self.second = Some(second);
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::{Offset, TimeZone};
    use proptest::prelude::*;

    use super::*;

    /// Sunday, 2026-02-01 00:05:09.007 UTC.
    const EARLY: u64 = 1_769_904_309_007;
    /// Friday, 2026-11-20 15:42:30.120 UTC.
    const LATE: u64 = 1_795_189_350_120;

    fn text(pattern: &str, wall_ms: u64, zone: &TimeZone) -> String {
        let mut out = Vec::new();
        DateFormat::parse(pattern).write(wall_ms, zone, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_date_token_is_formatted() {
        for (pattern, early, late) in [
            ("YY", "26", "26"),
            ("YYYY", "2026", "2026"),
            ("M", "2", "11"),
            ("MM", "02", "11"),
            ("MMM", "Feb", "Nov"),
            ("MMMM", "February", "November"),
            ("D", "1", "20"),
            ("DD", "01", "20"),
            ("d", "0", "5"),
            ("dd", "Su", "Fr"),
            ("ddd", "Sun", "Fri"),
            ("dddd", "Sunday", "Friday"),
            ("H", "0", "15"),
            ("HH", "00", "15"),
            ("h", "12", "3"),
            ("hh", "12", "03"),
            ("A", "AM", "PM"),
            ("a", "am", "pm"),
            ("m", "5", "42"),
            ("mm", "05", "42"),
            ("s", "9", "30"),
            ("ss", "09", "30"),
            ("SSS", "007", "120"),
            ("Z", "+00:00", "+00:00"),
            ("ZZ", "+0000", "+0000"),
            // Copied unchanged.
            ("[YYYY] YYYY", "YYYY 2026", "YYYY 2026"),
            ("[a]a", "aam", "apm"),
            ("[] [x", "[] [x", "[] [x"),
            ("X x Q", "X x Q", "X x Q"),
            ("S", "S", "S"),
            ("ü - :", "ü - :", "ü - :"),
            ("", "", ""),
            // Common formats.
            (DEFAULT, "2026-02-01T00:05:09", "2026-11-20T15:42:30"),
            ("YYYY-MM-DD HH:mm:ss.SSS Z", "2026-02-01 00:05:09.007 +00:00", "2026-11-20 15:42:30.120 +00:00"),
            ("DD/MM/YY hh:mm A", "01/02/26 12:05 AM", "20/11/26 03:42 PM"),
        ] {
            assert_eq!(
                (text(pattern, EARLY, &TimeZone::UTC), text(pattern, LATE, &TimeZone::UTC)),
                (early.into(), late.into()),
                "{pattern}"
            );
        }
    }

    #[test]
    fn dates_are_formatted_in_their_zone() {
        let zone = |minutes: i32| TimeZone::fixed(Offset::from_seconds(minutes * 60).unwrap());
        for (minutes, expected) in [
            (330, "2026-11-20 21:12 +05:30 +0530"),
            (-570, "2026-11-20 06:12 -09:30 -0930"),
            (-30, "2026-11-20 15:12 -00:30 -0030"),
            (840, "2026-11-21 05:42 +14:00 +1400"),
        ] {
            assert_eq!(text("YYYY-MM-DD HH:mm Z ZZ", LATE, &zone(minutes)), expected);
        }
    }

    #[test]
    fn clock_out_of_range_is_clamped() {
        assert_eq!(text("YYYY", u64::MAX, &TimeZone::UTC), "9999");
        assert_eq!(text(DEFAULT, 0, &TimeZone::UTC), "1970-01-01T00:00:00");
    }

    proptest! {
        #[test]
        fn formatting_any_pattern_never_panics(pattern in any::<String>(), at in any::<u64>()) {
            text(&pattern, at, &TimeZone::UTC);
        }

        /// The cache does not change the result, even if the clock goes back or the offset changes
        /// within an hour.
        #[test]
        fn cached_stamp_equals_the_formatted_time(start in 0_u64..4_000_000_000_000, steps in proptest::collection::vec(-2_000_i64..2_000, 1..40)) {
            let pattern = "SSS YYYY-MM-DD HH:mm:ss.SSS Z";
            let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
            let mut stamper = Stamper::new(DateFormat::parse(pattern), zone.clone());
            let mut at = start;
            for step in steps {
                at = at.saturating_add_signed(step);
                prop_assert_eq!(String::from_utf8_lossy(stamper.stamp(at)), text(pattern, at, &zone));
            }
        }
    }
}
