//! Bound of the number of entries: the older an entry, the fewer of its neighbours are kept.

use super::Entry;

/// Most entries of an index. Beyond that, old entries are removed.
pub const MOST_ENTRIES: usize = 8192;

/// Shortest interval that is merged with its neighbour, ms.
const SHORTEST_MS: u64 = 1000;
/// Share of its age by which an old line may be uncertain.
const SHARE: u64 = 512;

/// Returns at most half of [`MOST_ENTRIES`]. The first and the last entry stay. If entries were
/// removed, an interval is at most 1 s or 1/512 of its age, or a multiple of that for an index
/// that is still too long.
pub fn thinned(entries: &[Entry]) -> Vec<Entry> {
    let mut factor = 1_u64;
    loop {
        let kept = merged(entries, factor);
        if kept.len() <= MOST_ENTRIES / 2 {
            return kept;
        }
        // An index that does not get shorter has a clock that jumps all the time.
        let Some(next) = factor.checked_mul(2) else { return ends(entries) };
        factor = next;
    }
}

/// Removes each entry whose removal leaves a short interval.
fn merged(entries: &[Entry], factor: u64) -> Vec<Entry> {
    let newest_ms = entries.last().map_or(0, |last| last.at_ms);
    let mut kept: Vec<Entry> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let longest_ms = (newest_ms.saturating_sub(entry.at_ms) / SHARE).max(SHORTEST_MS).saturating_mul(factor);
        let is_needed = match (kept.last(), entries.get(at + 1)) {
            (Some(before), Some(after)) => after.at_ms.abs_diff(before.at_ms) > longest_ms,
            _ => true,
        };
        kept.extend(is_needed.then_some(*entry));
    }
    kept
}

fn ends(entries: &[Entry]) -> Vec<Entry> {
    entries.first().into_iter().chain(entries.last()).copied().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::logs::line_times::{LineTimes, Received};

    fn times(entries: &[Entry]) -> LineTimes {
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.encode()).collect();
        LineTimes::new(&bytes, *entries.last().unwrap())
    }

    /// Returns a log that grows by 100 bytes each second.
    fn steady(seconds: u64) -> Vec<Entry> {
        (0..=seconds).map(|second| Entry { length: second * 100, at_ms: 1_000_000 + second * 1000 }).collect()
    }

    #[test]
    fn newest_part_keeps_every_second_and_old_parts_become_coarser() {
        let all = steady(8192);
        let thin = times(&thinned(&all));
        let width = |age_s: u64| thin.received((8192 - age_s) * 100).unwrap().width_ms().unwrap();
        assert_eq!((width(1), width(200)), (1000, 1000));
        assert!(width(8000) <= 16_000 && width(8000) > 4000, "{}", width(8000));
    }

    #[test]
    fn log_of_months_stays_precise_in_proportion_to_its_age() {
        // As the daemon does it: thinned each time that the index is full.
        let mut entries = Vec::new();
        let days_s = 90 * 86_400;
        for entry in steady(days_s) {
            entries.push(entry);
            if entries.len() >= MOST_ENTRIES {
                entries = thinned(&entries);
            }
        }
        assert!(entries.len() < MOST_ENTRIES);
        let thin = times(&entries);
        for age_s in [60, 3600, 86_400, 30 * 86_400, days_s - 1] {
            let width = thin.received((days_s - age_s) * 100).unwrap().width_ms().unwrap();
            assert!(width <= 2000 + age_s * 1000 / 256, "{width} ms at an age of {age_s} s");
        }
    }

    proptest! {
        #[test]
        fn thinning_only_widens_intervals(steps in proptest::collection::vec((0_u64..3, 0_u64..5000, 0_u8..50), 1..400), factor in 1_u64..100) {
            let (mut length, mut at_ms) = (0, 10_000_000_u64);
            let all: Vec<Entry> = steps.iter().map(|(grown, passed, jump)| {
                length += grown;
                at_ms = if *jump == 0 { at_ms - 9_000 } else { at_ms + passed };
                Entry { length, at_ms }
            }).collect();
            let kept = merged(&all, factor);
            prop_assert_eq!((kept.first(), kept.last()), (all.first(), all.last()));
            prop_assert!(kept.iter().all(|entry| all.contains(entry)));
            let (all, kept) = (times(&all), times(&kept));
            for offset in 0..length {
                let (Some(was), Some(is)) = (all.received(offset), kept.received(offset)) else { panic!("{offset}") };
                let Received { from_ms, to_ms } = is;
                // A clock that was set back may hide a reading; without jumps, intervals only grow.
                if steps.iter().all(|(.., jump)| *jump != 0) {
                    prop_assert!(from_ms <= was.from_ms && to_ms >= was.to_ms, "{:?} {:?}", was, is);
                }
            }
        }

        #[test]
        fn number_of_entries_is_bounded(times in proptest::collection::vec(1_u64..u64::MAX, 0..9000)) {
            let all: Vec<Entry> = times.iter().enumerate().map(|(at, at_ms)| Entry { length: at as u64, at_ms: *at_ms }).collect();
            prop_assert!(thinned(&all).len() <= MOST_ENTRIES / 2);
        }
    }
}
