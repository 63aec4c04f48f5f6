//! A bounded ring of numbered entries, for followers that reconnect.
//!
//! Numbers have no gap, and the oldest entries are dropped first. A follower names the last number
//! and epoch that it has, and gets the rest: each entry once, or the number of dropped entries.

use std::collections::VecDeque;

/// Position of a follower. The epoch identifies the ring: numbers of a lost ring are invalid in the
/// next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// The ring.
    pub epoch: u64,
    /// The follower has everything up to this number; 0 = nothing yet.
    pub seq: u64,
}

/// Entries that a follower can never get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissedEntries {
    /// This many were dropped.
    Count(u64),
    /// An unknown number: its ring is gone.
    Unknown,
}

/// Bounds of a ring; the first one reached applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Largest number of entries.
    pub entries: usize,
    /// Largest total size in bytes. The newest entry is kept regardless of its size.
    pub bytes: usize,
}

/// Numbered entries in wire format.
#[derive(Debug)]
pub struct Ring {
    epoch: u64,
    /// Number of the newest entry; 0 = the ring never had an entry.
    last: u64,
    entries: VecDeque<Box<[u8]>>,
    bytes: usize,
    bounds: Bounds,
}

impl Ring {
    /// Returns an empty ring that begins after `last`.
    pub fn new(epoch: u64, last: u64, bounds: Bounds) -> Self {
        Self { epoch, last, entries: VecDeque::new(), bytes: 0, bounds }
    }

    /// Returns the epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the position of a follower that has everything.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, seq: self.last }
    }

    /// Returns the number of the next entry.
    pub fn next_seq(&self) -> u64 {
        self.last + 1
    }

    /// Adds an entry under [`Ring::next_seq`]; drops the oldest entries if necessary.
    pub fn push(&mut self, entry: Box<[u8]>) {
        self.last += 1;
        self.bytes += entry.len();
        self.entries.push_back(entry);
        while self.entries.len() > 1 && (self.entries.len() > self.bounds.entries || self.bytes > self.bounds.bytes) {
            self.bytes -= self.entries.pop_front().map_or(0, |oldest| oldest.len());
        }
    }

    /// Returns all entries with their numbers, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        (self.first()..).zip(self.entries.iter().map(Box::as_ref))
    }

    /// Returns the entries that a follower at this position has lost, and the entries that it does
    /// not have yet. A follower without a position gets all entries.
    pub fn after(&self, position: Option<Position>) -> (Option<MissedEntries>, impl Iterator<Item = (u64, &[u8])>) {
        let (missed, known) = match position {
            None => (None, 0),
            // A number that was never assigned belongs to another ring, too.
            Some(Position { epoch, seq }) if epoch != self.epoch || seq > self.last => (Some(MissedEntries::Unknown), 0),
            Some(Position { seq, .. }) => {
                let gone = self.first().saturating_sub(seq + 1);
                ((gone > 0).then_some(MissedEntries::Count(gone)), seq)
            }
        };
        (missed, self.iter().filter(move |(seq, _)| *seq > known))
    }

    /// Returns the number of the oldest kept entry.
    fn first(&self) -> u64 {
        self.last + 1 - self.entries.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { entries: 3, bytes: 10 };

    fn ring(sizes: &[usize]) -> Ring {
        let mut ring = Ring::new(7, 0, BOUNDS);
        sizes.iter().for_each(|size| ring.push(vec![0; *size].into()));
        ring
    }

    #[test]
    fn follower_gets_entries_after_its_position() {
        let at = |epoch, seq| Some(Position { epoch, seq });
        for (sizes, position, missed, seqs) in [
            (&[][..], None, None, vec![]),
            (&[], at(7, 0), None, vec![]),
            (&[1, 1], None, None, vec![1, 2]),
            (&[1, 1], at(7, 0), None, vec![1, 2]),
            (&[1, 1], at(7, 1), None, vec![2]),
            (&[1, 1], at(7, 2), None, vec![]),
            // Dropped by number, and by bytes.
            (&[1, 1, 1, 1, 1], at(7, 1), Some(MissedEntries::Count(1)), vec![3, 4, 5]),
            (&[1, 1, 1, 1, 1], at(7, 2), None, vec![3, 4, 5]),
            (&[1, 1, 1, 1, 1], None, None, vec![3, 4, 5]),
            (&[4, 4, 4], at(7, 0), Some(MissedEntries::Count(1)), vec![2, 3]),
            (&[4, 40], at(7, 0), Some(MissedEntries::Count(1)), vec![2]),
            // The position belongs to another ring, or was never assigned.
            (&[1, 1], at(8, 2), Some(MissedEntries::Unknown), vec![1, 2]),
            (&[1, 1], at(7, 3), Some(MissedEntries::Unknown), vec![1, 2]),
            (&[1, 1], at(7, u64::MAX), Some(MissedEntries::Unknown), vec![1, 2]),
        ] {
            let ring = ring(sizes);
            let (found, rest) = ring.after(position);
            assert_eq!((found, rest.map(|(seq, _)| seq).collect::<Vec<_>>()), (missed, seqs), "{sizes:?} {position:?}");
        }
    }

    proptest! {
        /// A follower that reconnects now and then gets each entry once, in order, or the number of
        /// dropped entries.
        #[test]
        fn follower_gets_each_entry_once_or_a_missed_count(steps in proptest::collection::vec((0usize..6, any::<bool>()), 0..80)) {
            let mut ring = Ring::new(1, 0, BOUNDS);
            let mut position = ring.position();
            for (size, comes_back) in steps {
                ring.push(vec![0; size].into());
                let bytes: usize = ring.iter().map(|(_, entry)| entry.len()).sum();
                prop_assert!(bytes == ring.bytes && bytes <= BOUNDS.bytes && ring.iter().count() <= BOUNDS.entries);
                if comes_back {
                    let (missed, rest) = ring.after(Some(position));
                    let gone = match missed {
                        None => 0,
                        Some(MissedEntries::Count(gone)) => gone,
                        Some(MissedEntries::Unknown) => panic!("the ring is the same"),
                    };
                    let seqs: Vec<u64> = rest.map(|(seq, _)| seq).collect();
                    prop_assert_eq!(&seqs, &(position.seq + gone + 1..=ring.position().seq).collect::<Vec<_>>());
                    position = ring.position();
                }
            }
        }
    }
}
