//! The growing delay before a restart.

/// Longest growing delay (as in PM2).
pub const CAP_MS: u64 = 15_000;

/// Returns the delay after `previous` (0 = none yet). The first delay is `first`. Each further
/// delay is 1.5 times the previous delay, rounded down, and at most [`CAP_MS`] (or `first` if that
/// is longer).
///
/// ```
/// use ostler_core::lifecycle::backoff::next;
/// assert_eq!(next(0, 100), 100);
/// assert_eq!(next(100, 100), 150);
/// assert_eq!(next(14_000, 100), 15_000);
/// ```
pub fn next(previous: u64, first: u64) -> u64 {
    next_up_to(previous, first, CAP_MS)
}

/// Same as [`next()`] with another upper bound.
pub fn next_up_to(previous: u64, first: u64, cap: u64) -> u64 {
    if previous == 0 {
        return first;
    }
    // A change of the setting takes effect immediately: the delay is never below the new first
    // delay.
    (previous.saturating_add(previous / 2)).clamp(first, cap.max(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_sequence_matches_pm2() {
        let mut delay = 0;
        let seen: Vec<u64> = (0..14)
            .map(|_| {
                delay = next(delay, 100);
                delay
            })
            .collect();
        assert_eq!(seen, [100, 150, 225, 337, 505, 757, 1135, 1702, 2553, 3829, 5743, 8614, 12921, 15000]);
    }

    #[test]
    fn backoff_is_clamped_at_its_bounds() {
        for (previous, first, expected) in
            [(0, 1, 1), (1, 1, 1), (2, 1, 3), (0, 20_000, 20_000), (20_000, 20_000, 20_000), (5, 100, 100), (u64::MAX, 1, CAP_MS)]
        {
            assert_eq!(next(previous, first), expected, "next({previous}, {first})");
        }
    }
}
