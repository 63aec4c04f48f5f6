//! Blocks: the points of many series in one time range, with checksums. Pure.
//!
//! ```text
//! header 64   magic, lengths, number, first and last slot, recorded seconds, source,
//!             checksums of header and index
//! index       for each chunk: series (difference to the one before), length
//! chunks      packed points, a checksum each
//! ```

use crate::packed;
use crate::point::Point;
use crate::varint::{put, take};

/// Length of a header.
pub(crate) const HEADER: usize = 64;
const MAGIC: u32 = u32::from_le_bytes(*b"BLK1");
/// Maximum size of a block after its header, in bytes.
const MOST_BODY: u32 = 32 << 20;
/// Maximum number of chunks.
const MOST_CHUNKS: u32 = 1 << 16;

/// Header of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) body: u32,
    pub(crate) index: u32,
    pub(crate) chunks: u32,
    /// Number of the block in its tier.
    pub(crate) number: u64,
    /// First and last slot.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Recorded seconds.
    pub(crate) span: u32,
    /// Number that the next new series had when the block was written. The block has no points of
    /// that series or later ones.
    pub(crate) next_series: u32,
    /// Segment of the finer tier that the block was made from, plus one; 0 = none.
    pub(crate) source: u64,
    pub(crate) index_sum: u32,
}

/// Description of a block, without its points.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BlockInfo {
    pub(crate) number: u64,
    pub(crate) span: u32,
    pub(crate) next_series: u32,
    pub(crate) source: u64,
}

/// Block under construction, series by series.
#[derive(Debug)]
pub(crate) struct Builder {
    /// Slot that is not after any point.
    from: u64,
    to: u64,
    index: Vec<u8>,
    body: Vec<u8>,
    chunks: u32,
    /// Last series that was added.
    last: u32,
}

impl Builder {
    /// Returns a block without points. No point may be before this slot.
    pub(crate) fn new(from: u64) -> Self {
        Self { from, to: from, index: Vec::new(), body: Vec::new(), chunks: 0, last: 0 }
    }

    /// Adds a series. Series numbers must rise from call to call, and the slots must rise from
    /// point to point.
    pub(crate) fn add(&mut self, series: u32, points: &[Point]) {
        for part in points.chunks(packed::MOST_POINTS) {
            let begin = self.body.len();
            packed::pack(part, self.from, &mut self.body);
            let sum = crc32fast::hash(self.body.get(begin..).unwrap_or_default());
            self.body.extend(sum.to_le_bytes());
            put(&mut self.index, u64::from(series - self.last));
            put(&mut self.index, (self.body.len() - begin) as u64);
            self.last = series;
            self.chunks += 1;
        }
        self.to = self.to.max(points.last().map_or(0, |point| point.slot));
    }

    /// Returns a block that names its source but has no points, because its source was completely
    /// damaged.
    pub(crate) fn empty(at: u64, about: BlockInfo) -> Vec<u8> {
        let BlockInfo { number, span, next_series, source } = about;
        let (body, index, chunks, index_sum) = (0, 0, 0, crc32fast::hash(&[]));
        Header { body, index, chunks, number, from: at, to: at, span, next_series, source, index_sum }.bytes()
    }

    /// Returns the bytes of the block. Returns `None` if there are no points or too many.
    pub(crate) fn finish(self, about: BlockInfo) -> Option<Vec<u8>> {
        if self.chunks == 0 {
            return None;
        }
        let header = Header {
            body: u32::try_from(self.index.len() + self.body.len()).ok().filter(|length| *length <= MOST_BODY)?,
            index: u32::try_from(self.index.len()).ok()?,
            chunks: Some(self.chunks).filter(|count| *count <= MOST_CHUNKS)?,
            number: about.number,
            from: self.from,
            to: self.to,
            span: about.span,
            next_series: about.next_series,
            source: about.source,
            index_sum: crc32fast::hash(&self.index),
        };
        Some([&header.bytes()[..], &self.index, &self.body].concat())
    }
}

impl Header {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER);
        for word in [MAGIC, self.body, self.index, self.chunks] {
            bytes.extend(word.to_le_bytes());
        }
        for word in [self.number, self.from, self.to] {
            bytes.extend(word.to_le_bytes());
        }
        for word in [self.span, self.next_series] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.source.to_le_bytes());
        bytes.extend(self.index_sum.to_le_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// Parses a header at the front of these bytes. Returns `None` if it is invalid.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        let short = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let long = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let is_whole = short(0)? == MAGIC && short(60)? == crc32fast::hash(bytes.get(..60)?);
        let header = Self {
            body: short(4)?,
            index: short(8)?,
            chunks: short(12)?,
            number: long(16)?,
            from: long(24)?,
            to: long(32)?,
            span: short(40)?,
            next_series: short(44)?,
            source: long(48)?,
            index_sum: short(56)?,
        };
        let makes_sense =
            header.body <= MOST_BODY && header.index <= header.body && header.chunks <= MOST_CHUNKS && header.from <= header.to;
        (is_whole && makes_sense).then_some(header)
    }

    /// Returns the length of the whole block.
    pub(crate) fn length(&self) -> u64 {
        HEADER as u64 + u64::from(self.body)
    }
}

/// Position of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkAt {
    pub(crate) series: u32,
    /// Offset from the start of the block.
    pub(crate) at: u64,
    pub(crate) length: usize,
}

/// Returns the chunks of an index. Returns `None` if the index is damaged.
pub(crate) fn chunks(header: &Header, index: &[u8]) -> Option<Vec<ChunkAt>> {
    if crc32fast::hash(index) != header.index_sum {
        return None;
    }
    let (mut rest, mut series, mut at) = (index, 0u32, HEADER as u64 + u64::from(header.index));
    let mut list = Vec::new();
    for _ in 0..header.chunks {
        series = series.checked_add(u32::try_from(take(&mut rest)?).ok()?)?;
        let length = take(&mut rest)?;
        list.push(ChunkAt { series, at, length: usize::try_from(length).ok()? });
        at = at.checked_add(length).filter(|end| *end <= header.length())?;
    }
    Some(list)
}

/// Returns the points of a chunk. Returns `None` if the chunk is damaged.
pub(crate) fn points(header: &Header, chunk: &[u8]) -> Option<Vec<Point>> {
    let (packed, sum) = chunk.split_last_chunk::<4>()?;
    if crc32fast::hash(packed) != u32::from_le_bytes(*sum) {
        return None;
    }
    packed::unpack(packed, header.from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packed::tests::any_points;
    use proptest::prelude::*;

    fn encode(about: BlockInfo, series: &[(u32, Vec<Point>)]) -> Option<Vec<u8>> {
        let from = series.iter().flat_map(|(_, points)| points).map(|point| point.slot).min().unwrap_or(0);
        let mut builder = Builder::new(from);
        for (id, points) in series {
            builder.add(*id, points);
        }
        builder.finish(about)
    }

    fn decode(bytes: &[u8]) -> Option<Vec<(u32, Vec<Point>)>> {
        let header = Header::parse(bytes)?;
        let index = bytes.get(HEADER..HEADER + header.index as usize)?;
        let part = |chunk: &ChunkAt| bytes.get(usize::try_from(chunk.at).ok()?..)?.get(..chunk.length);
        chunks(&header, index)?.iter().map(|chunk| Some((chunk.series, points(&header, part(chunk)?)?))).collect()
    }

    proptest! {
        #[test]
        fn encode_round_trips(lists in prop::collection::vec((1u32..1000, any_points()), 1..6)) {
            let mut id = 0;
            let series: Vec<(u32, Vec<Point>)> = lists.into_iter().map(|(step, points)| { id += step; (id, points) }).collect();
            let about = BlockInfo { number: 4, span: 1200, next_series: 9, source: 3 };
            let bytes = encode(about, &series).unwrap();
            let header = Header::parse(&bytes).unwrap();
            prop_assert_eq!((header.length(), header.number, header.source), (bytes.len() as u64, 4, 3));
            prop_assert_eq!(decode(&bytes), Some(series));
        }

        #[test]
        fn decode_rejects_damaged_bytes_without_panic(points in any_points(), at: prop::sample::Index, byte: u8, junk: Vec<u8>) {
            let _ = decode(&junk);
            let mut bytes = encode(BlockInfo::default(), &[(1, points.clone())]).unwrap();
            let at = at.index(bytes.len());
            if bytes[at] != byte {
                bytes[at] = byte;
                prop_assert_ne!(decode(&bytes), Some(vec![(1, points)]));
            }
        }
    }

    #[test]
    fn encode_returns_none_without_series() {
        assert_eq!(encode(BlockInfo::default(), &[]), None);
    }
}
