//! Pace of the looks at the size of a log.

/// Shortest time between two looks.
const SHORTEST_MS: u64 = 1000;
/// Time until the second look: after the first one nothing is known of the speed.
const UNKNOWN_MS: u64 = 2000;

/// Milliseconds until the next look at a log of this size that has grown by so much in so many milliseconds (none = first look): at half the
/// way to its limit, so that a fast writer does not pass it by far, and a slow one costs nothing.
pub fn next_look_ms(size: u64, limit: u64, grown: Option<(u64, u64)>, longest_ms: u64) -> u64 {
    let longest_ms = longest_ms.max(SHORTEST_MS);
    let Some((bytes, within_ms)) = grown else { return UNKNOWN_MS.min(longest_ms) };
    let rest = limit.saturating_sub(size);
    let way_ms = u128::from(rest) * u128::from(within_ms.max(1)) / u128::from(bytes.max(1)) / 2;
    u64::try_from(way_ms).unwrap_or(u64::MAX).clamp(SHORTEST_MS, longest_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faster_growing_log_is_checked_earlier() {
        let m = 1 << 20;
        for (size, grown, expected) in [
            (0, None, 2000),
            (0, Some((0, 1000)), 30_000),
            (10 * m, Some((10 * m, 1000)), 4500),
            (90 * m, Some((200 * m, 1000)), 1000),
            (500 * m, Some((m, 1000)), 1000),
            (50 * m, Some((1, 30_000)), 30_000),
        ] {
            assert_eq!(next_look_ms(size, 100 * m, grown, 30_000), expected, "{size} {grown:?}");
        }
        assert_eq!(next_look_ms(0, u64::MAX, Some((u64::MAX, 0)), 0), 1000);
    }
}
