//! Store of traces in bounded memory: slow ones, failed ones, and a few of each route.
//!
//! # Theory of operation
//! A trace is judged when one of its spans arrives, never by a timer. A failed span keeps it at
//! once. Its entry span (a root, or a handled request) keeps it if it was slow or if few traces of
//! its route are kept.
//!
//! Other traces wait, because a failed span may still arrive. [`Store::settle`] runs with each
//! request and each query, and drops waiting traces that got no span for [`QUIET_MS`].
//!
//! Memory is counted per app ("owner"). If the store is full, the app with the most memory loses
//! its oldest trace, so an app cannot push out the traces of a smaller one. All senders that match
//! no app are one owner, whatever name they claim.

mod routes;
mod trace;
mod view;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use serde::Serialize;

use crate::span::{Span, TraceId};
use routes::Routes;
use trace::{EntrySpan, Trace};
pub use trace::{KeepReason, Sender};
pub use view::{Detail, Filter, Pairs, SenderView, SpanShown, Summary};

/// Time without a new span after which a trace is dropped if there is no reason to keep it, in ms.
pub const QUIET_MS: u64 = 10_000;
/// Number of dropped trace ids that are remembered, so that a late span does not start the trace
/// again.
const DROPPED: usize = 8192;
/// Maximum number of apps whose routes are known.
const OWNERS: usize = 1000;
/// Bytes that a trace takes in the tables of the store.
const PLACES: usize = 192;

/// Result of adding a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddOutcome {
    /// It was added.
    Taken,
    /// It was a duplicate.
    Duplicate,
    /// Its trace has too many spans or is too large.
    Full,
    /// Its trace was dropped before.
    Late,
}

/// Counters since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Received spans.
    pub spans: u64,
    /// Duplicate spans.
    pub twice: u64,
    /// Spans of traces that were full or already dropped.
    pub left_out: u64,
    /// Traces that were dropped because there was no reason to keep them.
    pub dropped: u64,
    /// Traces that were removed to make room.
    pub evicted: u64,
}

/// Traces of one owner.
#[derive(Debug, Default)]
struct Account {
    bytes: usize,
    /// Trace ids in the order in which they started.
    order: BTreeMap<u64, TraceId>,
    routes: Routes,
    last_ms: u64,
}

/// Store of traces.
#[derive(Debug)]
pub struct Store {
    most_bytes: usize,
    /// Bytes of the traces, and of the route statistics.
    bytes: usize,
    routes: usize,
    sequence: u64,
    traces: HashMap<TraceId, Trace>,
    /// Accounts by app; none = senders that match no app.
    accounts: BTreeMap<Option<Box<str>>, Account>,
    /// Undecided traces, each once, with the time of their next check.
    waiting: VecDeque<(u64, TraceId)>,
    dropped: VecDeque<TraceId>,
    is_dropped: HashSet<TraceId>,
    counts: Counts,
}

impl Store {
    /// Creates an empty store with at most `most_bytes` bytes.
    pub fn new(most_bytes: usize) -> Self {
        Self {
            most_bytes,
            bytes: 0,
            routes: 0,
            sequence: 0,
            traces: HashMap::new(),
            accounts: BTreeMap::new(),
            waiting: VecDeque::new(),
            dropped: VecDeque::new(),
            is_dropped: HashSet::new(),
            counts: Counts::default(),
        }
    }

    /// Returns the bytes in use, by the store's own accounting.
    pub fn bytes(&self) -> usize {
        let tables = self.waiting.capacity() * size_of::<(u64, TraceId)>()
            + self.dropped.capacity() * size_of::<TraceId>()
            + self.is_dropped.capacity() * (size_of::<TraceId>() + 8);
        self.bytes + self.routes + tables
    }

    /// Returns the counters.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns the number of traces, including undecided ones.
    pub fn len(&self) -> usize {
        self.traces.len()
    }

    /// Returns true if the store has no traces.
    pub fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    /// Adds a span. `now_ms` is the wall clock at its arrival.
    pub fn add(&mut self, sender: &Sender, id: TraceId, span: Span, now_ms: u64) -> AddOutcome {
        self.counts.spans += 1;
        let is_known = self.traces.contains_key(&id);
        if !is_known && self.is_dropped.contains(&id) && !span.failed {
            self.counts.left_out += 1;
            return AddOutcome::Late;
        }
        let owner = sender.owner();
        if !is_known {
            self.sequence += 1;
            let trace = Trace::new(owner.clone(), self.sequence, now_ms);
            self.account(&owner, now_ms).order.insert(trace.sequence, id);
            self.grow(&owner, 0, trace.bytes() + PLACES);
            self.traces.insert(id, trace);
            self.waiting.push_back((now_ms + QUIET_MS, id));
        }
        let Some(trace) = self.traces.get_mut(&id) else { return AddOutcome::Full };
        let (owner, before) = (trace.owner.clone(), trace.bytes());
        let added = trace.add(sender, span, now_ms);
        let (after, news) = (trace.bytes(), trace.news().filter(|_| added == AddOutcome::Taken));
        match added {
            AddOutcome::Taken => {}
            AddOutcome::Duplicate => self.counts.twice += 1,
            AddOutcome::Full | AddOutcome::Late => self.counts.left_out += 1,
        }
        self.grow(&owner, before, after);
        if let Some(entry) = news {
            self.judge(&id, &owner, &entry, now_ms);
        }
        self.evict();
        added
    }

    /// Drops traces without a reason to keep them. Runs with each request and before each query.
    pub fn settle(&mut self, now_ms: u64) {
        // If the clock was set back, a trace is due at once instead of waiting too long.
        let is_due = |(due, _): &(u64, TraceId)| *due <= now_ms || *due > now_ms + QUIET_MS;
        while self.waiting.front().is_some_and(is_due)
            && let Some((_, id)) = self.waiting.pop_front()
        {
            let Some(trace) = self.traces.get_mut(&id) else { continue };
            if trace.reason.is_some() {
                continue;
            }
            let due = trace.last_ms + QUIET_MS;
            if due > now_ms && due <= now_ms + QUIET_MS {
                self.waiting.push_back((due, id));
                continue;
            }
            // The root never arrived, so the first span is judged instead.
            let (owner, chance) = (trace.owner.clone(), trace.last_chance());
            if let Some(entry) = chance {
                self.judge(&id, &owner, &entry, now_ms);
            }
            if self.traces.get(&id).is_some_and(|trace| trace.reason.is_none()) {
                self.counts.dropped += 1;
                self.forget(id);
                self.remember_dropped(id);
            }
        }
        self.bound_accounts();
    }

    fn judge(&mut self, id: &TraceId, owner: &Option<Box<str>>, entry: &EntrySpan, now_ms: u64) {
        let routes = &mut self.accounts.entry(owner.clone()).or_default().routes;
        let before = routes.bytes();
        let why = routes.judge(entry, now_ms);
        self.routes = (self.routes + routes.bytes()).saturating_sub(before);
        if let Some(trace) = self.traces.get_mut(id) {
            trace.judged(why);
        }
    }

    fn remember_dropped(&mut self, id: TraceId) {
        if self.is_dropped.insert(id) {
            self.dropped.push_back(id);
        }
        while self.dropped.len() > DROPPED.min(self.most_bytes / 1024) {
            let oldest = self.dropped.pop_front();
            oldest.map(|id| self.is_dropped.remove(&id));
        }
    }

    fn account(&mut self, owner: &Option<Box<str>>, now_ms: u64) -> &mut Account {
        let account = self.accounts.entry(owner.clone()).or_default();
        account.last_ms = now_ms;
        account
    }

    fn grow(&mut self, owner: &Option<Box<str>>, before: usize, after: usize) {
        self.bytes = (self.bytes + after).saturating_sub(before);
        if let Some(account) = self.accounts.get_mut(owner) {
            account.bytes = (account.bytes + after).saturating_sub(before);
        }
    }

    fn forget(&mut self, id: TraceId) {
        let Some(trace) = self.traces.remove(&id) else { return };
        self.grow(&trace.owner, trace.bytes() + PLACES, 0);
        if let Some(account) = self.accounts.get_mut(&trace.owner) {
            account.order.remove(&trace.sequence);
        }
    }

    /// Makes room: the owner with the most memory loses its oldest traces.
    fn evict(&mut self) {
        while self.bytes() > self.most_bytes {
            let largest = self.accounts.values().filter(|account| !account.order.is_empty()).max_by_key(|account| account.bytes);
            let Some(id) = largest.and_then(|account| account.order.values().next().copied()) else { return };
            self.counts.evicted += 1;
            self.forget(id);
        }
        // Removed traces also leave the waiting list.
        if self.waiting.len() > 2 * self.traces.len() + 1024 {
            let traces = &self.traces;
            self.waiting.retain(|(_, id)| traces.contains_key(id));
            self.waiting.shrink_to(2 * self.traces.len());
        }
        if self.traces.capacity() > 4 * self.traces.len() + 1024 {
            self.traces.shrink_to(2 * self.traces.len());
        }
    }

    /// Forgets the apps that have been idle for longest.
    fn bound_accounts(&mut self) {
        while self.accounts.len() > OWNERS {
            let idle = self.accounts.iter().filter(|(_, account)| account.order.is_empty()).min_by_key(|(_, account)| account.last_ms);
            let Some(owner) = idle.map(|(owner, _)| owner.clone()) else { return };
            let gone = self.accounts.remove(&owner).map_or(0, |account| account.routes.bytes());
            self.routes = self.routes.saturating_sub(gone);
        }
    }

    /// Returns the traces that match the filter, the newest first, from senders that `sees`
    /// accepts, and whether there are more.
    pub fn list(&self, filter: &Filter, sees: &dyn Fn(&Sender) -> bool) -> (Vec<Summary>, bool) {
        let mut all: Vec<(&TraceId, &Trace)> = self.traces.iter().filter(|(_, trace)| trace.reason.is_some()).collect();
        all.sort_by_key(|(_, trace)| std::cmp::Reverse(trace.sequence));
        let mut found = all.into_iter().filter_map(|(id, trace)| view::summary(id, trace, sees)).filter(|summary| filter.lets(summary));
        let list = found.by_ref().take(filter.limit).collect();
        (list, found.next().is_some())
    }

    /// Returns one trace in full.
    pub fn get(&self, id: &TraceId, sees: &dyn Fn(&Sender) -> bool) -> Option<Detail> {
        view::detail(id, self.traces.get(id)?, sees)
    }
}

#[cfg(test)]
mod tests;
