//! `Range` header: a part of a file.

/// Part of a file to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyRange {
    /// The whole file.
    Whole,
    /// Offset and number of bytes; the number is never zero.
    Bytes(u64, u64),
    /// The requested range is outside the file.
    Outside,
}

/// Returns the part that a `Range` header requests. An invalid header, or one with several ranges,
/// selects the whole file, as RFC 9110 allows.
pub(crate) fn part(header: &str, size: u64) -> BodyRange {
    let Some((unit, range)) = header.split_once('=') else { return BodyRange::Whole };
    let range = range.trim();
    if !unit.trim().eq_ignore_ascii_case("bytes") || range.contains(',') {
        return BodyRange::Whole;
    }
    let Some((first, last)) = range.split_once('-') else { return BodyRange::Whole };
    match (number(first), number(last)) {
        (Number::None, Number::Is(length)) if length == 0 || size == 0 => BodyRange::Outside,
        (Number::None, Number::Is(length)) => BodyRange::Bytes(size.saturating_sub(length), length.min(size)),
        (Number::Is(first), Number::Is(last)) if last < first => BodyRange::Whole,
        (Number::Is(first), Number::Is(_) | Number::None) if first >= size => BodyRange::Outside,
        (Number::Is(first), Number::Is(last)) => BodyRange::Bytes(first, last.min(size - 1) - first + 1),
        (Number::Is(first), Number::None) => BodyRange::Bytes(first, size - first),
        (Number::None, Number::None) | (Number::Bad, _) | (_, Number::Bad) => BodyRange::Whole,
    }
}

enum Number {
    None,
    Is(u64),
    Bad,
}

fn number(text: &str) -> Number {
    match text.trim() {
        "" => Number::None,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Number::Is(digits.parse().unwrap_or(u64::MAX)),
        _ => Number::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_header_selects_part() {
        for (header, size, expected) in [
            ("bytes=0-0", 10, BodyRange::Bytes(0, 1)),
            ("bytes=0-99", 10, BodyRange::Bytes(0, 10)),
            ("bytes=5-", 10, BodyRange::Bytes(5, 5)),
            ("bytes=-3", 10, BodyRange::Bytes(7, 3)),
            ("bytes=-30", 10, BodyRange::Bytes(0, 10)),
            ("Bytes = 1-2", 10, BodyRange::Bytes(1, 2)),
            ("bytes=10-", 10, BodyRange::Outside),
            ("bytes=-0", 10, BodyRange::Outside),
            ("bytes=0-", 0, BodyRange::Outside),
            ("bytes=-1", 0, BodyRange::Outside),
            ("bytes=99999999999999999999999-", 10, BodyRange::Outside),
            ("bytes=1-99999999999999999999999", 10, BodyRange::Bytes(1, 9)),
            ("bytes=5-4", 10, BodyRange::Whole),
            ("bytes=0-1,3-4", 10, BodyRange::Whole),
            ("bytes=a-b", 10, BodyRange::Whole),
            ("bytes=-", 10, BodyRange::Whole),
            ("bytes=+1-2", 10, BodyRange::Whole),
            ("lines=0-1", 10, BodyRange::Whole),
            ("bytes", 10, BodyRange::Whole),
        ] {
            assert_eq!(part(header, size), expected, "{header} of {size}");
        }
    }
}
