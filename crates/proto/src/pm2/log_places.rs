//! Places in log files: how far the subscribers of PM2's bus have read each log.
//!
//! The log reader writes packets to the daemon: complete frames of the bus, each with the place at
//! which its line ends, and changes of files. The daemon appends the same packets, without the
//! frames, to memory that outlives it. Each is preceded by the position in the stream of frames
//! from which it counts. If the daemon dies, the packets up to the position that every subscriber
//! has received are the delivered ones ([`LogPlaces::delivered`]).
//!
//! ```text
//! packet  kind (1 byte), file (4), number (8), length (4), then the content;
//!         numbers are little-endian
//! line    1, the file, offset of the line's end, the frame
//! file    2, the file, offset to read from, device (8), inode (8), time (8), path
//! gone    3, the file: it is no longer read
//! begun   4, 0, time from which on lines are read: all places are known
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

/// Size of a packet's header in bytes.
const HEAD_BYTES: usize = 17;
/// Maximum content; our reader never sends more.
const MAX_CONTENT_BYTES: usize = 32 << 20;
/// Size of a file's numbers in bytes, before its path.
const NUMBERS_BYTES: usize = 24;

/// Place in a log file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPlace {
    /// Path of the log. The file itself may have another name by now.
    pub path: String,
    /// Device of the file.
    pub dev: u64,
    /// Its inode.
    pub ino: u64,
    /// Number of bytes processed.
    pub end: u64,
    /// Time from which on the file counts as that log, in ms since the epoch. Files that were
    /// rotated before are not included.
    pub since_ms: u64,
}

/// Places in log files from which to read lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPlaces {
    /// The time, in ms since the epoch: a file created later is read from its start.
    pub at_ms: u64,
    /// The places. If several have the same path, the later one is the newer file.
    pub files: Vec<LogPlace>,
}

/// Memory through which the daemon passes places to the log reader. It first contains the places to
/// start at. Later, the daemon adds one for each file that an app is about to write to for the
/// first time.
///
/// ```text
/// 0     length of the first places (8 bytes, little-endian), then their JSON
/// MORE  for each later place: its JSON and a newline
/// ```
#[derive(Debug)]
pub struct ReaderInput {
    file: File,
    /// Position after the last complete line.
    end: u64,
}

/// Position of the places that are added later. The memory in between is never allocated.
const MORE_AT: u64 = 64 << 20;

impl ReaderInput {
    /// Wraps this memory as the input. Added places are read or written from the first one on.
    pub fn of(file: File) -> Self {
        Self { file, end: MORE_AT }
    }

    /// Writes the places to start at.
    ///
    /// # Errors
    /// Returns an error if memory is short, or if the places are too long.
    pub fn write(&self, places: &LogPlaces) -> io::Result<()> {
        let json = serde_json::to_vec(places)?;
        if json.len() as u64 + 8 > MORE_AT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.file.write_all_at(&json, 8)?;
        self.file.write_all_at(&(json.len() as u64).to_le_bytes(), 0)
    }

    /// Reads the places to start at.
    ///
    /// # Errors
    /// Returns an error if they cannot be read or do not exist.
    pub fn read(&self) -> io::Result<LogPlaces> {
        let mut length = [0; 8];
        self.file.read_exact_at(&mut length, 0)?;
        let length = u64::from_le_bytes(length);
        if length > MORE_AT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut json = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact_at(&mut json, 8)?;
        Ok(serde_json::from_slice(&json)?)
    }

    /// Appends a place.
    ///
    /// # Errors
    /// Returns an error if memory is short.
    pub fn push(&mut self, place: &LogPlace) -> io::Result<()> {
        let mut line = serde_json::to_vec(place)?;
        line.push(b'\n');
        self.file.write_all_at(&line, self.end)?;
        self.end += line.len() as u64;
        Ok(())
    }

    /// Takes the places that were appended since the last call.
    ///
    /// # Errors
    /// Returns an error if they cannot be read.
    pub fn more(&mut self) -> io::Result<Vec<LogPlace>> {
        let length = self.file.metadata()?.len().saturating_sub(self.end);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, self.end)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.end += whole as u64;
        let lines = bytes.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?)
    }
}

/// Packet from the log reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A line.
    Line {
        /// Number of its file.
        file: u32,
        /// Offset in the file at which the line ends.
        end: u64,
        /// The frame for subscribers.
        frame: &'a [u8],
    },
    /// A file is read from this place on.
    File {
        /// Number by which lines refer to it.
        file: u32,
        /// The place.
        place: LogPlace,
    },
    /// A file is no longer read.
    Gone {
        /// Its number.
        file: u32,
    },
    /// All start places are known.
    Started {
        /// The time from which on lines are read, in ms since the epoch.
        at_ms: u64,
    },
}

/// Reason why the rest of the packets cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// The announced length exceeds that of any line.
    #[error("packet of {0} bytes is too long")]
    TooLong(usize),
    /// The packet has an unknown kind, or invalid content for its kind.
    #[error("packet of kind {0} is malformed")]
    Malformed(u8),
}

impl Packet<'_> {
    /// Appends the packet in its wire format.
    pub fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Packet::Line { file, end, frame } => put(to, 1, *file, *end, &[frame]),
            Packet::File { file, place } => {
                let numbers = [place.dev, place.ino, place.since_ms].map(u64::to_le_bytes).concat();
                put(to, 2, *file, place.end, &[&numbers, place.path.as_bytes()]);
            }
            Packet::Gone { file } => put(to, 3, *file, 0, &[]),
            Packet::Started { at_ms } => put(to, 4, 0, *at_ms, &[]),
        }
    }

    /// Returns the packet at the start of these bytes and its length, or `None` if it is
    /// incomplete.
    ///
    /// # Errors
    /// On an error, the bytes after it cannot be read, either.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, PacketError> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let kind = head[0];
        let (file, number) = (u32_at(head, 1), u64_at(head, 5));
        let length = u32_at(head, 13) as usize;
        if length > MAX_CONTENT_BYTES {
            return Err(PacketError::TooLong(length));
        }
        let Some(content) = rest.get(..length) else { return Ok(None) };
        let packet = match kind {
            1 => Packet::Line { file, end: number, frame: content },
            2 => Packet::File { file, place: place(number, content).ok_or(PacketError::Malformed(kind))? },
            3 => Packet::Gone { file },
            4 => Packet::Started { at_ms: number },
            kind => return Err(PacketError::Malformed(kind)),
        };
        Ok(Some((packet, HEAD_BYTES + length)))
    }
}

fn put(to: &mut Vec<u8>, kind: u8, file: u32, number: u64, content: &[&[u8]]) {
    let length: usize = content.iter().map(|part| part.len()).sum();
    to.push(kind);
    to.extend_from_slice(&file.to_le_bytes());
    to.extend_from_slice(&number.to_le_bytes());
    to.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    content.iter().for_each(|part| to.extend_from_slice(part));
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn place(end: u64, content: &[u8]) -> Option<LogPlace> {
    let (numbers, path) = content.split_at_checked(NUMBERS_BYTES)?;
    let path = std::str::from_utf8(path).ok().filter(|path| path.starts_with('/') && !path.contains('\0'))?.to_owned();
    Some(LogPlace { path, dev: u64_at(numbers, 0), ino: u64_at(numbers, 8), end, since_ms: u64_at(numbers, 16) })
}

/// Account of delivered log lines: places that all subscribers have passed, and packets that count
/// from later positions in the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogAccount {
    at_ms: u64,
    places: BTreeMap<u32, LogPlace>,
    later: VecDeque<(u64, Packet<'static>)>,
}

impl LogAccount {
    /// Records a packet that counts from a position in the stream of frames. Appends its entry to
    /// `copy`, the copy of the account.
    pub fn note(&mut self, position: u64, packet: &Packet<'_>, copy: &mut Vec<u8>) {
        let packet = match packet {
            Packet::Line { file, end, .. } => Packet::Line { file: *file, end: *end, frame: &[] },
            Packet::File { file, place } => Packet::File { file: *file, place: place.clone() },
            Packet::Gone { file } => Packet::Gone { file: *file },
            Packet::Started { at_ms } => Packet::Started { at_ms: *at_ms },
        };
        put_entry(copy, position, &packet);
        self.later.push_back((position, packet));
    }

    /// Applies the packets that count now that all subscribers have received `delivered` bytes of
    /// the stream.
    pub fn settle(&mut self, delivered: u64) {
        while self.later.front().is_some_and(|(position, _)| *position <= delivered)
            && let Some((_, packet)) = self.later.pop_front()
        {
            self.take(packet);
        }
    }

    fn take(&mut self, packet: Packet<'_>) {
        match packet {
            Packet::Line { file, end, .. } => {
                if let Some(place) = self.places.get_mut(&file) {
                    place.end = end;
                }
            }
            Packet::File { file, place } => _ = self.places.insert(file, place),
            Packet::Gone { file } => _ = self.places.remove(&file),
            Packet::Started { at_ms } => self.at_ms = at_ms,
        }
    }

    /// Returns a fresh, minimal copy.
    pub fn copy(&self) -> Vec<u8> {
        let mut copy = Vec::new();
        put_entry(&mut copy, 0, &Packet::Started { at_ms: self.at_ms });
        for (file, place) in &self.places {
            put_entry(&mut copy, 0, &Packet::File { file: *file, place: place.clone() });
        }
        self.later.iter().for_each(|(position, packet)| put_entry(&mut copy, *position, packet));
        copy
    }

    /// Returns the places after all recorded packets, delivered or not.
    pub fn all(mut self) -> LogPlaces {
        self.settle(u64::MAX);
        LogPlaces { at_ms: self.at_ms, files: self.places.into_values().collect() }
    }
}

fn put_entry(copy: &mut Vec<u8>, position: u64, packet: &Packet<'_>) {
    copy.extend_from_slice(&position.to_le_bytes());
    packet.encode(copy);
}

impl LogPlaces {
    /// Returns the places after `delivered` bytes of the stream, from a copy of the account. It
    /// stops at unreadable data. Returns `None` if the account never started.
    pub fn delivered(mut copy: &[u8], delivered: u64) -> Option<Self> {
        let (mut account, mut has_begun) = (LogAccount::default(), false);
        while let Some((position, rest)) = copy.split_first_chunk::<8>()
            && let Ok(Some((packet, length))) = Packet::decode(rest)
            && u64::from_le_bytes(*position) <= delivered
        {
            has_begun |= matches!(packet, Packet::Started { .. });
            account.take(packet);
            copy = rest.get(length..).unwrap_or_default();
        }
        has_begun.then(|| account.all())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn place(path: &str, ino: u64, end: u64) -> LogPlace {
        LogPlace { path: path.into(), dev: 7, ino, end, since_ms: 5 }
    }

    fn ends(places: &LogPlaces) -> Vec<(u64, u64)> {
        places.files.iter().map(|place| (place.ino, place.end)).collect()
    }

    #[test]
    fn reader_gets_first_places_and_each_later_place_once() {
        let path = std::env::temp_dir().join(format!("ostler-reader-input-{}", std::process::id()));
        let open = || std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
        let (mut daemon, mut reader) = (ReaderInput::of(open()), ReaderInput::of(open()));
        assert!(reader.read().is_err());
        let first = LogPlaces { at_ms: 3, files: vec![place("/l/a", 1, 10)] };
        daemon.write(&first).unwrap();
        assert_eq!((reader.read().unwrap(), reader.more().unwrap()), (first, vec![]));
        daemon.push(&place("/l/b", 2, 20)).unwrap();
        daemon.push(&place("/l/c\n", 3, 30)).unwrap();
        assert_eq!(reader.more().unwrap(), [place("/l/b", 2, 20), place("/l/c\n", 3, 30)]);
        daemon.push(&place("/l/d", 0, 0)).unwrap();
        assert_eq!((reader.more().unwrap(), reader.more().unwrap()), (vec![place("/l/d", 0, 0)], vec![]));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn packets_round_trip_and_need_all_their_bytes() {
        let packets = [
            Packet::File { file: 3, place: place("/l/a.log", 9, 1 << 40) },
            Packet::Started { at_ms: 12 },
            Packet::Line { file: 3, end: 1 << 41, frame: b"frame" },
            Packet::Gone { file: 3 },
        ];
        for packet in packets {
            let mut bytes = Vec::new();
            packet.encode(&mut bytes);
            for cut in 0..bytes.len() {
                assert_eq!(Packet::decode(&bytes[..cut]), Ok(None));
            }
            bytes.push(1);
            assert_eq!(Packet::decode(&bytes), Ok(Some((packet, bytes.len() - 1))));
        }
    }

    #[test]
    fn malformed_packet_is_an_error() {
        let packet = |kind: u8, content: &[u8]| {
            let mut bytes = Vec::new();
            put(&mut bytes, kind, 0, 0, &[content]);
            Packet::decode(&bytes).map(|found| found.is_some())
        };
        let numbers = [0; NUMBERS_BYTES];
        for (kind, content) in [
            (0, vec![]),
            (5, vec![]),
            (2, vec![0; 23]),
            (2, numbers.to_vec()),
            (2, [&numbers[..], b"x"].concat()),
            (2, [&numbers[..], b"/\xff"].concat()),
            (2, [&numbers[..], b"/a\0"].concat()),
        ] {
            assert_eq!(packet(kind, &content), Err(PacketError::Malformed(kind)), "{content:?}");
        }
        let mut long = [1; HEAD_BYTES];
        long[13..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Packet::decode(&long), Err(PacketError::TooLong(u32::MAX as usize)));
    }

    #[test]
    fn only_delivered_packets_count() {
        let (mut account, mut copy) = (LogAccount::default(), Vec::new());
        let line = |file, end| Packet::Line { file, end, frame: b"not kept" };
        for (position, packet) in [
            (0, Packet::File { file: 0, place: place("/l/a", 1, 10) }),
            (0, Packet::Started { at_ms: 4 }),
            (100, line(0, 20)),
            (200, Packet::File { file: 1, place: place("/l/b", 2, 0) }),
            (300, line(1, 5)),
            (300, line(9, 5)),
            (400, line(0, 30)),
            (400, Packet::Gone { file: 0 }),
        ] {
            account.note(position, &packet, &mut copy);
        }
        for (delivered, expected) in [
            (0, vec![(1, 10)]),
            (99, vec![(1, 10)]),
            (100, vec![(1, 20)]),
            (299, vec![(1, 20), (2, 0)]),
            (399, vec![(1, 20), (2, 5)]),
            (400, vec![(2, 5)]),
        ] {
            assert_eq!(ends(&LogPlaces::delivered(&copy, delivered).unwrap()), expected, "{delivered}");
            account.settle(delivered);
            assert_eq!(ends(&LogPlaces::delivered(&account.copy(), delivered).unwrap()), expected, "{delivered}, anew");
        }
        assert_eq!(LogPlaces::delivered(&copy, 0).unwrap().at_ms, 4);
        assert_eq!(account.all(), LogPlaces { at_ms: 4, files: vec![place("/l/b", 2, 5)] });
        assert_eq!(LogPlaces::delivered(&[], 9), None);
    }

    proptest! {
        #[test]
        fn decoding_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), delivered in any::<u64>()) {
            let _ = Packet::decode(&bytes);
            let _ = LogPlaces::delivered(&bytes, delivered);
        }

        #[test]
        fn torn_copy_equals_an_earlier_state(
            facts in prop::collection::vec((0..4_u32, 0..1000_u64, any::<bool>()), 0..30), cut in 0..2000_usize, settled in 0..400_u64,
        ) {
            let mut account = LogAccount::default();
            let mut copy = Vec::new();
            account.note(0, &Packet::Started { at_ms: 1 }, &mut copy);
            let mut lengths = vec![copy.len()];
            let mut states = vec![account.clone().all()];
            for (position, (file, end, opens)) in (1..).zip(facts) {
                let packet = if opens { Packet::File { file, place: place("/x", file.into(), end) } } else { Packet::Line { file, end, frame: b"" } };
                account.note(position * 10, &packet, &mut copy);
                lengths.push(copy.len());
                states.push(account.clone().all());
            }
            let whole = lengths.iter().filter(|length| **length <= cut).count();
            let found = LogPlaces::delivered(&copy[..cut.min(copy.len())], u64::MAX);
            prop_assert_eq!(found.as_ref(), whole.checked_sub(1).map(|index| &states[index]));
            // An account that was settled and then copied gives the same result.
            account.settle(settled);
            for delivered in settled..400 {
                prop_assert_eq!(LogPlaces::delivered(&account.copy(), delivered), LogPlaces::delivered(&copy, delivered));
            }
        }
    }
}
