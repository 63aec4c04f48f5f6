//! Queue of outgoing requests. It is bounded and drops the oldest first. One request is sent at a
//! time, and the pause between retries grows.

use std::collections::VecDeque;

use serde::Serialize;

use crate::answer::partial;
use crate::decode::Signal;

/// Pause after the first failure and maximum pause, in ms.
const FIRST_PAUSE_MS: u64 = 1000;
const LONGEST_PAUSE_MS: u64 = 60_000;
/// Maximum pause that a receiver may request, in ms.
const LONGEST_ASKED_MS: u64 = 300_000;

/// Waiting request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its signal.
    pub signal: Signal,
    /// Its encoded body.
    pub body: Vec<u8>,
    /// Number of metrics or records in it.
    pub items: u64,
}

/// Delivery counters since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Metrics and records that were accepted.
    pub sent: u64,
    /// Items that were dropped because the queue was full.
    pub dropped: u64,
    /// Items that the receiver refused.
    pub refused: u64,
    /// Error of the last request; empty = it was accepted.
    pub problem: String,
}

/// Outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// Accepted, except this number of items, for the given reason.
    Taken(Option<(u64, String)>),
    /// Failed for now: retry after this delay in ms, if the receiver named one.
    Later(Option<u64>, String),
    /// Refused permanently.
    Refused(String),
}

/// Evaluates a response. `retry_after` is the unparsed header.
pub fn judge(status: u16, retry_after: Option<&str>, body: &[u8]) -> SendOutcome {
    match status {
        200..=299 => SendOutcome::Taken(partial(body)),
        // The standard lists these as retryable; all others are final.
        429 | 502..=504 => {
            let after = retry_after.and_then(|text| text.trim().parse::<u64>().ok()).map(|seconds| seconds.saturating_mul(1000));
            SendOutcome::Later(after, format!("it answered {status}"))
        }
        300..=399 => SendOutcome::Refused(format!("it answered {status}: redirects are not followed; use the final address")),
        401 | 403 => SendOutcome::Refused(format!("it answered {status}: the authentication header is missing or wrong")),
        _ => SendOutcome::Refused(format!("it answered {status}")),
    }
}

/// Next action of the sender.
#[derive(Debug, PartialEq, Eq)]
pub enum SenderAction {
    /// Send this batch, then report its result.
    Send(Batch),
    /// Wait until this time, in ms.
    At(u64),
    /// Wait until a request is added or the current one finishes.
    Nothing,
}

/// Queue of outgoing requests.
#[derive(Debug)]
pub struct Queue {
    most_bytes: usize,
    bytes: usize,
    waiting: VecDeque<Batch>,
    /// Batch that is being sent.
    in_flight: Option<Batch>,
    failures: u32,
    not_before_ms: u64,
    counts: Counts,
}

impl Queue {
    /// Creates an empty queue with at most `most_bytes` bytes. The batch that is being sent does
    /// not count.
    pub fn new(most_bytes: usize) -> Self {
        Self { most_bytes, bytes: 0, waiting: VecDeque::new(), in_flight: None, failures: 0, not_before_ms: 0, counts: Counts::default() }
    }

    /// Returns the delivery counters.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Adds a request. If the queue is full, the oldest requests are dropped.
    pub fn push(&mut self, batch: Batch) {
        self.bytes += batch.body.len();
        self.waiting.push_back(batch);
        self.bound();
    }

    fn bound(&mut self) {
        while self.bytes > self.most_bytes
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.bytes -= oldest.body.len();
            self.counts.dropped += oldest.items;
        }
    }

    /// Returns the next action. `now_ms` is a monotonic clock.
    pub fn next(&mut self, now_ms: u64) -> SenderAction {
        if self.in_flight.is_some() || self.waiting.is_empty() {
            return SenderAction::Nothing;
        }
        if now_ms < self.not_before_ms {
            return SenderAction::At(self.not_before_ms);
        }
        let Some(batch) = self.waiting.pop_front() else { return SenderAction::Nothing };
        self.bytes -= batch.body.len();
        self.in_flight = Some(batch.clone());
        SenderAction::Send(batch)
    }

    /// Records the result of the current request. `chance` (0 to 1) spreads the retries of senders
    /// with the same receiver. Returns a line to log if the state changed.
    pub fn done(&mut self, verdict: SendOutcome, now_ms: u64, chance: f64) -> Option<String> {
        let batch = self.in_flight.take()?;
        let before = std::mem::take(&mut self.counts.problem);
        match verdict {
            SendOutcome::Taken(partial) => {
                self.failures = 0;
                let refused = partial.as_ref().map_or(0, |(refused, _)| (*refused).min(batch.items));
                self.counts.sent += batch.items - refused;
                self.counts.refused += refused;
                self.counts.problem = partial.map(|(refused, why)| format!("it rejected {refused} of them: {why}")).unwrap_or_default();
            }
            SendOutcome::Refused(why) => {
                self.counts.refused += batch.items;
                self.counts.problem = why;
            }
            SendOutcome::Later(after, why) => {
                self.failures = self.failures.saturating_add(1);
                self.not_before_ms = now_ms + pause(self.failures, after, chance);
                self.bytes += batch.body.len();
                self.waiting.push_front(batch);
                self.bound();
                self.counts.problem = why;
            }
        }
        let after = &self.counts.problem;
        (before != *after).then(|| if after.is_empty() { "all data is accepted again".to_owned() } else { after.clone() })
    }
}

/// Returns the time until the next attempt in ms.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a part of a pause")]
fn pause(failures: u32, asked_ms: Option<u64>, chance: f64) -> u64 {
    let doubled = FIRST_PAUSE_MS.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_PAUSE_MS);
    let own = (doubled as f64 * (0.5 + chance.clamp(0.0, 1.0) / 2.0)) as u64;
    own.max(asked_ms.unwrap_or(0).min(LONGEST_ASKED_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(bytes: usize, items: u64) -> Batch {
        Batch { signal: Signal::Logs, body: vec![0; bytes], items }
    }

    #[test]
    fn judge_maps_status_to_verdict() {
        let later = |after, status| SendOutcome::Later(after, format!("it answered {status}"));
        for (status, after, expected) in [
            (200, None, SendOutcome::Taken(None)),
            (429, Some("7"), later(Some(7000), 429)),
            (503, Some("Wed, 21 Oct 2026 07:28:00 GMT"), later(None, 503)),
            (502, None, later(None, 502)),
            (500, None, SendOutcome::Refused("it answered 500".into())),
            (400, Some("7"), SendOutcome::Refused("it answered 400".into())),
        ] {
            assert_eq!(judge(status, after, b"{}"), expected, "{status}");
        }
        assert!(matches!(judge(302, None, b""), SendOutcome::Refused(why) if why.contains("redirects")));
        let some = br#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"old"}}"#;
        assert_eq!(judge(200, None, some), SendOutcome::Taken(Some((2, "old".into()))));
    }

    #[test]
    fn queue_sends_in_order_with_growing_pauses() {
        let mut queue = Queue::new(1000);
        assert_eq!(queue.next(0), SenderAction::Nothing);
        queue.push(batch(10, 1));
        queue.push(batch(20, 2));
        assert_eq!((queue.next(0), queue.next(0)), (SenderAction::Send(batch(10, 1)), SenderAction::Nothing));
        assert_eq!(queue.done(judge(503, None, b""), 100, 1.0).as_deref(), Some("it answered 503"));
        assert_eq!(queue.next(100), SenderAction::At(1100));
        assert_eq!(queue.next(1100), SenderAction::Send(batch(10, 1)), "the same one again");
        assert_eq!(queue.done(judge(503, Some("30"), b""), 1100, 1.0), None, "told once");
        assert_eq!(queue.next(1100), SenderAction::At(31_100));
        assert_eq!(queue.next(31_100), SenderAction::Send(batch(10, 1)));
        assert_eq!(queue.done(SendOutcome::Taken(Some((5, "x".into()))), 0, 0.0).as_deref(), Some("it rejected 5 of them: x"));
        assert_eq!(queue.next(31_100), SenderAction::Send(batch(20, 2)));
        assert_eq!(queue.done(SendOutcome::Taken(None), 0, 0.0).as_deref(), Some("all data is accepted again"));
        let Counts { sent, refused, dropped, .. } = queue.counts();
        assert_eq!((*sent, *refused, *dropped), (2, 1, 0), "no more is refused than was sent");
        for (failures, least, most) in [(1, 500, 1000), (3, 2000, 4000), (50, 30_000, 60_000)] {
            assert_eq!((pause(failures, None, 0.0), pause(failures, None, 1.0)), (least, most));
        }
        assert_eq!(pause(1, Some(u64::MAX), 0.0), LONGEST_ASKED_MS);
    }

    #[test]
    fn full_queue_drops_and_counts_oldest_batches() {
        let mut queue = Queue::new(100);
        for n in 1..=5 {
            queue.push(batch(40, n));
        }
        assert_eq!((queue.counts().dropped, queue.bytes), (6, 80));
        assert_eq!(queue.next(0), SenderAction::Send(batch(40, 4)));
        queue.push(batch(60, 6));
        queue.done(SendOutcome::Later(None, "x".into()), 0, 0.0);
        assert_eq!((queue.counts().dropped, queue.bytes), (10, 100), "what came back was the oldest");
        queue.push(batch(1000, 7));
        assert_eq!(
            (queue.counts().dropped, queue.bytes, queue.next(10_000)),
            (28, 0, SenderAction::Nothing),
            "one that is too large waits for nothing"
        );
    }
}
