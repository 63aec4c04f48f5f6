//! Record of how far subscribers are with lines of logs, in memory that the keeper holds: the next daemon goes on where this one was killed.
//!
//! All subscribers get one stream of frames. What each has got of it is counted with the sending itself ([`CountedSends`]); what lines that means is in a
//! copy of the account behind the counts. There is room for two copies, and a word says which one counts: one is written anew while the other holds.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use ostler_proto::pm2::{LogAccount, LogPlaces, Packet};
use ostler_sys::fd::counted::{CountedSends, HEAD_BYTES, counts_of, word_of};
use rustix::fs::FallocateFlags;

/// Name under which the keeper holds it.
pub(super) const HELD: &str = "pm2-lines";
/// Words of the memory: which form it has, which copy counts, and the lengths of both.
const FORM: usize = 0;
const COUNTING: usize = 1;
const LENGTHS: [usize; 2] = [2, 3];
/// The form of what is written here.
const THIS_FORM: u64 = 0x6f73_746c_6e73_0001;
/// Where the copies are.
const COPIES_AT: [u64; 2] = [1 << 20, 9 << 20];
/// Longest copy: twenty thousand logs.
const MAX_COPY_BYTES: u64 = 8 << 20;
/// Bytes by which a copy grows before it is written anew.
const GROWTH_BYTES: u64 = 256 << 10;

/// The record.
#[derive(Debug)]
pub(super) struct Ledger {
    pub sends: CountedSends,
    account: LogAccount,
    counting: usize,
    length: u64,
    /// Length at which it is written anew.
    anew_at: u64,
}

impl Ledger {
    /// A new one of an account.
    pub(super) fn new(account: LogAccount) -> io::Result<Self> {
        let sends = CountedSends::create("ostler-pm2-lines")?;
        let mut ledger = Self { sends, account, counting: 1, length: 0, anew_at: 0 };
        ledger.write_anew()?;
        ledger.sends.set_word(FORM, THIS_FORM);
        Ok(ledger)
    }

    fn write_anew(&mut self) -> io::Result<()> {
        let copy = self.account.copy();
        let other = 1 - self.counting;
        if copy.len() as u64 > MAX_COPY_BYTES - 2 * GROWTH_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.sends.file().write_all_at(&copy, COPIES_AT[other])?;
        self.sends.set_word(LENGTHS[other], copy.len() as u64);
        self.sends.set_word(COUNTING, other as u64);
        // Memory is given back; where that is not possible it is used again.
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = rustix::fs::fallocate(self.sends.file(), flags, COPIES_AT[self.counting], MAX_COPY_BYTES);
        (self.counting, self.length, self.anew_at) = (other, copy.len() as u64, copy.len() as u64 + GROWTH_BYTES);
        Ok(())
    }

    /// Notes packets, each with the position in the stream from which on it counts, before anything of it is sent. `delivered`: what everybody has got.
    pub(super) fn note(&mut self, packets: &[(u64, Packet<'_>)], delivered: u64) -> io::Result<()> {
        let mut copy = Vec::new();
        packets.iter().for_each(|(position, packet)| self.account.note(*position, packet, &mut copy));
        self.account.settle(delivered);
        if self.length + copy.len() as u64 > self.anew_at {
            return self.write_anew();
        }
        self.sends.file().write_all_at(&copy, COPIES_AT[self.counting] + self.length)?;
        self.length += copy.len() as u64;
        self.sends.set_word(LENGTHS[self.counting], self.length);
        Ok(())
    }

    /// The places after everything that was read.
    pub(super) fn all(&self) -> LogPlaces {
        self.account.clone().all()
    }
}

impl AsFd for Ledger {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sends.as_fd()
    }
}

/// What a former daemon has left: it was killed, or replaced, while somebody subscribed.
#[derive(Debug)]
pub(super) struct Left {
    /// Its memory: should we be killed, too, the next one needs it.
    pub memory: OwnedFd,
    /// What everybody has got.
    pub places: LogPlaces,
    /// The number of subscribers.
    pub subscribers: usize,
}

impl Left {
    /// Reads it; none where nobody was there, or it has another form.
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
        account.note(0, &Packet::Begun { at_ms: 7 }, &mut Vec::new());
        Ledger::new(account).unwrap()
    }

    fn left(ledger: &Ledger) -> Option<Left> {
        Left::read(ledger.as_fd().try_clone_to_owned().unwrap())
    }

    #[test]
    fn the_next_daemon_finds_what_everybody_has_got() {
        let mut ledger = ledger();
        assert!(left(&ledger).is_none(), "nobody is there");
        let (first, second) = (ledger.sends.open(0).unwrap(), ledger.sends.open(0).unwrap());
        let (ours, _theirs) = UnixStream::pair().unwrap();
        // Often enough for the copy to be written anew several times.
        let (mut stream, mut ends) = (0, [0_u64; 3]);
        for round in 0..40_000_u64 {
            let file = (round % 3) as usize;
            stream += 10;
            ends[file] = round;
            let delivered = stream - 10;
            ledger.note(&[(stream, Packet::Line { file: file as u32, end: round, frame: b"" })], delivered).unwrap();
            for slot in [first, second] {
                // As if it was sent.
                ledger.sends.close(slot);
                assert_eq!(ledger.sends.open(stream), Some(slot));
            }
        }
        let found = left(&ledger).unwrap();
        let places: Vec<u64> = found.places.files.iter().map(|place| place.end).collect();
        assert_eq!((places, found.subscribers, found.places.at_ms), (ends.to_vec(), 2, 7));
        // One of them gets no more.
        ledger.note(&[(stream + 4, Packet::Line { file: 0, end: 99_999, frame: b"" })], stream).unwrap();
        ledger.sends.send(first, &ours, b"line").unwrap();
        assert_eq!(left(&ledger).unwrap().places, found.places);
        ledger.sends.send(second, &ours, b"lin").unwrap();
        assert_eq!(left(&ledger).unwrap().places, found.places, "not all of it");
        ledger.sends.send(second, &ours, b"e").unwrap();
        assert_eq!(left(&ledger).unwrap().places.files[0].end, 99_999);
        let blocks = rustix::fs::fstat(&ledger).unwrap().st_blocks * 512;
        assert!(blocks < 1 << 20, "{blocks} bytes");
        assert_eq!(ledger.all().files[0].end, 99_999);
    }

    #[test]
    fn what_is_no_ledger_is_nothing() {
        for content in [&b""[..], &[0; HEAD_BYTES], &[0xff; HEAD_BYTES], &[1; HEAD_BYTES]] {
            assert!(Left::read(ostler_sys::fd::memfd::with("test", content).unwrap()).is_none());
        }
        let mut torn = ledger();
        torn.sends.open(0).unwrap();
        torn.sends.set_word(LENGTHS[torn.counting], u64::MAX);
        assert!(left(&torn).is_none());
        torn.sends.set_word(LENGTHS[torn.counting], 3);
        assert!(left(&torn).is_none(), "it never began");
    }
}
