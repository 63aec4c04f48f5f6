//! Queries: one series over a time range, with a bounded number of values.

use std::cell::Cell;

use crate::disk::Disk;
use crate::point::{Aggregate, Point};
use crate::scale::Scale;
use crate::store::History;
use crate::tier::{self, FINE, LAST, USUAL};

/// Maximum number of values in an answer.
const MOST: u64 = 4000;

/// Aggregated value of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Start of its step, in ms since 1970.
    pub at_ms: u64,
    /// The smallest sample.
    pub min: f64,
    /// The average of the samples.
    pub avg: f64,
    /// The largest sample.
    pub max: f64,
}

/// Result of a query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryResult {
    /// Length of a step, ms.
    pub step_ms: u64,
    /// The values in order of time; steps without a sample are left out.
    pub figures: Vec<Figure>,
    /// Cost of the query.
    pub reads: Reads,
}

/// Cost of a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Number of blocks that were read.
    pub blocks: u64,
    /// Bytes of their indices and chunks.
    pub bytes: u64,
    /// Number of blocks with damaged parts, which were left out.
    pub damaged: u64,
}

/// Steps of an answer.
struct Steps {
    /// Start of the first step and length of each, in seconds.
    from: u64,
    step: u64,
    sums: Vec<Aggregate>,
}

impl Steps {
    fn new(from: u64, to: u64, step: u64) -> Self {
        let from = from - from % step;
        let count = usize::try_from((to.saturating_sub(from) / step).min(MOST) + 1).unwrap_or(0);
        Self { from, step, sums: vec![Aggregate::NONE; count] }
    }

    fn end(&self) -> u64 {
        self.from.saturating_add(self.step.saturating_mul(self.sums.len() as u64))
    }

    fn add(&mut self, second: u64, sum: &Aggregate) {
        let at = second.checked_sub(self.from).and_then(|past| usize::try_from(past / self.step).ok());
        if let Some(found) = at.and_then(|at| self.sums.get_mut(at)) {
            found.add(sum);
        }
    }

    /// Fills the steps before `until` that have no sample with a coarser aggregate that covers
    /// them.
    fn fill(&mut self, second: u64, length: u64, until: u64, sum: &Aggregate) {
        let (from, step) = (self.from, self.step);
        for (at, found) in self.sums.iter_mut().enumerate().filter(|(_, found)| found.count == 0) {
            let begin = from + step * at as u64;
            if begin < until && begin < second.saturating_add(length) && begin + step > second {
                *found = *sum;
            }
        }
    }
}

impl<D: Disk> History<D> {
    /// Returns the values of a series in a time range (ms since 1970), in about `points` steps.
    /// Each step is as fine as that number allows, as far back as the tier with such steps goes.
    /// Before that, the query uses the next coarser tier.
    pub fn query(&self, key: &str, from_ms: u64, to_ms: u64, points: u64) -> QueryResult {
        let (from, to) = (from_ms / 1000, to_ms / 1000);
        let wanted = (to.saturating_sub(from) / points.clamp(1, MOST)).max(1);
        let chosen = (USUAL..=LAST).rev().find(|number| tier::of(*number).step <= wanted);
        let number = chosen.unwrap_or(if self.has_fine(from, to) { FINE } else { USUAL });
        let unit = tier::of(number).step;
        let step = wanted.div_ceil(unit) * unit;
        let mut steps = Steps::new(from, to, step);
        let mut answer = QueryResult { step_ms: step * 1000, ..QueryResult::default() };
        let Some((id, scale)) = self.names.get(key) else { return answer };
        let reads = Cell::new(Reads::default());
        let ask = SeriesQuery { id, scale, from: steps.from, to: steps.end(), reads: &reads };
        self.gather(&ask, number, &mut |second, sum| steps.add(second, sum));
        self.fill(&ask, number, &mut steps);
        answer.reads = reads.get();
        let figure = |(at, sum): (usize, &Aggregate)| Figure {
            at_ms: (steps.from + step * at as u64) * 1000,
            min: sum.min,
            avg: sum.average(),
            max: sum.max,
        };
        answer.figures = steps.sums.iter().enumerate().filter(|(_, sum)| sum.count > 0).map(figure).collect();
        answer
    }

    /// Returns true if there are points of single seconds in this time range.
    fn has_fine(&self, from: u64, to: u64) -> bool {
        let blocks = self.tiers[FINE].blocks().any(|(_, block)| block.header.from <= to && block.header.to >= from);
        blocks || self.live.values().any(|live| live.loose[FINE].first().is_some_and(|first| first.slot <= to))
    }

    /// Reads all points of a tier, and finer points that are not rolled up into it yet. Each sample
    /// is read once.
    fn gather(&self, ask: &SeriesQuery<'_>, number: usize, sink: &mut impl FnMut(u64, &Aggregate)) {
        self.read_tier(ask, number, 0, sink);
        for finer in (USUAL..number).rev() {
            let done = self.tiers[finer + 1].source_segment().unwrap_or(0);
            self.read_tier(ask, finer, done, sink);
        }
        let Some(live) = self.live.get(&ask.id) else { return };
        let (loose, step) = (&live.loose[number.min(USUAL)], tier::of(number.min(USUAL)).step);
        for point in loose.points() {
            ask.give(&point, step, sink);
        }
        if number >= USUAL
            && live.sum.count > 0
            && let Some(second) = self.second()
        {
            sink(second - second % step, &live.sum);
        }
    }

    /// Reads the points of a tier in the segments after this one.
    fn read_tier(&self, ask: &SeriesQuery<'_>, number: usize, after: u64, sink: &mut impl FnMut(u64, &Aggregate)) {
        let (tier, step) = (&self.tiers[number], tier::of(number).step);
        for (segment, block) in tier.blocks().filter(|(segment, _)| *segment > after) {
            let header = &block.header;
            if header.from.saturating_mul(step) >= ask.to || header.to.saturating_add(1).saturating_mul(step) <= ask.from {
                continue;
            }
            let Some(chunks) = tier.chunks(&self.disk, segment, block) else {
                ask.count(header.index.into(), true);
                continue;
            };
            ask.count(header.index.into(), false);
            for chunk in chunks.iter().filter(|chunk| chunk.series == ask.id) {
                let points = tier.points(&self.disk, segment, block, chunk);
                ask.add_bytes(chunk.length, points.is_none());
                for point in points.unwrap_or_default() {
                    ask.give(&point, step, sink);
                }
            }
        }
    }

    /// Fills steps before the start of the tier from coarser tiers. Gaps between single seconds are
    /// filled with the ten-second points.
    fn fill(&self, ask: &SeriesQuery<'_>, number: usize, steps: &mut Steps) {
        for coarser in number + 1..=LAST {
            let step = tier::of(coarser).step;
            let begin = |number: usize| self.tiers[number].blocks().map(|(_, block)| block.header.from * tier::of(number).step).min();
            let until = if number == FINE { u64::MAX } else { begin(number).unwrap_or(u64::MAX) };
            if until <= steps.from {
                return;
            }
            let is_usual = coarser == USUAL;
            let mut sink = |second: u64, sum: &Aggregate| steps.fill(second, step, until, sum);
            if is_usual { self.gather(ask, coarser, &mut sink) } else { self.read_tier(ask, coarser, 0, &mut sink) }
        }
    }
}

/// Series and time range of a query.
struct SeriesQuery<'a> {
    id: u32,
    scale: Scale,
    /// Start and end in seconds.
    from: u64,
    to: u64,
    reads: &'a Cell<Reads>,
}

impl SeriesQuery<'_> {
    fn give(&self, point: &Point, step: u64, sink: &mut impl FnMut(u64, &Aggregate)) {
        let second = point.slot.saturating_mul(step);
        if second < self.to && second.saturating_add(step) > self.from && point.count > 0 {
            sink(second, &Aggregate::of_point(point, self.scale));
        }
    }

    fn count(&self, bytes: u64, is_damaged: bool) {
        let reads = self.reads.get();
        self.reads.set(Reads { blocks: reads.blocks + 1, bytes: reads.bytes + bytes, damaged: reads.damaged + u64::from(is_damaged) });
    }

    fn add_bytes(&self, bytes: usize, is_damaged: bool) {
        let reads = self.reads.get();
        self.reads.set(Reads { bytes: reads.bytes + bytes as u64, damaged: reads.damaged + u64::from(is_damaged), ..reads });
    }
}
