//! Date before a line of a log.

/// Returns the line without the date before it.
pub fn without_date(line: &str) -> &str {
    line.get(date_length(line)..).unwrap_or(line)
}

/// Returns the length of a date before a line: `2026-11-24T08:19:45.123Z `,
/// `2026-11-24 08:19:45 +01:00: `, `[2026-11-24 08:19:45,1] `.
pub fn date_length(line: &str) -> usize {
    let inner = line.strip_prefix('[').unwrap_or(line);
    let bytes = inner.as_bytes();
    let is_date = bytes.len() >= 16
        && bytes.iter().take(16).enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-' || *byte == b'/',
            10 => *byte == b'T' || *byte == b' ',
            13 => *byte == b':',
            _ => byte.is_ascii_digit(),
        });
    if !is_date {
        return 0;
    }
    let rest = inner[16..].trim_start_matches(|c: char| c.is_ascii_digit() || ":.,+-Z".contains(c));
    let rest = without_zone(rest);
    let rest = rest.strip_prefix(']').unwrap_or(rest);
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    // One space ends it; further spaces belong to the frame.
    line.len() - rest.strip_prefix(' ').unwrap_or(rest).len()
}

/// Returns the rest after ` +01:00` or ` -0500`.
fn without_zone(text: &str) -> &str {
    let zone = || {
        let rest = two_digits(text.strip_prefix(' ')?.strip_prefix(['+', '-'])?)?;
        let rest = two_digits(rest.strip_prefix(':').unwrap_or(rest))?;
        Some(rest).filter(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    };
    zone().unwrap_or(text)
}

fn two_digits(text: &str) -> Option<&str> {
    let (digits, rest) = text.split_at_checked(2)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_separated_from_its_line() {
        for (line, expected) in [
            ("2026-11-24T08:19:45.123Z     at f (/a.js:1:1)", "    at f (/a.js:1:1)"),
            ("2026-11-24 08:19:45:   File \"/a.py\", line 3, in f", "  File \"/a.py\", line 3, in f"),
            ("2026-11-24 08:19:45 +01:00: Error: x", "Error: x"),
            ("2026-11-24 08:19:45 +0100: Error: x", "Error: x"),
            ("2026-11-24 08:19:45 -12345 x", "-12345 x"),
            ("[2026-11-24 08:19:45,120] Error: x", "Error: x"),
            ("[2026-11-24 08:19:45 -0500] Error: x", "Error: x"),
            ("2026-11-24", "2026-11-24"),
            ("2026-11-24T08:19:45", ""),
            ("", ""),
            ("2026-11-2ü 08:19:45 x", "2026-11-2ü 08:19:45 x"),
            ("2026-11-24 08:19 +ü", "+ü"),
        ] {
            assert_eq!(without_date(line), expected, "{line}");
        }
    }
}
