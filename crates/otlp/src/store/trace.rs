//! One trace as it is kept.

use serde::Serialize;

use super::Added;
use crate::span::{Attribute, Span};

/// Most spans of a trace.
const SPANS: usize = 2000;
/// Most bytes of a trace.
const BYTES: usize = 2 << 20;
/// Most senders of a trace.
const SENDERS: usize = 16;
/// Bytes that an allocation has beside what is in it.
const ALLOCATION: usize = 16;

/// Reason for which a trace is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// One of a few of its route.
    Sample,
    /// It took long.
    Slow,
    /// A part of it failed.
    Failed,
}

/// Sender of spans: an app, or a service that is none of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// Namespace and name of the app; none = what it says of itself matches none.
    pub app: Option<(Box<str>, Box<str>)>,
    /// The id of its instance (`pm_id`); none = foreign.
    pub instance: Option<u32>,
    /// What it calls itself.
    pub service: Box<str>,
}

impl Sender {
    /// The key of whoever pays for it.
    pub(super) fn owner(&self) -> Option<Box<str>> {
        self.app.as_ref().map(|(namespace, name)| format!("{namespace}\0{name}").into())
    }

    fn bytes(&self) -> usize {
        let app = self.app.as_ref().map_or(0, |(namespace, name)| namespace.len() + name.len() + 2 * ALLOCATION);
        size_of::<Self>() + app + self.service.len() + ALLOCATION
    }
}

/// What a trace is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) route: Box<str>,
    pub(super) took_ns: u64,
    /// Whether one of its spans was counted for its route already.
    pub(super) is_counted: bool,
}

/// A span, and the number of its sender.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) span: Span,
    pub(super) sender: u8,
}

#[derive(Debug)]
pub(super) struct Trace {
    pub(super) owner: Option<Box<str>>,
    /// Its place among all, by arrival.
    pub(super) sequence: u64,
    /// Arrival of its first and of its newest span, wall clock, ms.
    pub(super) first_ms: u64,
    pub(super) last_ms: u64,
    /// None = it waits for a reason.
    pub(super) why: Option<Why>,
    pub(super) spans: Vec<Kept>,
    pub(super) senders: Vec<Sender>,
    /// Spans that there was no room for.
    pub(super) left_out: u32,
    /// Bytes of texts and lists of its spans, and of its senders.
    heap: usize,
    /// Whether an entry was judged, and which one.
    judged: Option<usize>,
}

impl Trace {
    pub(super) fn new(owner: Option<Box<str>>, sequence: u64, now_ms: u64) -> Self {
        Self {
            owner,
            sequence,
            first_ms: now_ms,
            last_ms: now_ms,
            why: None,
            spans: Vec::new(),
            senders: Vec::new(),
            left_out: 0,
            heap: 0,
            judged: None,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let owner = self.owner.as_ref().map_or(0, |owner| owner.len());
        size_of::<Self>() + owner + self.spans.capacity() * size_of::<Kept>() + self.heap
    }

    pub(super) fn add(&mut self, sender: &Sender, span: Span, now_ms: u64) -> Added {
        let at = self.senders.iter().position(|known| known == sender);
        let own = heap(&span) + if at.is_some() { 0 } else { sender.bytes() };
        let is_full = self.spans.len() >= SPANS || self.bytes() + own > BYTES || at.is_none() && self.senders.len() >= SENDERS;
        if is_full {
            self.left_out = self.left_out.saturating_add(1);
            return Added::Full;
        }
        if self.spans.iter().any(|kept| kept.span.id == span.id) {
            return Added::Twice;
        }
        let at = at.unwrap_or_else(|| {
            self.senders.push(sender.clone());
            self.senders.len() - 1
        });
        self.last_ms = now_ms;
        self.heap += own;
        if span.failed {
            self.why = Some(Why::Failed);
        }
        self.spans.push(Kept { span, sender: u8::try_from(at).unwrap_or(u8::MAX) });
        Added::Taken
    }

    /// What the newest span gives to judge: it is an entry, and says more than what was judged before.
    pub(super) fn news(&mut self) -> Option<Entry> {
        let newest = self.spans.last()?;
        let rank = rank(&newest.span);
        let before = self.judged.and_then(|at| self.spans.get(at)).map_or(0, |kept| self::rank(&kept.span));
        (rank > before).then(|| self.judge(self.spans.len() - 1))
    }

    /// What there is to judge where no entry came.
    pub(super) fn last_chance(&mut self) -> Option<Entry> {
        if self.judged.is_some() {
            return None;
        }
        let first = self.spans.iter().enumerate().min_by_key(|(_, kept)| kept.span.start_ns)?;
        Some(self.judge(first.0))
    }

    fn judge(&mut self, at: usize) -> Entry {
        let is_counted = self.judged.replace(at).is_some();
        let span = self.spans.get(at).map(|kept| &kept.span);
        Entry { route: span.map(Span::route).unwrap_or_default().into(), took_ns: span.map_or(0, |span| span.took_ns), is_counted }
    }

    pub(super) fn judged(&mut self, why: Option<Why>) {
        self.why = self.why.max(why);
    }
}

/// How much a span is the entry of its trace: 2 = it is a root, 1 = a request that is answered, 0 = a part.
pub(super) fn rank(span: &Span) -> u8 {
    if span.parent.is_none() { 2 } else { u8::from(span.kind.is_entry()) }
}

/// Bytes that a span has beside itself.
fn heap(span: &Span) -> usize {
    let text = |text: &str| if text.is_empty() { 0 } else { text.len() + ALLOCATION };
    let list = |list: &[Attribute]| {
        let own = if list.is_empty() { 0 } else { size_of_val(list) + ALLOCATION };
        own + list.iter().map(|(key, value)| text(key) + text(value)).sum::<usize>()
    };
    let events = if span.events.is_empty() { 0 } else { size_of_val(&*span.events) + ALLOCATION };
    let of_events: usize = span.events.iter().map(|event| text(&event.name) + list(&event.attributes)).sum();
    text(&span.name) + text(&span.message) + list(&span.attributes) + events + of_events
}
