//! Journal of a tier: appended points that are not in a block yet.
//!
//! A journal belongs to the block that its points will become. Once that block exists, the journal
//! is obsolete, whenever the process was killed.

use std::io;

use crate::disk::Disk;
use crate::files::{self, HEAD, HeadCheck};
use crate::notice::Notice;
use crate::tier;
use crate::varint::{put, take};

/// Marks the head of a journal; combined with the number of the tier.
const KIND: u16 = 0x100;
/// Length of the head including the block number.
const WHOLE: u64 = HEAD + 12;
/// Maximum number of bytes that are read from a journal.
const MOST: usize = 64 << 20;

/// Journal file.
#[derive(Debug)]
pub(crate) struct Journal {
    name: String,
    kind: u16,
    /// Number of the block that its points will become.
    block: u64,
    /// Number of intact bytes; 0 = the file has no head yet.
    pub(crate) length: u64,
}

/// Contents of a journal.
#[derive(Debug, Default)]
pub(crate) struct JournalContents {
    /// Number of the block that its points will become.
    pub(crate) block: u64,
    /// Recorded seconds.
    pub(crate) span: u64,
    pub(crate) next_series: u32,
    /// Series with their appended bytes, in the order of writing.
    pub(crate) parts: Vec<(u32, Vec<u8>)>,
}

impl Journal {
    /// Loads the journal of a tier and its contents.
    pub(crate) fn load(
        disk: &mut impl Disk,
        number: usize,
        is_writer: bool,
        notices: &mut Vec<Notice>,
    ) -> io::Result<(Self, Option<JournalContents>)> {
        let kind = KIND | u16::try_from(number).unwrap_or(0);
        let mut journal = Self { name: format!("{}.journal", tier::of(number).name), kind, block: 0, length: 0 };
        let bytes = match disk.read(&journal.name, 0, MOST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((journal, None)),
            bytes => bytes?,
        };
        let why = match files::check(&bytes, kind) {
            HeadCheck::Newer => Some("was written by a newer version"),
            HeadCheck::Valid if parse(&bytes).is_some() => None,
            // The head is incomplete, so the journal was still empty.
            _ if bytes.len() as u64 <= WHOLE => return Ok((journal, None)),
            _ => Some("has a damaged header"),
        };
        if let Some(why) = why {
            if is_writer {
                files::set_aside(disk, &journal.name, why, notices);
            }
            return Ok((journal, None));
        }
        let Some((told, length)) = parse(&bytes) else { return Ok((journal, None)) };
        (journal.block, journal.length) = (told.block, length);
        if length < bytes.len() as u64 && is_writer {
            files::set_tail_aside(disk, &journal.name, length, "has a damaged or unfinished entry", notices);
        }
        Ok((journal, Some(told)))
    }

    /// Appends the new points of series. If the journal belongs to another block, it is started
    /// again.
    pub(crate) fn append<'a>(
        &mut self,
        disk: &mut impl Disk,
        told: &JournalContents,
        parts: impl Iterator<Item = (u32, &'a [u8])>,
    ) -> io::Result<()> {
        let mut payload = Vec::new();
        put(&mut payload, u64::from(told.next_series));
        put(&mut payload, told.span);
        for (series, bytes) in parts {
            put(&mut payload, u64::from(series));
            put(&mut payload, bytes.len() as u64);
            payload.extend_from_slice(bytes);
        }
        let is_new = self.length == 0 || self.block != told.block;
        let mut bytes = if is_new { self.head(told.block) } else { Vec::new() };
        bytes.extend(u32::try_from(payload.len()).map_err(io::Error::other)?.to_le_bytes());
        bytes.extend(crc32fast::hash(&payload).to_le_bytes());
        bytes.extend(payload);
        let at = if is_new { 0 } else { self.length };
        if is_new && self.length > 0 {
            // Truncated first, because old entries must not follow new ones.
            disk.cut(&self.name, 0)?;
            self.length = 0;
        }
        if let Err(error) = disk.write(&self.name, at, &bytes) {
            // Cuts off the incomplete entry. If that fails, the next write overwrites it.
            let _ = disk.cut(&self.name, at);
            return Err(error);
        }
        (self.block, self.length) = (told.block, at + bytes.len() as u64);
        Ok(())
    }

    fn head(&self, block: u64) -> Vec<u8> {
        let mut bytes = files::head(self.kind);
        bytes.extend(block.to_le_bytes());
        bytes.extend(crc32fast::hash(&block.to_le_bytes()).to_le_bytes());
        bytes
    }
}

/// Parses a journal up to the first damaged entry. Returns also the offset at which that entry
/// begins.
fn parse(bytes: &[u8]) -> Option<(JournalContents, u64)> {
    let mut rest = bytes.get(usize::try_from(HEAD).ok()?..)?;
    let (block, after) = rest.split_first_chunk::<8>()?;
    let (sum, after) = after.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*sum) != crc32fast::hash(block) {
        return None;
    }
    rest = after;
    let mut contents = JournalContents { block: u64::from_le_bytes(*block), ..JournalContents::default() };
    while let Some((payload, after)) = entry(rest) {
        let Some(()) = take_entry(payload, &mut contents) else { break };
        rest = after;
    }
    Some((contents, (bytes.len() - rest.len()) as u64))
}

fn entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let (payload, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    (crc32fast::hash(payload) == u32::from_le_bytes(*sum)).then_some((payload, rest))
}

fn take_entry(mut payload: &[u8], told: &mut JournalContents) -> Option<()> {
    let next_series = u32::try_from(take(&mut payload)?).ok()?;
    let span = take(&mut payload)?;
    let mut parts = Vec::new();
    while !payload.is_empty() {
        let series = u32::try_from(take(&mut payload)?).ok()?;
        let length = usize::try_from(take(&mut payload)?).ok()?;
        let (bytes, rest) = payload.split_at_checked(length)?;
        parts.push((series, bytes.to_vec()));
        payload = rest;
    }
    (told.next_series, told.span) = (next_series, span);
    told.parts.append(&mut parts);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_disk::FakeDisk;

    fn told(block: u64, span: u64) -> JournalContents {
        JournalContents { block, span, next_series: 3, parts: Vec::new() }
    }

    fn load(disk: &mut FakeDisk, notices: &mut Vec<Notice>) -> (Journal, Option<JournalContents>) {
        Journal::load(disk, 1, true, notices).unwrap()
    }

    #[test]
    fn load_returns_whole_entries_of_the_last_block() {
        let (mut disk, mut notices) = (FakeDisk::default(), Vec::new());
        let (mut journal, nothing) = load(&mut disk, &mut notices);
        assert!(nothing.is_none());
        let parts = |list: &'static [(u32, &'static [u8])]| list.iter().copied();
        journal.append(&mut disk, &told(7, 60), parts(&[(1, b"ab"), (2, b"c")])).unwrap();
        journal.append(&mut disk, &told(7, 120), parts(&[(1, b"d")])).unwrap();
        let whole = disk.length("10s.journal");
        let (_, found) = load(&mut disk, &mut notices);
        let found = found.unwrap();
        assert_eq!((found.block, found.span, found.parts.len(), notices.len()), (7, 120, 3, 0));
        // Torn at each possible place: everything before it is kept.
        for length in 0..whole {
            let mut torn = disk.clone();
            torn.cut("10s.journal", length).unwrap();
            let (mut again, found) = load(&mut torn, &mut notices);
            assert!(found.as_ref().is_none_or(|found| found.parts.len() <= 2), "{length}");
            again.append(&mut torn, &told(7, 180), parts(&[(9, b"x")])).unwrap();
            let (_, found) = load(&mut torn, &mut notices);
            assert_eq!(found.unwrap().parts.last().unwrap().0, 9, "{length}");
        }
        // Another block: the earlier contents are gone.
        journal.append(&mut disk, &told(8, 10), parts(&[(5, b"e")])).unwrap();
        let found = load(&mut disk, &mut notices).1.unwrap();
        assert_eq!((found.block, found.parts), (8, vec![(5, b"e".to_vec())]));
    }

    proptest::proptest! {
        #[test]
        fn parse_never_panics_on_arbitrary_bytes(bytes: Vec<u8>) {
            let _ = parse(&bytes);
            let mut all = files::head(KIND);
            all.extend(&bytes);
            let _ = parse(&all);
            let _ = take_entry(&bytes, &mut JournalContents::default());
        }
    }
}
