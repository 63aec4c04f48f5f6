//! The journal in memory: a memfd that the keeper holds, so that it outlives the daemon.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use ostler_sys::fd::memfd;

use super::record::{Record, Snapshot, encode};

/// Size below which compaction is not worth the work.
const COMPACT_FROM_BYTES: u64 = 256 << 10;

/// Proof that all earlier decisions were written to the journal. Only the journal creates it, and
/// no effect is possible without it.
#[derive(Debug)]
pub(crate) struct Written(());

/// Journal of records. `push` collects, `flush` writes them all with one call.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    end: u64,
    /// Size right after the last compaction.
    base: u64,
    pending: Vec<u8>,
    /// Events, which are only in the memory journal.
    events: Vec<u8>,
    /// Number of writes.
    writes: u64,
    /// Whether the keeper has this journal.
    is_held: bool,
}

impl Journal {
    /// Reads the records of an earlier daemon. Bytes after the last valid record are overwritten.
    pub(crate) fn open(memfd: OwnedFd) -> io::Result<(Self, Snapshot)> {
        let file = File::from(memfd);
        let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)?;
        let (snapshot, good) = Snapshot::read(&bytes);
        file.set_len(good as u64)?;
        Ok((
            Self { file, end: good as u64, base: good as u64, pending: Vec::new(), events: Vec::new(), writes: 0, is_held: true },
            snapshot,
        ))
    }

    /// Adds a record to the next write.
    pub(crate) fn push(&mut self, record: &Record<'_>) {
        encode(record, &mut self.pending);
    }

    /// Adds an event to the next write, which is then all or nothing: a reader finds an event
    /// together with its state, or neither. The copy on disk gets no events, because it may be
    /// older than the events that followers got.
    pub(crate) fn push_event(&mut self, record: &Record<'_>) {
        encode(record, &mut self.events);
    }

    /// Writes pushed records, and returns their bytes for the copy on disk. An error means that
    /// memory for a few bytes is missing. The next call then writes the records, and the daemon
    /// continues.
    pub(crate) fn flush(&mut self) -> (Written, io::Result<Vec<u8>>) {
        self.writes += 1;
        (Written(()), self.write_pending())
    }

    fn write_pending(&mut self) -> io::Result<Vec<u8>> {
        if !self.events.is_empty() {
            let mut bytes = Vec::new();
            encode(&Record::Write { bytes: (self.events.len() + self.pending.len()) as u64 }, &mut bytes);
            bytes.extend_from_slice(&self.events);
            bytes.extend_from_slice(&self.pending);
            memfd::write_at(&self.file, &bytes, self.end)?;
            self.end += bytes.len() as u64;
            self.events = Vec::new();
        } else if !self.pending.is_empty() {
            memfd::write_at(&self.file, &self.pending, self.end)?;
            self.end += self.pending.len() as u64;
        }
        Ok(std::mem::take(&mut self.pending))
    }

    /// Returns the number of writes. A higher number means that all earlier decisions are in the
    /// journal.
    pub(crate) fn writes(&self) -> u64 {
        self.writes
    }

    /// Returns true if most records are superseded.
    pub(crate) fn wants_compaction(&self) -> bool {
        self.end > COMPACT_FROM_BYTES && self.end > 4 * self.base
    }

    /// Restarts the journal in a fresh memfd with these records only. The caller must give
    /// [`Journal::fd`] to the keeper at once, and call [`Journal::is_held_now`] when the keeper has
    /// it. Until then the keeper's old journal has all records so far, and none of the following
    /// ones.
    pub(crate) fn replace<'b>(&mut self, memfd: OwnedFd, records: impl Iterator<Item = Record<'b>>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        records.for_each(|record| encode(&record, &mut bytes));
        let file = File::from(memfd);
        memfd::write_at(&file, &bytes, 0)?;
        self.file = file;
        self.end = bytes.len() as u64;
        self.base = self.end;
        self.is_held = false;
        Ok(bytes)
    }

    /// Records that the keeper has the last written records.
    pub(crate) fn is_held_now(&mut self) {
        self.is_held = true;
    }

    /// Returns true if a fresh daemon would find the written records. If not, no event or answer
    /// may be sent.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Returns the memfd, for the keeper.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compacted_journal_counts_only_once_the_keeper_holds_it() {
        let memfd = || memfd::create("test").unwrap();
        let mut journal = Journal::open(memfd()).unwrap().0;
        assert!(journal.is_held());
        journal.replace(memfd(), [Record::Gone { id: 1 }].into_iter()).unwrap();
        assert!(!journal.is_held());
        journal.is_held_now();
        assert!(journal.is_held());
    }
}
