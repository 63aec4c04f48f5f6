//! Choice of the rotated files to delete.

use super::Rule;

/// One rotated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotatedFile {
    /// Log that it belongs to.
    pub log: usize,
    /// Its name, which distinguishes files of the same time.
    pub name: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// Time of its last line, ms.
    pub modified_ms: u64,
}

/// Returns the indices of the surplus files, the oldest first: per log those beyond the number to
/// keep, then those that exceed the size for the app. `live_bytes` is the size of the app's current
/// logs.
pub fn surplus(files: &[RotatedFile], rule: &Rule, live_bytes: u64) -> Vec<usize> {
    let newest_first = newest_first(files);
    let mut seen = std::collections::BTreeMap::new();
    let (mut total, mut full) = (live_bytes, false);
    let mut gone: Vec<usize> = newest_first
        .into_iter()
        .filter(|&index| {
            let file = &files[index];
            let count = seen.entry(file.log).or_insert(0_u32);
            if *count >= rule.retain {
                return true;
            }
            *count += 1;
            total = total.saturating_add(file.bytes);
            // Older files are deleted too, so that the rest has no gaps.
            full |= total > rule.total_size;
            full
        })
        .collect();
    gone.reverse();
    gone
}

/// Returns the indices of the files to delete for free disk space, the oldest first, until this
/// many bytes are gained.
pub fn for_room(files: &[RotatedFile], wanted: u64) -> Vec<usize> {
    let mut gained = 0_u64;
    let oldest_first = newest_first(files).into_iter().rev();
    let enough = |index: &usize| {
        let more = gained < wanted;
        gained = gained.saturating_add(files[*index].bytes);
        more
    };
    oldest_first.take_while(enough).collect()
}

fn newest_first(files: &[RotatedFile]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.sort_by(|&a, &b| (files[b].modified_ms, &files[b].name).cmp(&(files[a].modified_ms, &files[a].name)));
    order
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::super::{NO_BOUND, RotateSpec};
    use super::*;

    fn old(log: usize, modified_ms: u64, bytes: u64) -> RotatedFile {
        RotatedFile { log, name: format!("{log}-{modified_ms}"), bytes, modified_ms }
    }

    fn rule(retain: u32, total_size: u64) -> Rule {
        RotateSpec { retain: Some(retain), total_size: Some(total_size), ..RotateSpec::default() }.rule().unwrap()
    }

    #[test]
    fn retain_bounds_the_files_of_each_log() {
        let files = [old(0, 1, 5), old(0, 3, 5), old(1, 2, 5), old(0, 2, 5)];
        assert_eq!(surplus(&files, &rule(2, NO_BOUND), 0), [0]);
        assert_eq!(surplus(&files, &rule(1, NO_BOUND), 0), [0, 3]);
        assert_eq!(surplus(&files, &rule(0, NO_BOUND), 0), [0, 3, 2, 1]);
    }

    #[test]
    fn total_size_removes_the_oldest_files_of_the_app_first() {
        let files = [old(0, 1, 5), old(0, 3, 5), old(1, 2, 50), old(0, 2, 5)];
        assert_eq!(surplus(&files, &rule(9, 100), 36), [0]);
        assert_eq!(surplus(&files, &rule(9, 59), 0), [0, 3]);
        assert_eq!(surplus(&files, &rule(9, 4), 0), [0, 3, 2, 1]);
        assert_eq!(surplus(&files, &rule(9, 10), 100), [0, 3, 2, 1], "the live files alone are too much");
    }

    #[test]
    fn oldest_files_are_removed_to_free_disk_space() {
        let files = [old(0, 3, 5), old(1, 1, 5), old(0, 2, 5)];
        assert_eq!(for_room(&files, 6), [1, 2]);
        assert_eq!(for_room(&files, 0), [0; 0]);
        assert_eq!(for_room(&files, 1000), [1, 2, 0]);
    }

    proptest! {
        #[test]
        fn kept_files_stay_within_the_bounds(
            files in prop::collection::vec((0_usize..3, 0_u64..50, 0_u64..1000), 0..40), retain in 0_u32..6, total in 0_u64..5000, live in 0_u64..5000
        ) {
            let files: Vec<RotatedFile> = files.into_iter().map(|(log, at, bytes)| old(log, at, bytes)).collect();
            let gone = surplus(&files, &rule(retain, total), live);
            let kept: Vec<&RotatedFile> = (0..files.len()).filter(|index| !gone.contains(index)).map(|index| &files[index]).collect();
            prop_assert!(kept.is_empty() || live + kept.iter().map(|file| file.bytes).sum::<u64>() <= total);
            for log in 0..3 {
                prop_assert!(kept.iter().filter(|file| file.log == log).count() <= retain as usize);
                // No kept file is older than a deleted one.
                let oldest = kept.iter().filter(|file| file.log == log).map(|file| file.modified_ms).min();
                prop_assert!(gone.iter().all(|index| files[*index].log != log || oldest.is_none_or(|at| files[*index].modified_ms <= at)));
            }
        }
    }
}
