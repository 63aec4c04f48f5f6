//! Receive times of log lines: when each byte of a log arrived in its file.
//!
//! # Theory of operation
//!
//! Apps write straight into their log files, so no process sees when a line arrives. The daemon
//! measures the length of a growing log about once per second. Each measurement is an [`Entry`] of
//! the *index* of that file: "at this time, the log had this length". A byte therefore arrived between
//! the last entry that does not include it and the first entry that does ([`Received`]). That
//! interval is all that is known, and it is never narrowed: if the daemon was dead for an hour, the
//! lines of that hour have an interval of an hour.
//!
//! An index belongs to a file, not to a path ([`FileId`]). [`growth`] decides which entries a look
//! adds, [`thin`] bounds their number, and [`line`] combines the index with the date that a line
//! carries.

pub mod growth;
pub mod line;
pub mod thin;

/// Bytes of an encoded entry. The size is fixed, so a torn write leaves an incomplete entry at the
/// end, which readers ignore.
pub const ENTRY_BYTES: usize = 16;

/// Longest interval of a received line that counts as exact, ms.
pub const EXACT_MS: u64 = 5000;

/// Difference between two clocks of the kernel that is no contradiction, ms. The times of files
/// come from a coarse clock.
const CLOCK_NOISE_MS: u64 = 1000;

/// Length of a log at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Length in bytes.
    pub length: u64,
    /// Wall clock, ms since the epoch.
    pub at_ms: u64,
}

impl Entry {
    /// Encodes the entry.
    pub fn encode(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..].copy_from_slice(&self.at_ms.to_le_bytes());
        bytes
    }

    /// Decodes an entry. Returns `None` for zeros, which a power failure may leave in a file.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (at_ms, _) = rest.split_first_chunk()?;
        let entry = Self { length: u64::from_le_bytes(*length), at_ms: u64::from_le_bytes(*at_ms) };
        (entry.at_ms > 0).then_some(entry)
    }
}

/// Decodes the valid beginning of an index: whole entries whose lengths never shrink.
pub fn decode(bytes: &[u8]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    for bytes in bytes.chunks_exact(ENTRY_BYTES) {
        let Some(entry) = Entry::decode(bytes).filter(|entry| entries.last().is_none_or(|last| last.length <= entry.length)) else { break };
        entries.push(entry);
    }
    entries
}

/// Returns the index of a file that has only the first part of the content.
pub fn cut(entries: &[Entry], length: u64) -> Vec<Entry> {
    let within = entries.partition_point(|entry| entry.length <= length);
    let end = entries.get(within).map(|entry| Entry { length, ..*entry });
    entries[..within].iter().copied().chain(end).collect()
}

/// Identity of a file. A rename keeps it. Another file with the same number has another time of
/// creation, if the file system records that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Time of creation in ns; 0 = unknown.
    pub born_ns: u64,
}

impl FileId {
    /// Returns the name of the index of this file.
    pub fn index_name(&self) -> String {
        format!("{:x}-{:x}-{:x}", self.dev, self.ino, self.born_ns)
    }
}

/// Interval in which a part of a log arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Time before which it had not arrived; none = unknown.
    pub from_ms: Option<u64>,
    /// Time at which it had arrived.
    pub to_ms: u64,
}

impl Received {
    /// Returns the length of the interval; none = it has no known beginning.
    pub fn width_ms(&self) -> Option<u64> {
        Some(self.to_ms - self.from_ms?)
    }

    /// Returns true if the interval is short.
    pub fn is_exact(&self) -> bool {
        self.width_ms().is_some_and(|width| width <= EXACT_MS)
    }

    /// Returns true if it may have arrived between these times.
    pub fn may_be_within(&self, since_ms: Option<u64>, until_ms: Option<u64>) -> bool {
        since_ms.is_none_or(|since| self.to_ms >= since) && until_ms.is_none_or(|until| self.from_ms.is_none_or(|from| from <= until))
    }
}

/// Index of a file, for lookups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineTimes {
    entries: Vec<Entry>,
}

impl LineTimes {
    /// Reads an index. `end` is the present length of the file and the time of its last change,
    /// which closes the last interval. An index of a longer file belongs to former content.
    pub fn new(bytes: &[u8], end: Entry) -> Self {
        let mut entries = decode(bytes);
        match entries.last() {
            Some(last) if last.length > end.length => entries.clear(),
            Some(last) if last.length < end.length && end.at_ms.saturating_add(CLOCK_NOISE_MS) >= last.at_ms => {
                entries.push(Entry { at_ms: end.at_ms.max(last.at_ms), ..end });
            }
            _ => {}
        }
        Self { entries }
    }

    /// Returns true if nothing is known about any byte.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the interval in which the byte at this offset arrived; none = unknown.
    pub fn received(&self, offset: u64) -> Option<Received> {
        let after = self.entries.partition_point(|entry| entry.length <= offset);
        let to = self.entries.get(after)?;
        let from = after.checked_sub(1).and_then(|before| self.entries.get(before));
        // If the clock was set back in between, both readings of it are possible.
        let (from_ms, to_ms) = match from {
            Some(from) => (Some(from.at_ms.min(to.at_ms)), from.at_ms.max(to.at_ms)),
            None => (None, to.at_ms),
        };
        Some(Received { from_ms, to_ms })
    }

    /// Returns the latest time at which a byte up to this one arrived; none = unknown. It is not
    /// that of the byte itself if the clock was set back.
    pub fn latest_ms(&self, offset: u64) -> Option<u64> {
        let after = self.entries.partition_point(|entry| entry.length <= offset);
        self.entries.get(..=after)?.iter().map(|entry| entry.at_ms).max()
    }

    /// Returns the offset from which on every byte arrived after this time; none = unknown.
    pub fn end_of(&self, until_ms: u64) -> Option<u64> {
        let first = self.entries.first()?;
        let may_be = |pair: &&[Entry]| pair[0].at_ms.min(pair[1].at_ms) <= until_ms;
        Some(self.entries.windows(2).rev().find(may_be).map_or(first.length, |pair| pair[1].length))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(length: u64, at_ms: u64) -> Entry {
        Entry { length, at_ms }
    }

    fn bytes(entries: &[Entry]) -> Vec<u8> {
        entries.iter().flat_map(|entry| entry.encode()).collect()
    }

    fn interval(from_ms: impl Into<Option<u64>>, to_ms: u64) -> Option<Received> {
        Some(Received { from_ms: from_ms.into(), to_ms })
    }

    #[test]
    fn lookup_returns_the_entries_around_a_byte() {
        // Two bursts with an hour between them. A watch saw the beginning of the second.
        let index = bytes(&[entry(0, 1000), entry(100, 1500), entry(100, 3_600_000), entry(300, 3_600_400), entry(500, 3_601_400)]);
        let times = LineTimes::new(&index, entry(600, 3_602_000));
        for (offset, expected) in [
            (0, interval(1000, 1500)),
            (99, interval(1000, 1500)),
            (100, interval(3_600_000, 3_600_400)),
            (299, interval(3_600_000, 3_600_400)),
            (300, interval(3_600_400, 3_601_400)),
            (599, interval(3_601_400, 3_602_000)),
            (600, None),
            (u64::MAX, None),
        ] {
            assert_eq!(times.received(offset), expected, "{offset}");
        }
    }

    #[test]
    fn lookup_claims_no_more_than_the_index_has() {
        // The log was large before the first measurement, and the next one came an hour later.
        let times = LineTimes::new(&bytes(&[entry(1000, 5000), entry(2000, 3_605_000)]), entry(2000, 3_605_000));
        assert_eq!(times.received(10), interval(None, 5000));
        assert_eq!(times.received(1999), interval(5000, 3_605_000));
        assert!(!times.received(1999).unwrap().is_exact() && !times.received(10).unwrap().is_exact());
        // Without an index, no time is known.
        assert_eq!(LineTimes::new(&[], entry(100, 5000)).received(0), None);
        // The file is shorter than its index: it has other content.
        assert!(LineTimes::new(&bytes(&[entry(1000, 5000)]), entry(999, 6000)).is_empty());
        // The time of the last change was set by hand.
        assert_eq!(LineTimes::new(&bytes(&[entry(10, 50_000)]), entry(20, 7)).received(15), None);
        // The coarse clock of the file system is a little behind.
        assert_eq!(LineTimes::new(&bytes(&[entry(10, 50_000)]), entry(20, 49_996)).received(15), interval(50_000, 50_000));
    }

    #[test]
    fn clock_that_was_set_back_widens_the_interval() {
        let times = LineTimes::new(&bytes(&[entry(0, 9000), entry(10, 10_000), entry(20, 2000), entry(30, 3000)]), entry(30, 3000));
        assert_eq!(times.received(15), interval(2000, 10_000));
        assert_eq!((times.received(5), times.received(25)), (interval(9000, 10_000), interval(2000, 3000)));
    }

    #[test]
    fn ranges_of_time_have_bounds_in_the_file() {
        let times = LineTimes::new(&bytes(&[entry(5, 1000), entry(10, 2000), entry(10, 9000), entry(20, 9500)]), entry(20, 9500));
        for (until_ms, expected) in [(500, 5), (999, 5), (1000, 10), (8999, 10), (9000, 20), (99_000, 20)] {
            assert_eq!(times.end_of(until_ms), Some(expected), "{until_ms}");
        }
        assert_eq!(
            (times.latest_ms(0), times.latest_ms(7), times.latest_ms(10), times.latest_ms(20)),
            (Some(1000), Some(2000), Some(9500), None)
        );
        // After the clock was set back, the bytes before are not older.
        let back = LineTimes::new(&bytes(&[entry(0, 8000), entry(10, 9000), entry(20, 2000), entry(30, 3000)]), entry(30, 3000));
        assert_eq!((back.latest_ms(25), back.end_of(2500), back.end_of(1999)), (Some(9000), Some(30), Some(0)));
        assert_eq!((LineTimes::default().latest_ms(0), LineTimes::default().end_of(5)), (None, None));
    }

    #[test]
    fn index_is_cut_with_the_content() {
        let all = [entry(0, 1000), entry(10, 2000), entry(20, 3000), entry(20, 4000), entry(30, 5000)];
        for (length, expected) in [
            (30, &all[..]),
            (99, &all),
            (20, &[all[0], all[1], all[2], all[3], entry(20, 5000)]),
            (15, &[all[0], all[1], entry(15, 3000)]),
            (0, &[all[0], entry(0, 2000)]),
        ] {
            assert_eq!(cut(&all, length), expected, "{length}");
        }
        assert_eq!(cut(&[entry(10, 1000)], 4), [entry(4, 1000)]);
    }

    #[test]
    fn damaged_end_of_an_index_is_ignored() {
        let good = [entry(0, 1000), entry(10, 2000)];
        let mut index = bytes(&good);
        for damage in [&[1, 2, 3][..], &[0; 16], &[0; 40], &entry(5, 3000).encode()] {
            index.truncate(32);
            index.extend_from_slice(damage);
            assert_eq!(decode(&index), good, "{damage:?}");
        }
        assert_eq!(decode(&[7; 15]), []);
    }

    #[test]
    fn interval_overlaps_a_range_of_time() {
        let received = Received { from_ms: Some(100), to_ms: 200 };
        for (since, until, expected) in [
            (None, None, true),
            (Some(200), None, true),
            (Some(201), None, false),
            (None, Some(100), true),
            (None, Some(99), false),
            (Some(120), Some(130), true),
        ] {
            assert_eq!(received.may_be_within(since, until), expected, "{since:?} {until:?}");
        }
        let open = Received { from_ms: None, to_ms: 200 };
        assert!(open.may_be_within(None, Some(1)) && !open.may_be_within(Some(201), None));
        assert_eq!((open.width_ms(), received.width_ms()), (None, Some(100)));
    }

    #[test]
    fn index_name_has_the_whole_identity() {
        assert_eq!(FileId { dev: 0xfe01, ino: 255, born_ns: 16 }.index_name(), "fe01-ff-10");
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_index(bytes in proptest::collection::vec(any::<u8>(), 0..200), length: u64, at_ms in 0..u64::MAX / 2, offset: u64) {
            let times = LineTimes::new(&bytes, entry(length, at_ms));
            if let Some(received) = times.received(offset) {
                prop_assert!(received.from_ms.is_none_or(|from| from <= received.to_ms));
                prop_assert!(offset < length);
            }
        }

        #[test]
        fn entries_survive_encoding(lengths in proptest::collection::vec(0_u64..1000, 0..50), at_ms in 1..u64::MAX) {
            let mut sum = 0;
            let entries: Vec<Entry> = lengths.iter().map(|length| { sum += length; entry(sum, at_ms) }).collect();
            prop_assert_eq!(decode(&bytes(&entries)), entries);
        }
    }
}
