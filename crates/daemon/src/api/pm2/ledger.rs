//! Record of the log lines that subscribers have received, in memory that the keeper holds. If the
//! daemon is killed, the next daemon resumes from it.
//!
//! All subscribers get one stream of frames. [`CountedSends`] counts the bytes of that stream in
//! the same call that sends them. A copy of the account behind the counts maps a position in the
//! stream to log lines. The memory has room for two copies, and one word selects the valid copy.
//! The daemon rewrites the other copy, then switches the word.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use ostler_proto::pm2::{LogAccount, LogPlaces, Packet};
use ostler_sys::fd::counted_sends::{CountedSends, HEAD_BYTES, counts_of, word_of};
use rustix::fs::FallocateFlags;

/// Name under which the keeper holds the memory.
pub(super) const HELD: &str = "pm2-lines";
/// Words of the memory: its format, the valid copy, and the lengths of both copies.
const FORM: usize = 0;
const COUNTING: usize = 1;
const LENGTHS: [usize; 2] = [2, 3];
/// Format of the memory that this version writes.
const THIS_FORM: u64 = 0x6f73_746c_6e73_0001;
/// Offsets of the copies.
const COPIES_AT: [u64; 2] = [1 << 20, 9 << 20];
/// Longest copy: twenty thousand logs.
const MAX_COPY_BYTES: u64 = 8 << 20;
/// Growth in bytes after which the copy is rewritten.
const GROWTH_BYTES: u64 = 256 << 10;

/// Record of the subscribers' progress.
#[derive(Debug)]
pub(super) struct Ledger {
    pub sends: CountedSends,
    account: LogAccount,
    counting: usize,
    length: u64,
    /// Length at which the copy is rewritten.
    rewrite_at: u64,
}

impl Ledger {
    /// Creates the record of an account.
    pub(super) fn new(account: LogAccount) -> io::Result<Self> {
        let sends = CountedSends::create("ostler-pm2-lines")?;
        let mut ledger = Self { sends, account, counting: 1, length: 0, rewrite_at: 0 };
        ledger.rewrite()?;
        ledger.sends.set_word(FORM, THIS_FORM);
        Ok(ledger)
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let copy = self.account.copy();
        let other = 1 - self.counting;
        if copy.len() as u64 > MAX_COPY_BYTES - 2 * GROWTH_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.sends.file().write_all_at(&copy, COPIES_AT[other])?;
        self.sends.set_word(LENGTHS[other], copy.len() as u64);
        self.sends.set_word(COUNTING, other as u64);
        // Frees the memory. If the system cannot free it, the next copy reuses it.
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = rustix::fs::fallocate(self.sends.file(), flags, COPIES_AT[self.counting], MAX_COPY_BYTES);
        (self.counting, self.length, self.rewrite_at) = (other, copy.len() as u64, copy.len() as u64 + GROWTH_BYTES);
        Ok(())
    }

    /// Records packets before any byte of them is sent, each with its position in the stream.
    /// `delivered` is the position that all subscribers have received.
    pub(super) fn note(&mut self, packets: &[(u64, Packet<'_>)], delivered: u64) -> io::Result<()> {
        let mut copy = Vec::new();
        packets.iter().for_each(|(position, packet)| self.account.note(*position, packet, &mut copy));
        self.account.settle(delivered);
        if self.length + copy.len() as u64 > self.rewrite_at {
            return self.rewrite();
        }
        self.sends.file().write_all_at(&copy, COPIES_AT[self.counting] + self.length)?;
        self.length += copy.len() as u64;
        self.sends.set_word(LENGTHS[self.counting], self.length);
        Ok(())
    }

    /// Returns the places after everything that was read.
    pub(super) fn all(&self) -> LogPlaces {
        self.account.clone().all()
    }
}

impl AsFd for Ledger {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sends.as_fd()
    }
}

/// Record that a former daemon left when it was killed or replaced while clients were subscribed.
#[derive(Debug)]
pub(super) struct FormerRecord {
    /// Memory of the record. The next daemon needs it if this one is killed, too.
    pub memory: OwnedFd,
    /// Places up to which all subscribers have received lines.
    pub places: LogPlaces,
    /// Number of subscribers.
    pub subscribers: usize,
}

impl FormerRecord {
    /// Reads the record. Returns `None` if there were no subscribers or the format differs.
    pub(super) fn read(memory: OwnedFd) -> Option<Self> {
        let file = std::fs::File::from(memory);
        let mut head = vec![0; HEAD_BYTES];
        file.read_exact_at(&mut head, 0).ok()?;
        let counting = usize::try_from(word_of(&head, COUNTING)).ok().filter(|counting| *counting < 2)?;
        let length = word_of(&head, LENGTHS[counting]);
        if word_of(&head, FORM) != THIS_FORM || length > MAX_COPY_BYTES {
            return None;
        }
        let mut copy = vec![0; usize::try_from(length).ok()?];
        file.read_exact_at(&mut copy, COPIES_AT[counting]).ok()?;
        let counts = counts_of(&head);
        let places = LogPlaces::delivered(&copy, *counts.iter().min()?)?;
        Some(Self { memory: file.into(), places, subscribers: counts.len() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::net::UnixStream;

    use ostler_proto::pm2::LogPlace;

    use super::*;

    fn ledger() -> Ledger {
        let mut account = LogAccount::default();
        for file in 0..3_u32 {
            let place = LogPlace { path: format!("/l/{file}.log"), dev: 1, ino: file.into(), end: 0, since_ms: 5 };
            account.note(0, &Packet::File { file, place }, &mut Vec::new());
        }
        account.note(0, &Packet::Started { at_ms: 7 }, &mut Vec::new());
        Ledger::new(account).unwrap()
    }

    fn former_record(ledger: &Ledger) -> Option<FormerRecord> {
        FormerRecord::read(ledger.as_fd().try_clone_to_owned().unwrap())
    }

    #[test]
    fn next_daemon_finds_the_position_of_each_subscriber() {
        let mut ledger = ledger();
        assert!(former_record(&ledger).is_none(), "no client is connected");
        let (first, second) = (ledger.sends.open(0).unwrap(), ledger.sends.open(0).unwrap());
        let (ours, _theirs) = UnixStream::pair().unwrap();
        // Enough rounds to rewrite the copy several times.
        let (mut stream, mut ends) = (0, [0_u64; 3]);
        for round in 0..40_000_u64 {
            let file = (round % 3) as usize;
            stream += 10;
            ends[file] = round;
            let delivered = stream - 10;
            ledger.note(&[(stream, Packet::Line { file: file as u32, end: round, frame: b"" })], delivered).unwrap();
            for slot in [first, second] {
                // Open the slot at the stream's position, as if all was sent.
                ledger.sends.close(slot);
                assert_eq!(ledger.sends.open(stream), Some(slot));
            }
        }
        let found = former_record(&ledger).unwrap();
        let places: Vec<u64> = found.places.files.iter().map(|place| place.end).collect();
        assert_eq!((places, found.subscribers, found.places.at_ms), (ends.to_vec(), 2, 7));
        // One of the two subscribers gets no more.
        ledger.note(&[(stream + 4, Packet::Line { file: 0, end: 99_999, frame: b"" })], stream).unwrap();
        ledger.sends.send(first, &ours, b"line").unwrap();
        assert_eq!(former_record(&ledger).unwrap().places, found.places);
        ledger.sends.send(second, &ours, b"lin").unwrap();
        assert_eq!(former_record(&ledger).unwrap().places, found.places, "not all of it");
        ledger.sends.send(second, &ours, b"e").unwrap();
        assert_eq!(former_record(&ledger).unwrap().places.files[0].end, 99_999);
        let blocks = rustix::fs::fstat(&ledger).unwrap().st_blocks * 512;
        assert!(blocks < 1 << 20, "{blocks} bytes");
        assert_eq!(ledger.all().files[0].end, 99_999);
    }

    #[test]
    fn invalid_ledger_is_ignored() {
        for content in [&b""[..], &[0; HEAD_BYTES], &[0xff; HEAD_BYTES], &[1; HEAD_BYTES]] {
            assert!(FormerRecord::read(ostler_sys::fd::memfd::with("test", content).unwrap()).is_none());
        }
        let mut torn = ledger();
        torn.sends.open(0).unwrap();
        torn.sends.set_word(LENGTHS[torn.counting], u64::MAX);
        assert!(former_record(&torn).is_none());
        torn.sends.set_word(LENGTHS[torn.counting], 3);
        assert!(former_record(&torn).is_none(), "it never began");
    }
}
