//! Roll-up: a full segment becomes one block of the next tier.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::block::{BlockInfo, Builder, ChunkAt};
use crate::disk::Disk;
use crate::point::{Aggregate, Point};
use crate::scale::Scale;
use crate::segments::PlacedBlock;
use crate::store::History;
use crate::tier::{self, LAST, USUAL};

impl<D: Disk> History<D> {
    /// Rolls up all full segments.
    pub(crate) fn roll(&mut self) -> io::Result<()> {
        for number in USUAL..LAST {
            while let Some(segment) = self.due(number) {
                let bytes = self.rolled(number, segment)?;
                self.make_room(bytes.len())?;
                self.tiers[number + 1].append(&mut self.disk, &bytes)?;
            }
        }
        Ok(())
    }

    /// Returns the oldest full segment of a tier that is not in the next tier yet.
    fn due(&self, number: usize) -> Option<u64> {
        let tier = &self.tiers[number];
        let newest = tier.list.last()?.number;
        let done = self.tiers[number + 1].source_segment().unwrap_or(0);
        tier.list
            .iter()
            .find(|segment| segment.number > done && (segment.number < newest || tier.is_full(segment)))
            .map(|segment| segment.number)
    }

    /// Returns the block of a segment, in steps of the next tier.
    fn rolled(&self, number: usize, segment: u64) -> io::Result<Vec<u8>> {
        let (tier, ratio) = (&self.tiers[number], tier::of(number + 1).step / tier::of(number).step);
        let blocks: Vec<(PlacedBlock, Vec<ChunkAt>)> = tier
            .blocks()
            .filter(|(of, _)| *of == segment)
            .map(|(_, block)| (*block, tier.chunks(&self.disk, segment, block).unwrap_or_default()))
            .collect();
        let from = blocks.iter().map(|(block, _)| block.header.from / ratio).min().unwrap_or(0);
        let series: BTreeSet<u32> = blocks.iter().flat_map(|(_, chunks)| chunks.iter().map(|chunk| chunk.series)).collect();
        let scales: BTreeMap<u32, Scale> = self.names.scales().collect();
        let mut builder = Builder::new(from);
        for (id, scale) in series.iter().filter_map(|id| Some((*id, *scales.get(id)?))) {
            let mut sums: BTreeMap<u64, Aggregate> = BTreeMap::new();
            for (block, chunks) in &blocks {
                for chunk in chunks.iter().filter(|chunk| chunk.series == id) {
                    // A damaged chunk is left out here. A query that reads the chunk reports the
                    // damage.
                    for point in tier.points(&self.disk, segment, block, chunk).unwrap_or_default() {
                        sums.entry(point.slot / ratio).or_insert(Aggregate::NONE).add(&Aggregate::of_point(&point, scale));
                    }
                }
            }
            let points: Vec<Point> = sums.iter().filter_map(|(slot, sum)| sum.point(*slot, scale)).collect();
            builder.add(id, &points);
        }
        let span: u64 = blocks.iter().map(|(block, _)| u64::from(block.header.span)).sum();
        let about = BlockInfo {
            number: self.tiers[number + 1].next_block(),
            span: u32::try_from(span).unwrap_or(u32::MAX),
            next_series: self.names.next,
            source: segment + 1,
        };
        Ok(builder.finish(about).unwrap_or_else(|| Builder::empty(from, about)))
    }
}
