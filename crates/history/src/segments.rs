//! Segment files of one tier: a sequence of blocks each.

use std::io;

use crate::block::{self, ChunkAt, HEADER, Header};
use crate::disk::Disk;
use crate::files::{self, HEAD, HeadCheck};
use crate::notice::Notice;
use crate::point::Point;
use crate::tier;

/// Maximum number of blocks in a segment; a clock that jumps creates short blocks.
const MOST_BLOCKS: usize = 2048;

/// Block and its offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlacedBlock {
    pub(crate) header: Header,
    pub(crate) at: u64,
}

/// Segment file.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Number of the segment; later segments have larger numbers.
    pub(crate) number: u64,
    pub(crate) blocks: Vec<PlacedBlock>,
    /// Number of intact bytes.
    pub(crate) length: u64,
}

/// All segments of a tier, the oldest first.
#[derive(Debug)]
pub(crate) struct Segments {
    tier: usize,
    pub(crate) list: Vec<Segment>,
}

impl Segment {
    /// Returns the recorded seconds.
    pub(crate) fn span(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.header.span)).sum()
    }
}

impl Segments {
    /// Loads the existing files.
    pub(crate) fn load(disk: &mut impl Disk, tier: usize, is_writer: bool, notices: &mut Vec<Notice>) -> io::Result<Self> {
        let mut all = Self { tier, list: Vec::new() };
        let mut files: Vec<(u64, u64)> = disk.list()?.iter().filter_map(|(name, size)| Some((all.number(name)?, *size))).collect();
        files.sort_unstable();
        for (number, size) in files {
            if let Some(segment) = all.open(disk, number, size, is_writer, notices) {
                all.list.push(segment);
            }
        }
        Ok(all)
    }

    fn open(&self, disk: &mut impl Disk, number: u64, size: u64, is_writer: bool, notices: &mut Vec<Notice>) -> Option<Segment> {
        let name = self.name(number);
        let Ok(head) = disk.read(&name, 0, 16) else { return None };
        let why = match files::check(&head, self.kind()) {
            HeadCheck::Valid => None,
            HeadCheck::Newer => Some("was written by a newer version"),
            HeadCheck::Damaged => Some("has a damaged header"),
        };
        if let Some(why) = why {
            if is_writer {
                files::set_aside(disk, &name, why, notices);
            }
            return None;
        }
        let mut segment = Segment { number, blocks: Vec::new(), length: HEAD };
        while segment.length < size && segment.blocks.len() < MOST_BLOCKS {
            let header = disk.read(&name, segment.length, HEADER).ok().and_then(|bytes| Header::parse(&bytes));
            let Some(header) = header.filter(|header| segment.length + header.length() <= size) else { break };
            segment.blocks.push(PlacedBlock { header, at: segment.length });
            segment.length += header.length();
        }
        if segment.length < size && is_writer {
            files::set_tail_aside(disk, &name, segment.length, "has a damaged or unfinished block", notices);
        }
        Some(segment)
    }

    fn kind(&self) -> u16 {
        u16::try_from(self.tier).unwrap_or(u16::MAX)
    }

    /// Returns the file name for this number.
    pub(crate) fn name(&self, number: u64) -> String {
        format!("{}-{number:08}.seg", tier::of(self.tier).name)
    }

    fn number(&self, name: &str) -> Option<u64> {
        let number = name.strip_prefix(tier::of(self.tier).name)?.strip_prefix('-')?.strip_suffix(".seg")?.parse().ok()?;
        (self.name(number) == name).then_some(number)
    }

    /// Returns the number of the next block.
    pub(crate) fn next_block(&self) -> u64 {
        self.blocks().map(|(_, block)| block.header.number + 1).max().unwrap_or(1)
    }

    /// Returns the last segment of the finer tier that was rolled up into this tier; none = no
    /// segment yet.
    pub(crate) fn source_segment(&self) -> Option<u64> {
        self.blocks().filter_map(|(_, block)| block.header.source.checked_sub(1)).max()
    }

    /// Returns the first series number that has no points here.
    pub(crate) fn next_series(&self) -> u32 {
        self.blocks().map(|(_, block)| block.header.next_series).max().unwrap_or(0)
    }

    /// Returns all blocks with the numbers of their segments.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (u64, &PlacedBlock)> {
        self.list.iter().flat_map(|segment| segment.blocks.iter().map(|block| (segment.number, block)))
    }

    /// Returns the total size of all files in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.list.iter().map(|segment| segment.length).sum()
    }

    pub(crate) fn is_full(&self, segment: &Segment) -> bool {
        segment.span() >= tier::of(self.tier).segment || segment.blocks.len() >= MOST_BLOCKS
    }

    /// Appends a block. If the segment is full, a new one begins and the oldest ones are removed.
    pub(crate) fn append(&mut self, disk: &mut impl Disk, bytes: &[u8]) -> io::Result<()> {
        let header = Header::parse(bytes).ok_or_else(|| io::Error::other("no block"))?;
        let is_new = self.list.last().is_none_or(|newest| self.is_full(newest));
        let number = match self.list.last() {
            Some(newest) if !is_new => newest.number,
            newest => newest.map_or(1, |newest| newest.number + 1),
        };
        let name = self.name(number);
        let at = if is_new { HEAD } else { self.list.last().map_or(HEAD, |newest| newest.length) };
        let written =
            if is_new { disk.write(&name, 0, &[&files::head(self.kind())[..], bytes].concat()) } else { disk.write(&name, at, bytes) };
        if let Err(error) = written.and_then(|()| disk.sync(&name)) {
            let _ = if is_new { disk.remove(&name) } else { disk.cut(&name, at) };
            return Err(error);
        }
        if is_new {
            self.list.push(Segment { number, blocks: Vec::new(), length: HEAD });
        }
        if let Some(newest) = self.list.last_mut() {
            newest.blocks.push(PlacedBlock { header, at });
            newest.length = at + header.length();
        }
        // Plus one for the segment that still grows.
        while self.list.len() > tier::of(self.tier).full + 1 && self.drop_oldest(disk) {}
        Ok(())
    }

    /// Removes the oldest file. Returns false if only the newest file is left or the removal fails.
    pub(crate) fn drop_oldest(&mut self, disk: &mut impl Disk) -> bool {
        if self.list.len() < 2 {
            return false;
        }
        let name = self.list.first().map(|oldest| self.name(oldest.number));
        let gone = name.is_some_and(|name| match disk.remove(&name) {
            Err(error) => error.kind() == io::ErrorKind::NotFound,
            Ok(()) => true,
        });
        if gone {
            self.list.remove(0);
        }
        gone
    }

    /// Returns the chunks of a block. Returns `None` if its index is damaged or the file is gone.
    pub(crate) fn chunks(&self, disk: &impl Disk, segment: u64, block: &PlacedBlock) -> Option<Vec<ChunkAt>> {
        let index = disk.read(&self.name(segment), block.at + HEADER as u64, block.header.index as usize).ok()?;
        block::chunks(&block.header, &index)
    }

    /// Returns the points of a chunk. Returns `None` if it is damaged or the file is gone.
    pub(crate) fn points(&self, disk: &impl Disk, segment: u64, block: &PlacedBlock, chunk: &ChunkAt) -> Option<Vec<Point>> {
        let bytes = disk.read(&self.name(segment), block.at + chunk.at, chunk.length).ok()?;
        block::points(&block.header, &bytes)
    }
}
