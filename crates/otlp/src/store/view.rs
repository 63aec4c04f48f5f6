//! Display form of traces. A user who may see only some apps gets no spans of the others.

use std::collections::HashMap;

use serde::Serialize;

use super::trace::{KeepReason, Sender, StoredSpan, Trace, rank};
use crate::span::{Span, SpanEvent, SpanId, SpanKind, TraceId, hex};

/// Distance from the entry span, in ns, beyond which a sender's clock counts as wrong.
const FAR_NS: u64 = 3_600_000_000_000;
/// Maximum time in ms of a start before its arrival, and of a start after it. Beyond that, the
/// clock counts as wrong.
const EARLY_MS: u64 = 86_400_000;
const LATE_MS: u64 = 60_000;
/// Maximum depth; deeper spans are shown at this depth.
const DEEPEST: u32 = 64;

/// Filter for the list of traces.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Name of an app; foreign services never match, whatever name they claim.
    pub app: Option<String>,
    /// Minimum duration in ms.
    pub min_ms: f64,
    /// True for failed traces only.
    pub failed: bool,
    /// Text in the route, case-insensitive.
    pub route: Option<String>,
    /// Maximum number of traces.
    pub limit: usize,
}

impl Filter {
    pub(super) fn lets(&self, summary: &Summary) -> bool {
        let of_app = |app: &String| summary.from.iter().any(|shown| shown.app.as_ref() == Some(app));
        let in_route = |word: &String| summary.route.to_lowercase().contains(&word.to_lowercase());
        self.app.as_ref().is_none_or(of_app)
            && (!self.failed || summary.failed)
            && summary.took_ms >= self.min_ms
            && self.route.as_ref().is_none_or(in_route)
    }
}

/// Sender in display form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SenderView {
    /// Name of the app; none = foreign, because its claimed identity matches no app.
    pub app: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its instance.
    pub instance: Option<u32>,
    /// The service name that it claims.
    pub service: String,
}

impl From<&Sender> for SenderView {
    fn from(sender: &Sender) -> Self {
        let (namespace, app) = sender.app.as_ref().map(|(namespace, app)| (namespace.to_string(), app.to_string())).unzip();
        Self { app, namespace, instance: sender.instance, service: sender.service.to_string() }
    }
}

/// Trace in a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Its id, 32 hex digits.
    pub id: String,
    /// Start of its entry span (wall clock, ms); its arrival if that start is implausible.
    pub at: u64,
    /// Duration of its entry span, in ms.
    pub took_ms: f64,
    /// Name of the request.
    pub route: String,
    /// Senders of its spans, that of the entry span first.
    pub from: Vec<SenderView>,
    /// Number of spans.
    pub spans: usize,
    /// True if one of its spans failed.
    pub failed: bool,
    /// Message of the first failed span.
    pub message: String,
    /// Reason for keeping it; none = undecided.
    pub kept: Option<KeepReason>,
}

/// Attributes: key and value.
pub type Pairs = Vec<(String, String)>;

/// Span in display form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpanShown {
    /// Its id, 16 hex digits.
    pub id: String,
    /// Id of its parent span.
    pub parent: Option<String>,
    /// Number of its ancestors that are present.
    pub depth: u32,
    /// Its name; for HTTP: method and route.
    pub name: String,
    /// Its role.
    pub kind: SpanKind,
    /// Index of its sender in `from`.
    pub from: usize,
    /// Start in ms after the start of the entry span; negative if before it.
    pub at_ms: f64,
    /// Its duration in ms.
    pub took_ms: f64,
    /// True if the clock of its sender differs by more than an hour; `at_ms` is then 0.
    pub skewed: bool,
    /// True if it failed.
    pub failed: bool,
    /// Message of its status.
    pub message: String,
    /// Key and value.
    pub attributes: Pairs,
    /// Its events: ms after the start of the entry span, name, attributes.
    pub events: Vec<(f64, String, Pairs)>,
    /// Number of attributes and events that were left out.
    pub left_out: u32,
}

/// Complete trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detail {
    /// The same as in a list.
    #[serde(flatten)]
    pub summary: Summary,
    /// Its spans, each after its parent.
    pub tree: Vec<SpanShown>,
    /// Number of spans that did not fit.
    pub left_out: u32,
}

/// Visible spans, and the index of the entry span.
struct VisibleSpans<'a> {
    spans: Vec<&'a StoredSpan>,
    entry: &'a StoredSpan,
    /// Indices of the senders, that of the entry span first.
    senders: Vec<u8>,
}

fn visible_spans<'a>(trace: &'a Trace, sees: &dyn Fn(&Sender) -> bool) -> Option<VisibleSpans<'a>> {
    let visible: Vec<bool> = trace.senders.iter().map(sees).collect();
    let is_seen = |kept: &&StoredSpan| visible.get(usize::from(kept.sender)).copied().unwrap_or(false);
    let spans: Vec<&StoredSpan> = trace.spans.iter().filter(is_seen).collect();
    let entry = *spans.iter().min_by_key(|kept| (std::cmp::Reverse(rank(&kept.span)), kept.span.start_ns))?;
    let mut senders = vec![entry.sender];
    for kept in &spans {
        if !senders.contains(&kept.sender) {
            senders.push(kept.sender);
        }
    }
    Some(VisibleSpans { spans, entry, senders })
}

pub(super) fn summary(id: &TraceId, trace: &Trace, sees: &dyn Fn(&Sender) -> bool) -> Option<Summary> {
    Some(visible_spans(trace, sees)?.summary(id, trace))
}

pub(super) fn detail(id: &TraceId, trace: &Trace, sees: &dyn Fn(&Sender) -> bool) -> Option<Detail> {
    let seen = visible_spans(trace, sees)?;
    let tree = tree(&seen.spans).into_iter().map(|(kept, depth)| seen.shown(kept, depth)).collect();
    Some(Detail { summary: seen.summary(id, trace), tree, left_out: trace.left_out })
}

impl VisibleSpans<'_> {
    fn summary(&self, id: &TraceId, trace: &Trace) -> Summary {
        let begin_ms = self.entry.span.start_ns / 1_000_000;
        let can_be = begin_ms + EARLY_MS >= trace.first_ms && begin_ms <= trace.first_ms + LATE_MS;
        let failed = || self.spans.iter().map(|kept| &kept.span).filter(|span| span.failed);
        let message = failed().find_map(failure_message).unwrap_or_default();
        Summary {
            id: hex(id),
            at: if can_be { begin_ms } else { trace.first_ms },
            took_ms: ms(self.entry.span.took_ns),
            route: self.entry.span.route(),
            from: self.senders.iter().filter_map(|at| trace.senders.get(usize::from(*at))).map(SenderView::from).collect(),
            spans: self.spans.len(),
            failed: failed().next().is_some(),
            message,
            kept: trace.reason,
        }
    }

    fn shown(&self, kept: &StoredSpan, depth: u32) -> SpanShown {
        let (span, begin) = (&kept.span, self.entry.span.start_ns);
        let skewed = span.start_ns.abs_diff(begin) > FAR_NS;
        let at = |at_ns: u64| match at_ns.abs_diff(begin) {
            far if far > FAR_NS => 0.0,
            near if at_ns < begin => -ms(near),
            near => ms(near),
        };
        let pairs = |list: &[(Box<str>, Box<str>)]| list.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        SpanShown {
            id: hex(&span.id),
            parent: span.parent.map(|id| hex(&id)),
            depth,
            name: span.route(),
            kind: span.kind,
            from: self.senders.iter().position(|at| *at == kept.sender).unwrap_or(0),
            at_ms: at(span.start_ns),
            took_ms: ms(span.took_ns),
            skewed,
            failed: span.failed,
            message: span.message.to_string(),
            attributes: pairs(&span.attributes),
            events: span.events.iter().map(|event| (at(event.at_ns), event.name.to_string(), pairs(&event.attributes))).collect(),
            left_out: span.left_out,
        }
    }
}

/// Returns the message of a failed span: its status, else its exception, else the HTTP status.
fn failure_message(span: &Span) -> Option<String> {
    if !span.message.is_empty() {
        return Some(span.message.to_string());
    }
    let of_event =
        |event: &SpanEvent| event.attributes.iter().find(|(key, _)| &**key == "exception.message").map(|(_, value)| value.to_string());
    let status = || ["http.response.status_code", "http.status_code"].into_iter().find_map(|key| span.attribute(key));
    span.events.iter().find_map(of_event).or_else(|| status().map(|status| format!("HTTP {status}")))
}

#[expect(clippy::cast_precision_loss, reason = "a time for people")]
fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// Returns each span after its parent, siblings by their start, with the number of its ancestors.
/// Spans that claim to be their own ancestors come last.
fn tree<'a>(spans: &[&'a StoredSpan]) -> Vec<(&'a StoredSpan, u32)> {
    let here: HashMap<SpanId, usize> = spans.iter().enumerate().map(|(at, kept)| (kept.span.id, at)).collect();
    let parent = |kept: &StoredSpan| kept.span.parent.and_then(|id| here.get(&id).copied());
    let mut below: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
    for (at, kept) in spans.iter().enumerate() {
        below.entry(parent(kept)).or_default().push(at);
    }
    for list in below.values_mut() {
        // Sorted in reverse, because they are taken from the end.
        list.sort_by_key(|at| std::cmp::Reverse(spans[*at].span.start_ns));
    }
    let (mut out, mut is_out) = (Vec::with_capacity(spans.len()), vec![false; spans.len()]);
    let mut begin: Vec<(usize, u32)> = below.remove(&None).unwrap_or_default().into_iter().map(|at| (at, 0)).collect();
    let mut rest = 0;
    loop {
        while let Some((at, depth)) = begin.pop() {
            if std::mem::replace(&mut is_out[at], true) {
                continue;
            }
            out.push((spans[at], depth));
            begin.extend(below.remove(&Some(at)).unwrap_or_default().into_iter().map(|child| (child, (depth + 1).min(DEEPEST))));
        }
        while is_out.get(rest).copied().unwrap_or(false) {
            rest += 1;
        }
        if rest >= spans.len() {
            return out;
        }
        begin.push((rest, 0));
    }
}
