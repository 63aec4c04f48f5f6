//! The journal in memory: a memfd that the keeper holds, so that it outlives the daemon.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use ostler_sys::fd::memfd;

use super::record::{Record, Snapshot, encode};

/// Size below which compaction is not worth it.
const COMPACT_FROM_BYTES: u64 = 256 << 10;

/// Proof that what was decided before now was given to the journal. Nothing else makes one, and without one no effect is possible.
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
    /// Events, which are only in memory.
    events: Vec<u8>,
    /// Number of writes.
    writes: u64,
    /// True if the keeper has it.
    is_held: bool,
}

impl Journal {
    /// Reads what an earlier daemon left. Bytes after the last good record are overwritten.
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

    /// Adds an event to the next write, which is then all or nothing: an event is never there without the state that it is about, nor that
    /// state without it. Not for the copy on disk: that may be older than what followers got.
    pub(crate) fn push_event(&mut self, record: &Record<'_>) {
        encode(record, &mut self.events);
    }

    /// Writes what was pushed and hands out those bytes, for the copy on disk. An error means that memory for a few bytes is gone; what was
    /// pushed is written with the next call, and nothing better can be done than to go on.
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

    /// Number of writes: with a higher number it has what was decided before.
    pub(crate) fn writes(&self) -> u64 {
        self.writes
    }

    /// True if most records are superseded.
    pub(crate) fn wants_compaction(&self) -> bool {
        self.end > COMPACT_FROM_BYTES && self.end > 4 * self.base
    }

    /// Starts over in a fresh memfd with these records only. The caller must give [`Journal::fd`] to the keeper at once, and say so when
    /// the keeper has it ([`Journal::is_held_now`]): until then the keeper's old journal has what was written so far, and nothing of what comes next.
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

    /// Records that the keeper has what was written last.
    pub(crate) fn is_held_now(&mut self) {
        self.is_held = true;
    }

    /// True if a fresh daemon would find what is written. If not, nothing of it may be sent.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Memfd, for the keeper.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_that_was_written_anew_is_not_what_a_fresh_daemon_finds_until_the_keeper_has_it() {
        let memfd = || memfd::create("test").unwrap();
        let mut journal = Journal::open(memfd()).unwrap().0;
        assert!(journal.is_held());
        journal.replace(memfd(), [Record::Gone { id: 1 }].into_iter()).unwrap();
        assert!(!journal.is_held());
        journal.is_held_now();
        assert!(journal.is_held());
    }
}
