//! The store: takes samples and writes blocks and journals.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use crate::block::{BlockInfo, Builder};
use crate::disk::Disk;
use crate::files;
use crate::growing_points::GrowingPoints;
use crate::journal::{Journal, JournalContents};
use crate::names::Names;
use crate::notice::Notice;
use crate::point::{Aggregate, Point};
use crate::scale::Scale;
use crate::segments::Segments;
use crate::tier::{self, FINE, TIERS, USUAL};

/// Maximum time between two calls of [`History::flush`]. Together with the ten seconds of
/// aggregation and a late timer, this is less than a minute.
pub const FLUSH: Duration = Duration::from_secs(45);
/// Maximum number of series that get samples at the same time.
pub const MOST_SERIES: usize = 4096;
/// Maximum step back of the clock, in seconds, for which the store only waits.
const HELD: u64 = 60;
/// Minimum number of moments between two blocks that are short because of the clock.
const BETWEEN_JUMPS: u32 = 60;
/// Maximum number of new points in memory while the disk is not writable, in blocks; beyond it,
/// points are dropped.
const MOST_WAITING: u64 = 4;
/// Moments between two searches for unused names.
const BETWEEN_SEARCHES: u32 = 360;
/// Maximum number of notices that wait for a reader.
const MOST_NOTICES: usize = 64;

/// Options of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Maximum size of all files together, in bytes.
    pub most_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { most_bytes: 128 << 20 }
    }
}

/// Present sampling interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleInterval {
    /// Every second; the samples also go to the finest tier.
    Second,
    /// Every ten seconds.
    TenSeconds,
}

/// Time-series store in a folder.
#[derive(Debug)]
pub struct History<D> {
    pub(crate) disk: D,
    options: Options,
    pub(crate) tiers: [Segments; TIERS.len()],
    pub(crate) names: Names,
    pub(crate) live: BTreeMap<u32, LiveSeries>,
    open: [Open; 2],
    clock: Clock,
    notices: Vec<Notice>,
    is_failing: bool,
    reported_too_many: bool,
    left_out: u64,
    since_search: u32,
}

/// New points of a series.
#[derive(Debug)]
pub(crate) struct LiveSeries {
    pub(crate) scale: Scale,
    /// Points for the tiers `1s` and `10s`.
    pub(crate) loose: [GrowingPoints; 2],
    /// Bytes of them that are in the journals already.
    written: [usize; 2],
    /// Aggregate of the current ten seconds.
    pub(crate) sum: Aggregate,
}

/// Block that a tier's new points will become.
#[derive(Debug)]
struct Open {
    journal: Journal,
    number: u64,
    /// Recorded seconds.
    span: u64,
}

/// Present moment of the store.
#[derive(Debug, Default)]
struct Clock {
    second: Option<u64>,
    every: Option<SampleInterval>,
    /// True if samples are left out at present.
    is_left_out: bool,
    since_jump: u32,
}

impl<D: Disk> History<D> {
    /// Opens the store of a folder for writing. The caller must be the only writer.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be read at all. Problems with single files are
    /// reported as a [`Notice`].
    pub fn open(disk: D, options: Options) -> io::Result<Self> {
        Self::load(disk, options, true)
    }

    /// Opens the store of a folder for reading, also while another process writes.
    ///
    /// # Errors
    /// Returns an error in the same cases as [`History::open`].
    pub fn read(disk: D) -> io::Result<Self> {
        Self::load(disk, Options::default(), false)
    }

    fn load(mut disk: D, options: Options, is_writer: bool) -> io::Result<Self> {
        let mut notices = Vec::new();
        let sink = &mut notices;
        // Journals are read first. If the writer turns a journal into a block in the meantime, its
        // points are read twice and recognized by the block number. Otherwise they would be missed.
        let journals = [Journal::load(&mut disk, FINE, is_writer, sink)?, Journal::load(&mut disk, USUAL, is_writer, sink)?];
        let mut tier = |number| Segments::load(&mut disk, number, is_writer, sink);
        let tiers = [tier(0)?, tier(1)?, tier(2)?, tier(3)?];
        let mut names = Names::load(&mut disk, is_writer, &mut notices)?;
        if is_writer {
            files::forget_old_asides(&mut disk)?;
        }
        let known =
            tiers.iter().map(Segments::next_series).chain(journals.iter().flat_map(|(_, told)| told.as_ref().map(|told| told.next_series)));
        names.next = known.fold(names.next, u32::max);
        let scales: BTreeMap<u32, Scale> = names.scales().collect();
        let mut live = BTreeMap::new();
        let [fine, usual] = journals;
        let open = [Open::of(FINE, fine, &tiers, &scales, &mut live), Open::of(USUAL, usual, &tiers, &scales, &mut live)];
        let clock = Clock { since_jump: BETWEEN_JUMPS, ..Clock::default() };
        let (is_failing, is_too_many_told, left_out, since_search) = (false, false, 0, BETWEEN_SEARCHES);
        notices.truncate(MOST_NOTICES);
        Ok(Self {
            disk,
            options,
            tiers,
            names,
            live,
            open,
            clock,
            notices,
            is_failing,
            reported_too_many: is_too_many_told,
            left_out,
            since_search,
        })
    }

    /// Returns the new notices and clears them.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Returns the number of samples that were left out because of their names.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Returns the names of all series.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.names.keys()
    }

    /// Returns the present moment in seconds.
    pub(crate) fn second(&self) -> Option<u64> {
        self.clock.second
    }

    fn notify(&mut self, notice: Notice) {
        if self.notices.len() < MOST_NOTICES {
            self.notices.push(notice);
        }
    }

    /// Sets the moment of the next samples (wall clock, ms since 1970).
    pub fn moment(&mut self, at_ms: u64, every: SampleInterval) {
        self.since_search = self.since_search.saturating_add(1);
        self.clock.since_jump = self.clock.since_jump.saturating_add(1);
        let second = at_ms / 1000;
        let (last, second) = match self.clock.second {
            Some(last) if second < last => (Some(last), self.set_back(last, second)),
            last => (last, Some(second)),
        };
        self.clock.is_left_out = second.is_none();
        let Some(second) = second else { return };
        let step = tier::of(USUAL).step;
        if last.is_some_and(|last| last / step != second / step) {
            self.sum_up(last.unwrap_or(0) / step);
        }
        if every == SampleInterval::Second && last != Some(second) {
            self.open[FINE].span += 1;
        }
        (self.clock.second, self.clock.every) = (Some(second), Some(every));
    }

    /// Returns the second to use if the clock was set back; none = samples are left out.
    fn set_back(&mut self, last: u64, second: u64) -> Option<u64> {
        if last - second <= HELD {
            return Some(last);
        }
        if self.clock.since_jump < BETWEEN_JUMPS {
            return None;
        }
        self.clock.since_jump = 0;
        self.notify(Notice::ClockBack { seconds: last - second });
        self.sum_up(last / tier::of(USUAL).step);
        for number in [FINE, USUAL] {
            if let Err(error) = self.seal(number) {
                self.failed(&error);
                self.drop_waiting(number);
            }
        }
        Some(second)
    }

    /// Records a sample at the present moment. Returns false if it is left out: the value is not
    /// finite, the name is too long, or there are too many names.
    pub fn record(&mut self, key: &str, scale: Scale, value: f64) -> bool {
        let Some(second) = self.clock.second.filter(|_| !self.clock.is_left_out && value.is_finite()) else { return false };
        let Some((id, scale)) = self.series(key, scale) else {
            self.left_out += 1;
            return false;
        };
        let live = self.live.entry(id).or_insert_with(|| LiveSeries::new(scale));
        live.sum.add(&Aggregate::of(value));
        if self.clock.every == Some(SampleInterval::Second)
            && let Some(point) = Aggregate::of(value).point(second, scale)
        {
            live.loose[FINE].push(point);
        }
        true
    }

    fn series(&mut self, key: &str, scale: Scale) -> Option<(u32, Scale)> {
        let known = self.names.get(key);
        let is_live = known.is_some_and(|(id, _)| self.live.contains_key(&id));
        if !is_live && self.live.len() >= MOST_SERIES {
            self.too_many();
            return None;
        }
        if known.is_some() {
            return known;
        }
        if self.names.is_full() && self.since_search >= BETWEEN_SEARCHES {
            self.since_search = 0;
            self.forget_names();
        }
        match self.names.add(key, scale) {
            Some(id) => Some((id, scale)),
            None => {
                self.too_many();
                None
            }
        }
    }

    fn too_many(&mut self) {
        if !self.reported_too_many {
            self.reported_too_many = true;
            self.notify(Notice::TooMany);
        }
    }

    /// Removes names without any point.
    fn forget_names(&mut self) {
        let mut used: BTreeSet<u32> = self.live.keys().copied().collect();
        for tier in &self.tiers {
            for (segment, block) in tier.blocks() {
                used.extend(tier.chunks(&self.disk, segment, block).unwrap_or_default().iter().map(|chunk| chunk.series));
            }
        }
        match self.names.retain_used(&mut self.disk, &used) {
            Ok(()) => self.reported_too_many = self.names.is_full(),
            Err(error) => self.failed(&error),
        }
    }

    /// Finishes the current ten seconds.
    fn sum_up(&mut self, slot: u64) {
        for live in self.live.values_mut() {
            let sum = std::mem::replace(&mut live.sum, Aggregate::NONE);
            if let Some(point) = sum.point(slot, live.scale) {
                live.loose[USUAL].push(point);
            }
        }
        self.open[USUAL].span += tier::of(USUAL).step;
        for number in [FINE, USUAL] {
            if self.open[number].span > MOST_WAITING * tier::of(number).block {
                self.drop_waiting(number);
            }
        }
    }

    fn drop_waiting(&mut self, number: usize) {
        let points: usize = self.live.values().map(|live| live.loose[number].points().len()).sum();
        self.begin_block(number);
        if points > 0 {
            self.notify(Notice::Dropped { points: points as u64 });
        }
    }

    /// Starts a new block of this tier.
    fn begin_block(&mut self, number: usize) {
        for live in self.live.values_mut() {
            (live.loose[number], live.written[number]) = (GrowingPoints::default(), 0);
        }
        self.live.retain(|_, live| live.sum.count > 0 || live.loose.iter().any(|loose| !loose.is_empty()));
        (self.open[number].number, self.open[number].span) = (self.open[number].number + 1, 0);
    }

    /// Writes new points. The caller must call it at least once per [`FLUSH`].
    pub fn flush(&mut self) {
        match self.write() {
            Ok(()) if self.is_failing => {
                self.is_failing = false;
                self.notify(Notice::WritesAgain);
            }
            Ok(()) => {}
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &io::Error) {
        if !self.is_failing {
            self.is_failing = true;
            self.notify(Notice::CannotWrite { why: format!("cannot write: {error}") });
        }
    }

    fn write(&mut self) -> io::Result<()> {
        self.names.write(&mut self.disk)?;
        for number in [FINE, USUAL] {
            if self.open[number].span >= tier::of(number).block { self.seal(number)? } else { self.append(number)? }
        }
        self.roll()
    }

    /// Appends new points to the journal.
    fn append(&mut self, number: usize) -> io::Result<()> {
        let is_new = |live: &LiveSeries| live.loose[number].bytes().len() > live.written[number];
        if !self.live.values().any(is_new) {
            return Ok(());
        }
        self.make_room(self.live.values().map(|live| live.loose[number].bytes().len() - live.written[number] + 8).sum())?;
        let open = &mut self.open[number];
        let contents = JournalContents { block: open.number, span: open.span, next_series: self.names.next, parts: Vec::new() };
        let parts = self.live.iter().filter(|(_, live)| is_new(live));
        let parts = parts.map(|(id, live)| (*id, live.loose[number].bytes().get(live.written[number]..).unwrap_or_default()));
        open.journal.append(&mut self.disk, &contents, parts)?;
        for live in self.live.values_mut() {
            live.written[number] = live.loose[number].bytes().len();
        }
        Ok(())
    }

    /// Turns the new points into a block.
    fn seal(&mut self, number: usize) -> io::Result<()> {
        self.names.write(&mut self.disk)?;
        let firsts = self.live.values().filter_map(|live| live.loose[number].first());
        if let Some(from) = firsts.map(|point: Point| point.slot).min() {
            let mut block = Builder::new(from);
            for (id, live) in &self.live {
                block.add(*id, &live.loose[number].points());
            }
            let open = &self.open[number];
            let span = u32::try_from(open.span).unwrap_or(u32::MAX);
            let about = BlockInfo { number: open.number, span, next_series: self.names.next, source: 0 };
            let bytes = block.finish(about).ok_or_else(|| io::Error::other("too many points for one block"))?;
            self.make_room(bytes.len())?;
            self.tiers[number].append(&mut self.disk, &bytes)?;
        }
        self.begin_block(number);
        Ok(())
    }

    /// Removes old segments until `more` bytes fit.
    pub(crate) fn make_room(&mut self, more: usize) -> io::Result<()> {
        loop {
            let all: u64 = self.disk.list()?.iter().map(|(_, size)| size).sum();
            if all + more as u64 <= self.options.most_bytes {
                return Ok(());
            }
            let largest = self.tiers.iter_mut().filter(|tier| tier.list.len() > 1).max_by_key(|tier| tier.bytes());
            if !largest.is_some_and(|tier| tier.drop_oldest(&mut self.disk)) {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "the size limit of the files is reached"));
            }
        }
    }
}

impl LiveSeries {
    fn new(scale: Scale) -> Self {
        Self { scale, loose: [GrowingPoints::default(), GrowingPoints::default()], written: [0; 2], sum: Aggregate::NONE }
    }
}

impl Open {
    /// Returns the open block of a journal, with its points. If that block already exists, the
    /// result is an empty next block.
    fn of(
        number: usize,
        (journal, told): (Journal, Option<JournalContents>),
        tiers: &[Segments; TIERS.len()],
        scales: &BTreeMap<u32, Scale>,
        live: &mut BTreeMap<u32, LiveSeries>,
    ) -> Self {
        let next = tiers[number].next_block();
        let Some(told) = told.filter(|told| told.block >= next) else { return Self { journal, number: next, span: 0 } };
        for (id, bytes) in told.parts {
            // A series without a name cannot be queried.
            let Some(scale) = scales.get(&id) else { continue };
            let one = live.entry(id).or_insert_with(|| LiveSeries::new(*scale));
            if one.loose[number].extend(&bytes) {
                one.written[number] += bytes.len();
            }
        }
        Self { journal, number: told.block, span: told.span }
    }
}
