//! Sizes and durations as users write them: `300M`, `1.5G`, `5s`, `1h30m`.

use serde_json::Value;

use crate::text::language::translated;
use crate::{marked, message};

/// A text that is not a valid size or duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", message!("{found} is not a valid {expected}", found = format!("{found:?}"), expected = translated(expected)))]
pub struct UnitError {
    /// The text as given, shortened.
    pub found: String,
    /// Accepted forms, with examples.
    pub expected: &'static str,
}

const SIZE: &str = marked!("size (accepted: bytes as a number, or with K, M, G or T, for example 300M, 1.5G, 512KB; 1K is 1024)");
const DURATION: &str = marked!("duration (accepted: milliseconds as a number, or with ms, s, m, h or d, for example 250ms, 5s, 1h30m)");

/// Reads a size in bytes. Units are powers of 1024, in any case, with or without `B` or `iB`.
///
/// ```
/// use ostler_core::text::units::bytes;
/// assert_eq!(bytes("300M"), Ok(300 << 20));
/// assert_eq!(bytes("1.5g"), Ok(3 << 29));
/// ```
///
/// # Errors
/// Returns an error for anything else, including negative and too large numbers. The message names
/// the accepted forms.
pub fn bytes(text: &str) -> Result<u64, UnitError> {
    let error = || error(text, SIZE);
    let (number, unit) = split_number(text.trim()).ok_or_else(error)?;
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1_u64 << 40,
        _ => return Err(error()),
    };
    scale(number, factor).ok_or_else(error)
}

/// Reads a duration in milliseconds. A bare number is milliseconds; several parts are added
/// (`1h30m`).
///
/// ```
/// use ostler_core::text::units::millis;
/// assert_eq!(millis("5s"), Ok(5_000));
/// assert_eq!(millis("1h30m"), Ok(5_400_000));
/// ```
///
/// # Errors
/// Same as for [`bytes`].
pub fn millis(text: &str) -> Result<u64, UnitError> {
    let error = || error(text, DURATION);
    let mut rest = text.trim();
    let mut total = 0_u64;
    let mut last_factor = u64::MAX;
    loop {
        let (number, after) = split_number(rest).ok_or_else(error)?;
        let after = after.trim_start();
        let length = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let factor = match after[..length].to_ascii_lowercase().as_str() {
            "" if last_factor == u64::MAX => 1,
            "ms" => 1,
            "s" | "sec" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(error()),
        };
        // From large to small, each unit once: `5s5s` is a typo.
        if factor >= last_factor {
            return Err(error());
        }
        last_factor = factor;
        total = scale(number, factor).and_then(|part| total.checked_add(part)).ok_or_else(error)?;
        rest = after[length..].trim_start();
        if rest.is_empty() {
            return Ok(total);
        }
    }
}

/// Reads a percentage with its sign, such as `12.5%`. Returns none for a number without the sign.
pub fn percent(text: &str) -> Option<f64> {
    text.trim().strip_suffix('%')?.trim().parse().ok().filter(|percent: &f64| percent.is_finite())
}

/// Reads a whole percentage with or without its sign: `150` and `150%` mean 1.5.
pub fn whole_percent(text: &str) -> Option<u32> {
    let text = text.trim();
    text.strip_suffix('%').unwrap_or(text).trim_end().parse().ok()
}

/// Returns the whole number of a configuration value, also from a text or a float without fraction.
pub fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64()?;
            #[expect(clippy::cast_possible_truncation, reason = "integral and in range")]
            (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Returns the milliseconds of a configuration value: a whole number, or a text as for [`millis`].
pub fn millis_of(value: &Value) -> Option<u64> {
    amount(value, millis)
}

/// Returns the bytes of a configuration value: a whole number, or a text as for [`bytes`].
pub fn bytes_of(value: &Value) -> Option<u64> {
    amount(value, bytes)
}

fn amount(value: &Value, read: fn(&str) -> Result<u64, UnitError>) -> Option<u64> {
    let amount = match value {
        Value::String(text) => read(text).ok()?,
        value => u64::try_from(whole(value)?).ok()?,
    };
    // Larger values are no real times or sizes, and JavaScript could not hold them.
    (amount <= 9_000_000_000_000_000).then_some(amount)
}

/// Formats bytes with the largest exact unit, never rounded.
///
/// ```
/// use ostler_core::text::units::bytes_text;
/// assert_eq!(bytes_text(300 << 20), "300M");
/// assert_eq!(bytes_text(1000), "1000");
/// ```
pub fn bytes_text(count: u64) -> String {
    let units = [("T", 40), ("G", 30), ("M", 20), ("K", 10)];
    match units.into_iter().find(|(_, shift)| count > 0 && count.is_multiple_of(1 << shift)) {
        Some((unit, shift)) => format!("{}{unit}", count >> shift),
        None => count.to_string(),
    }
}

/// Formats bytes for people, rounded: base 1024, as in `max_memory_restart`.
///
/// ```
/// use ostler_core::text::units::size_text;
/// assert_eq!(size_text(321_417_216), "307 MB");
/// assert_eq!(size_text(5 << 29), "2.5 GB");
/// ```
pub fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).clamp(1, 4);
    #[expect(clippy::cast_precision_loss, reason = "at most three digits are shown")]
    let value = bytes as f64 / (1u64 << (10 * power)) as f64;
    let unit = UNITS[power as usize - 1];
    if value < 9.95 && power > 2 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// Formats milliseconds with the largest exact units, never rounded.
///
/// ```
/// use ostler_core::text::units::millis_text;
/// assert_eq!(millis_text(5_400_000), "1h30m");
/// assert_eq!(millis_text(1_500), "1500ms");
/// ```
pub fn millis_text(count: u64) -> String {
    if count == 0 || !count.is_multiple_of(1_000) {
        return format!("{count}ms");
    }
    let mut rest = count;
    let mut text = String::new();
    for (unit, factor) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if rest >= factor {
            text += &format!("{}{unit}", rest / factor);
            rest %= factor;
        }
    }
    text
}

fn error(text: &str, expected: &'static str) -> UnitError {
    UnitError { found: text.chars().take(40).collect(), expected }
}

/// Splits a decimal number from the start of a text: whole part, digits of the fraction, and the
/// rest.
fn split_number(text: &str) -> Option<((&str, &str), &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (whole, rest) = text.split_at(end);
    if whole.is_empty() {
        return None;
    }
    let Some(fraction) = rest.strip_prefix('.') else { return Some(((whole, ""), rest)) };
    let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
    let (fraction, rest) = fraction.split_at(end);
    (!fraction.is_empty()).then_some(((whole, fraction), rest))
}

/// Multiplies the number by the factor, rounded down, without floats.
fn scale((whole, fraction): (&str, &str), factor: u64) -> Option<u64> {
    let whole: u64 = whole.parse().ok()?;
    // Nine digits are enough for every unit.
    let digits = &fraction[..fraction.len().min(9)];
    let tenths = 10_u128.pow(u32::try_from(digits.len()).ok()?);
    let part = if digits.is_empty() { 0 } else { u128::from(digits.parse::<u64>().ok()?) * u128::from(factor) / tenths };
    u64::try_from(u128::from(whole) * u128::from(factor) + part).ok()
}

/// Formats a time for users, in seconds with at most one decimal.
///
/// ```
/// assert_eq!(ostler_core::text::units::in_seconds(5240), "5.2 s");
/// ```
pub fn in_seconds(ms: u64) -> String {
    match (ms / 1000, ms % 1000 / 100) {
        (seconds, 0) => format!("{seconds} s"),
        (seconds, tenth) => format!("{seconds}.{tenth} s"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn byte_sizes_are_parsed() {
        for (text, expected) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("1K", 1024),
            ("300M", 300 << 20),
            ("1.5G", 3 << 29),
            ("100MB", 100 << 20),
            ("100 mb", 100 << 20),
            ("2GiB", 2 << 30),
            ("0.1k", 102),
            (" 7b ", 7),
            ("3T", 3 << 40),
            ("16777215T", 16_777_215 << 40),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "M", "-1", "1.M", ".5M", "1MM", "1X", "1 2", "0x10", "1e3", "16777216T", "99999999999999999999", "1\u{e9}", "٣M"]
        {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_parsed() {
        for (text, expected) in [
            ("0", 0),
            ("1500", 1500),
            ("250ms", 250),
            ("5s", 5_000),
            ("5 s", 5_000),
            ("1.5s", 1_500),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1h 30m 5s 7ms", 5_405_007),
            ("1d", 86_400_000),
            ("10M", 600_000),
            ("0.0005s", 0),
        ] {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
        for text in ["", "s", "-5s", "5x", "1h30", "30m1h", "5s5s", "1..5s", "s5", "99999999999999d", "5s!", "ten"] {
            assert!(millis(text).is_err(), "{text}");
        }
    }

    #[test]
    fn percents_are_parsed() {
        for (text, exact, rounded) in [
            ("12.5%", Some(12.5), None),
            (" 90 % ", Some(90.0), Some(90)),
            ("150", None, Some(150)),
            ("-1%", Some(-1.0), None),
            ("inf%", None, None),
            ("%", None, None),
            ("", None, None),
        ] {
            assert_eq!((percent(text), whole_percent(text)), (exact, rounded), "{text}");
        }
    }

    #[test]
    fn config_values_are_read_as_numbers_sizes_or_durations() {
        for (value, ms, size, number) in [
            (json!(1500), Some(1500), Some(1500), Some(1500)),
            (json!(2.0), Some(2), Some(2), Some(2)),
            (json!(2.5), None, None, None),
            (json!(-1), None, None, Some(-1)),
            (json!("5s"), Some(5000), None, None),
            (json!("1K"), None, Some(1024), None),
            (json!(" 7 "), Some(7), Some(7), Some(7)),
            (json!(10_000_000_000_000_000_u64), None, None, Some(10_000_000_000_000_000)),
            (json!(true), None, None, None),
        ] {
            assert_eq!((millis_of(&value), bytes_of(&value), whole(&value)), (ms, size, number), "{value}");
        }
    }

    #[test]
    fn sizes_and_durations_are_formatted() {
        for (count, text) in [(0, "0"), (1, "1"), (1024, "1K"), (1536, "1536"), (200 << 20, "200M"), (3 << 29, "1536M"), (1 << 40, "1T")] {
            assert_eq!(bytes_text(count), text);
        }
        for (count, text) in [(0, "0ms"), (250, "250ms"), (3_000, "3s"), (90_000, "1m30s"), (86_405_000, "1d5s"), (65_500, "65500ms")] {
            assert_eq!(millis_text(count), text);
        }
    }

    #[test]
    fn error_messages_name_the_accepted_forms() {
        assert_eq!(
            millis("ten").unwrap_err().to_string(),
            "\"ten\" is not a valid duration (accepted: milliseconds as a number, or with ms, s, m, h or d, for example 250ms, 5s, 1h30m)"
        );
        assert!(bytes(&"9".repeat(10_000)).unwrap_err().to_string().len() < 250);
    }

    proptest! {
        #[test]
        fn parsing_any_text_never_panics(text in any::<String>()) {
            let _ = (bytes(&text), millis(&text));
        }

        #[test]
        fn formatted_values_are_parsed_back(n in any::<u64>(), shift in 0_u32..64) {
            for n in [n >> shift, (n >> shift) << (shift / 2), (n >> 32) * 1000] {
                prop_assert_eq!(bytes(&bytes_text(n)), Ok(n));
                prop_assert_eq!(millis(&millis_text(n)), Ok(n));
            }
        }

        #[test]
        fn whole_numbers_parse_unchanged(n in any::<u64>()) {
            prop_assert_eq!(bytes(&n.to_string()), Ok(n));
            prop_assert_eq!(millis(&n.to_string()), Ok(n));
        }
    }
}
