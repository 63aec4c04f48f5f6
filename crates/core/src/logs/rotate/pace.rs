//! Pace of the size checks of a log.

/// Shortest time between two checks.
const SHORTEST_MS: u64 = 1000;
/// Time until the second check: after the first one, the growth rate is unknown.
const UNKNOWN_MS: u64 = 2000;

/// Returns the milliseconds until the next check of a log of this size. `grown` holds the growth in
/// bytes and its time in milliseconds (none = first check). The next check is at half the expected
/// time to the limit, so a fast writer does not exceed it by much, and a slow one costs nothing.
pub fn next_check_ms(size: u64, limit: u64, grown: Option<(u64, u64)>, longest_ms: u64) -> u64 {
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
            assert_eq!(next_check_ms(size, 100 * m, grown, 30_000), expected, "{size} {grown:?}");
        }
        assert_eq!(next_check_ms(0, u64::MAX, Some((u64::MAX, 0)), 0), 1000);
    }
}
