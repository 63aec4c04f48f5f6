//! Entries that one measurement of a log adds to its index.

use super::{CLOCK_NOISE_MS, Entry};

/// Time by which an entry without new bytes must be later than the last one to be worth its room.
const NEWS_MS: u64 = 1000;
/// Difference from which a clock counts as set back.
const SET_BACK_MS: u64 = 5000;

/// Measured length of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Length now.
    pub length: u64,
    /// Time of the last change, as the file system has it.
    pub modified_ms: u64,
    /// Wall clock.
    pub now_ms: u64,
    /// Earlier moment at which the log is known to have had this length.
    pub before: Option<Entry>,
    /// True if the log was emptied or replaced, so its index is about other content.
    pub is_new: bool,
}

/// Change of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexChange {
    /// True if all former entries are removed first.
    pub resets: bool,
    /// New entries.
    pub added: Vec<Entry>,
}

/// Returns the change that a look makes to an index with this last entry.
pub fn change(last: Option<Entry>, seen: &Sighting) -> IndexChange {
    let has_shrunk = seen.before.is_some_and(|before| before.length > seen.length);
    // Content that replaced longer content came after the moment at which the longer one was there.
    let before = seen.before.map(|before| if has_shrunk { Entry { length: 0, ..before } } else { before });
    let known = before.map_or(seen.length, |before| before.length);
    let resets = last.is_some_and(|last| seen.is_new || has_shrunk || last.length > known);
    let mut change = IndexChange { resets, added: Vec::new() };
    let mut top = last.filter(|_| !resets);
    if let Some(before) = before.filter(|before| is_news(top, *before)) {
        change.added.push(before);
        top = Some(before);
    }
    let now = Entry { length: seen.length, at_ms: seen.now_ms };
    if top.is_none_or(|top| top.length < seen.length) {
        change.added.push(Entry { at_ms: changed_ms(top, seen), ..now });
    } else if change.added.is_empty() && is_news(top, now) {
        // Later bytes are not older.
        change.added.push(now);
    }
    change
}

fn is_news(top: Option<Entry>, entry: Entry) -> bool {
    let Some(top) = top else { return true };
    top.length < entry.length || entry.at_ms >= top.at_ms.saturating_add(NEWS_MS) || entry.at_ms.saturating_add(SET_BACK_MS) < top.at_ms
}

/// Returns the time at which the log got its present length: that of its last change, unless the
/// entry before or the clock contradicts it. Any user of the file may set that time.
fn changed_ms(top: Option<Entry>, seen: &Sighting) -> u64 {
    let Sighting { modified_ms, now_ms, .. } = *seen;
    let floor_ms = top.map_or(0, |top| top.at_ms);
    let is_plausible = seen.length > 0 && modified_ms > 0 && modified_ms <= now_ms && modified_ms + CLOCK_NOISE_MS >= floor_ms;
    if is_plausible { modified_ms.max(floor_ms.min(now_ms)) } else { now_ms.max(1) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{LineTimes, decode};
    use super::*;

    fn entry(length: u64, at_ms: u64) -> Entry {
        Entry { length, at_ms }
    }

    const NOW: u64 = 1_000_000;

    fn seen(length: u64, modified_ms: u64) -> Sighting {
        Sighting { length, modified_ms, now_ms: NOW, before: None, is_new: false }
    }

    fn after(before: Entry, seen: Sighting) -> Sighting {
        Sighting { before: Some(before), ..seen }
    }

    #[test]
    fn look_adds_the_entries_that_it_proves() {
        let last = entry(100, NOW - 60_000);
        let woken = entry(100, NOW - 1000);
        let added = |added: &[Entry]| IndexChange { resets: false, added: added.to_vec() };
        for (what, last, seen, expected) in [
            ("growth between two looks", Some(last), seen(150, NOW - 300), added(&[entry(150, NOW - 300)])),
            ("no growth for a minute", Some(last), seen(100, NOW - 60_000), added(&[entry(100, NOW)])),
            ("no growth for a moment", Some(entry(100, NOW - 900)), seen(100, NOW - 900), added(&[])),
            ("growth after a rest", Some(last), after(woken, seen(150, NOW - 10)), added(&[woken, entry(150, NOW - 10)])),
            ("no growth after a rest", Some(last), after(woken, seen(100, NOW - 60_000)), added(&[woken])),
            ("a rest of less than a second", Some(entry(100, NOW - 1500)), after(woken, seen(150, NOW)), added(&[entry(150, NOW)])),
            ("a first look at an empty log", None, seen(0, NOW - 9000), added(&[entry(0, NOW)])),
            ("a first look at a large log", None, seen(500, NOW - 9000), added(&[entry(500, NOW - 9000)])),
            (
                "a first look after its start",
                None,
                after(entry(0, NOW - 900), seen(5, NOW - 1)),
                added(&[entry(0, NOW - 900), entry(5, NOW - 1)]),
            ),
            (
                "an entry that could not be written",
                Some(last),
                after(entry(120, NOW - 1000), seen(150, NOW)),
                added(&[entry(120, NOW - 1000), entry(150, NOW)]),
            ),
            ("a change in the future", Some(last), seen(150, NOW + 1), added(&[entry(150, NOW)])),
            ("a change before the last entry", Some(last), seen(150, NOW - 99_000), added(&[entry(150, NOW)])),
            ("a coarse clock", Some(entry(100, NOW - 200)), seen(150, NOW - 204), added(&[entry(150, NOW - 200)])),
            ("no time of a change", Some(last), seen(150, 0), added(&[entry(150, NOW)])),
        ] {
            assert_eq!(change(last, &seen), expected, "{what}");
        }
    }

    #[test]
    fn other_content_resets_the_index() {
        let last = Some(entry(100, NOW - 60_000));
        let reset = |added: &[Entry]| IndexChange { resets: true, added: added.to_vec() };
        let is_new = |seen: Sighting| Sighting { is_new: true, ..seen };
        for (what, seen, expected) in [
            ("emptied", seen(0, NOW - 5), reset(&[entry(0, NOW)])),
            ("emptied and written again", seen(40, NOW - 5), reset(&[entry(40, NOW - 5)])),
            (
                "emptied while it was watched",
                after(entry(100, NOW - 1000), seen(40, NOW - 5)),
                reset(&[entry(0, NOW - 1000), entry(40, NOW - 5)]),
            ),
            (
                "emptied while no daemon ran",
                after(entry(0, NOW - 1000), seen(400, NOW - 5)),
                reset(&[entry(0, NOW - 1000), entry(400, NOW - 5)]),
            ),
            (
                "rotated, and longer again",
                is_new(after(entry(0, NOW - 800), seen(900, NOW))),
                reset(&[entry(0, NOW - 800), entry(900, NOW)]),
            ),
        ] {
            assert_eq!(change(last, &seen), expected, "{what}");
        }
        assert!(!change(None, &is_new(seen(5, NOW))).resets, "nothing to remove");
    }

    #[test]
    fn clock_that_was_set_back_is_recorded() {
        let last = Some(entry(100, NOW + 3_600_000));
        assert_eq!(change(last, &seen(150, NOW - 5)).added, [entry(150, NOW)]);
        let woken = entry(100, NOW - 1000);
        assert_eq!(change(last, &after(woken, seen(150, NOW - 5))).added, [woken, entry(150, NOW - 5)]);
    }

    /// Number of bytes that a simulated log gains, loses (all of them) or keeps in a step.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Write(u64),
        Empty,
        Rest,
        Look { was_watched: bool },
        DaemonDies,
        EntryIsLost,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1_u64..50).prop_map(Step::Write),
            1 => Just(Step::Empty),
            2 => Just(Step::Rest),
            4 => any::<bool>().prop_map(|was_watched| Step::Look { was_watched }),
            1 => Just(Step::DaemonDies),
            1 => Just(Step::EntryIsLost),
        ]
    }

    proptest! {
        /// After any sequence of events, the interval of each byte contains the time at which it was
        /// written. A daemon notices a truncation unless the log has outgrown it.
        #[test]
        fn intervals_are_true(steps in proptest::collection::vec((step(), 0_u64..4000), 1..80)) {
            let mut index: Vec<u8> = Vec::new();
            // Receive time of each byte, and the daemon's last look.
            let (mut bytes, mut now_ms, mut modified_ms) = (Vec::<u64>::new(), 1_000_000, 1);
            let mut looked = None::<Entry>;
            for (step, passed_ms) in steps {
                now_ms += passed_ms;
                match step {
                    Step::Write(count) => {
                        (0..count).for_each(|_| bytes.push(now_ms));
                        modified_ms = now_ms;
                    }
                    // A daemon that runs is woken, or looks before the log is as long as it was.
                    Step::Empty => {
                        bytes.clear();
                        modified_ms = now_ms;
                        let seen = Sighting { length: 0, modified_ms, now_ms, before: looked, is_new: false };
                        record(&mut index, &seen, false);
                        looked = Some(entry(0, now_ms));
                    }
                    Step::Rest => {}
                    Step::DaemonDies => looked = None,
                    Step::Look { was_watched } => {
                        // A watch proves that the length had not changed until a second ago, which
                        // holds here only if nothing was written since.
                        let length = bytes.len() as u64;
                        let is_unchanged = looked.is_some_and(|looked| looked.length == length);
                        let before = looked.map(|looked| if was_watched && is_unchanged { entry(length, now_ms) } else { looked });
                        record(&mut index, &Sighting { length, modified_ms, now_ms, before, is_new: false }, false);
                        looked = Some(entry(length, now_ms));
                    }
                    Step::EntryIsLost => {
                        let length = bytes.len() as u64;
                        record(&mut index, &Sighting { length, modified_ms, now_ms, before: looked, is_new: false }, true);
                        looked = Some(entry(length, now_ms));
                    }
                }
            }
            let times = LineTimes::new(&index, entry(bytes.len() as u64, modified_ms));
            for (offset, at_ms) in bytes.iter().enumerate() {
                if let Some(received) = times.received(offset as u64) {
                    let from_ms = received.from_ms.unwrap_or(0);
                    prop_assert!((from_ms..=received.to_ms).contains(at_ms), "{offset}: {at_ms} is not in {received:?}");
                }
            }
        }
    }

    /// Applies a look to an index. A full disk loses new entries, but the removal of old ones works.
    fn record(index: &mut Vec<u8>, seen: &Sighting, is_full: bool) {
        let change = change(decode(index).last().copied(), seen);
        if change.resets {
            index.clear();
        }
        if !is_full {
            change.added.iter().for_each(|entry| index.extend_from_slice(&entry.encode()));
        }
    }
}
