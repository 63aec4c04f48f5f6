//! Trace in the form in which it is kept.

use serde::Serialize;

use super::AddOutcome;
use crate::span::{Attribute, Span};

/// Maximum number of spans in a trace.
const SPANS: usize = 2000;
/// Maximum size of a trace in bytes.
const BYTES: usize = 2 << 20;
/// Maximum number of senders of a trace.
const SENDERS: usize = 16;
/// Overhead of an allocation in bytes.
const ALLOCATION: usize = 16;

/// Reason for keeping a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepReason {
    /// It is one of the samples of its route.
    Sample,
    /// It was slow.
    Slow,
    /// One of its spans failed.
    Failed,
}

/// Sender of spans: an app, or a service that is not managed here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// Namespace and name of the app; none = its claimed identity matches no app.
    pub app: Option<(Box<str>, Box<str>)>,
    /// The id of its instance (`pm_id`); none = foreign.
    pub instance: Option<u32>,
    /// The service name that it claims.
    pub service: Box<str>,
}

impl Sender {
    /// Returns the key of the owner whose memory it counts against.
    pub(super) fn owner(&self) -> Option<Box<str>> {
        self.app.as_ref().map(|(namespace, name)| format!("{namespace}\0{name}").into())
    }

    fn bytes(&self) -> usize {
        let app = self.app.as_ref().map_or(0, |(namespace, name)| namespace.len() + name.len() + 2 * ALLOCATION);
        size_of::<Self>() + app + self.service.len() + ALLOCATION
    }
}

/// Data by which a trace is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EntrySpan {
    pub(super) route: Box<str>,
    pub(super) took_ns: u64,
    /// True if another span of the trace was already counted for its route.
    pub(super) is_counted: bool,
}

/// Span with the index of its sender.
#[derive(Debug)]
pub(super) struct StoredSpan {
    pub(super) span: Span,
    pub(super) sender: u8,
}

#[derive(Debug)]
pub(super) struct Trace {
    pub(super) owner: Option<Box<str>>,
    /// Position among all traces, by arrival.
    pub(super) sequence: u64,
    /// Arrival of its first and its newest span (wall clock, ms).
    pub(super) first_ms: u64,
    pub(super) last_ms: u64,
    /// Reason for keeping it; none = undecided.
    pub(super) reason: Option<KeepReason>,
    pub(super) spans: Vec<StoredSpan>,
    pub(super) senders: Vec<Sender>,
    /// Number of spans that did not fit.
    pub(super) left_out: u32,
    /// Bytes of its senders and of the texts and lists of its spans.
    heap: usize,
    /// Index of the entry span that was judged; none = not judged yet.
    judged: Option<usize>,
}

impl Trace {
    pub(super) fn new(owner: Option<Box<str>>, sequence: u64, now_ms: u64) -> Self {
        Self {
            owner,
            sequence,
            first_ms: now_ms,
            last_ms: now_ms,
            reason: None,
            spans: Vec::new(),
            senders: Vec::new(),
            left_out: 0,
            heap: 0,
            judged: None,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let owner = self.owner.as_ref().map_or(0, |owner| owner.len());
        size_of::<Self>() + owner + self.spans.capacity() * size_of::<StoredSpan>() + self.heap
    }

    pub(super) fn add(&mut self, sender: &Sender, span: Span, now_ms: u64) -> AddOutcome {
        let at = self.senders.iter().position(|known| known == sender);
        let own = heap(&span) + if at.is_some() { 0 } else { sender.bytes() };
        let is_full = self.spans.len() >= SPANS || self.bytes() + own > BYTES || at.is_none() && self.senders.len() >= SENDERS;
        if is_full {
            self.left_out = self.left_out.saturating_add(1);
            return AddOutcome::Full;
        }
        if self.spans.iter().any(|kept| kept.span.id == span.id) {
            return AddOutcome::Duplicate;
        }
        let at = at.unwrap_or_else(|| {
            self.senders.push(sender.clone());
            self.senders.len() - 1
        });
        self.last_ms = now_ms;
        self.heap += own;
        if span.failed {
            self.reason = Some(KeepReason::Failed);
        }
        self.spans.push(StoredSpan { span, sender: u8::try_from(at).unwrap_or(u8::MAX) });
        AddOutcome::Taken
    }

    /// Returns the data to judge if the newest span is a better entry than the one judged before.
    pub(super) fn news(&mut self) -> Option<EntrySpan> {
        let newest = self.spans.last()?;
        let rank = rank(&newest.span);
        let before = self.judged.and_then(|at| self.spans.get(at)).map_or(0, |kept| self::rank(&kept.span));
        (rank > before).then(|| self.judge(self.spans.len() - 1))
    }

    /// Returns the data to judge if no entry span arrived.
    pub(super) fn last_chance(&mut self) -> Option<EntrySpan> {
        if self.judged.is_some() {
            return None;
        }
        let first = self.spans.iter().enumerate().min_by_key(|(_, kept)| kept.span.start_ns)?;
        Some(self.judge(first.0))
    }

    fn judge(&mut self, at: usize) -> EntrySpan {
        let is_counted = self.judged.replace(at).is_some();
        let span = self.spans.get(at).map(|kept| &kept.span);
        EntrySpan { route: span.map(Span::route).unwrap_or_default().into(), took_ns: span.map_or(0, |span| span.took_ns), is_counted }
    }

    pub(super) fn judged(&mut self, why: Option<KeepReason>) {
        self.reason = self.reason.max(why);
    }
}

/// Returns how well a span fits as the entry of its trace: 2 = root, 1 = handled request, 0 = inner
/// span.
pub(super) fn rank(span: &Span) -> u8 {
    if span.parent.is_none() { 2 } else { u8::from(span.kind.is_entry()) }
}

/// Returns the bytes that a span takes on the heap.
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
