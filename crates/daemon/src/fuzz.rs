//! Checks of the readers of this crate for any bytes. The crate `ostler-fuzzing` runs them; see
//! `docs/fuzzing.md`.

pub use crate::logs::fuzz::{log_checkpoint, log_lines};
use crate::state::store::record::encode;
use crate::state::store::{Record, Snapshot};

/// Checks a journal or state file: its valid beginning counts, and its records can be written
/// again. Lines without a checksum are checked with theirs.
pub fn journal(bytes: &[u8]) {
    let (snapshot, good) = Snapshot::read(bytes);
    assert!(good <= bytes.len());
    assert_eq!(Snapshot::read(&bytes[..good]), (snapshot, good), "the valid beginning");

    let records: Vec<Record<'_>> = bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let mut applied = Snapshot::default();
    let (mut written, mut ends) = (Vec::new(), vec![0]);
    for record in records.into_iter().filter(|record| !matches!(record, Record::Write { .. })) {
        encode(&record, &mut written);
        ends.push(written.len());
        applied.apply(record);
    }
    let (read, good) = Snapshot::read(&written);
    assert_eq!((good, read.foreign), (written.len(), 0), "what was written is read");
    assert_eq!(read, applied);
    // The daemon may be killed while it writes.
    for cut in [written.len() / 3, written.len() / 2, written.len().saturating_sub(1)] {
        let (_, good) = Snapshot::read(&written[..cut]);
        assert_eq!(Some(&good), ends.iter().rfind(|end| **end <= cut), "whole records count");
    }
    let middle = ends[ends.len() / 2];
    let (mut first, _) = Snapshot::read(&written[..middle]);
    first.add(&written[middle..]);
    assert_eq!(first, applied, "read in two parts");
}
