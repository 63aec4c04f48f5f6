//! Rate of the notifications to a channel.

use serde::{Deserialize, Serialize};

/// Maximum number of messages to a channel within any minute.
pub const MOST_A_MINUTE: usize = 3;
const MINUTE_MS: u64 = 60_000;
/// Time in which alerts with a common cause are collected before the first message.
pub(super) const GATHER_MS: u64 = 200;
/// Minimum time between two messages.
const BATCH_MS: u64 = 30_000;
/// Minimum time between two messages if the second reports a new critical alert.
const URGENT_MS: u64 = 1000;

/// Times of a channel's last messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Creation times of the messages, at most [`MOST_A_MINUTE`].
    sent: Vec<u64>,
    /// Time at which the collected alerts are due.
    pub(super) due_ms: Option<u64>,
}

impl Pace {
    /// Returns the earliest time of the next message, now that there is something to send.
    pub(super) fn next(&mut self, urgent: bool, now: u64) -> u64 {
        let due = *self.due_ms.get_or_insert(now + GATHER_MS);
        let Some(last) = self.sent.last() else { return due };
        let third = if self.sent.len() >= MOST_A_MINUTE { self.sent[0] + MINUTE_MS + 1 } else { 0 };
        // The last message within a minute is reserved for a batch of everything that is collected
        // until then.
        let recent = self.sent.iter().filter(|at| now.saturating_sub(**at) <= MINUTE_MS).count();
        let gap = if urgent && recent + 1 < MOST_A_MINUTE { URGENT_MS } else { BATCH_MS };
        due.max(last + gap).max(third)
    }

    pub(super) fn record_sent(&mut self, now: u64) {
        self.due_ms = None;
        self.sent.push(now);
        if self.sent.len() > MOST_A_MINUTE {
            self.sent.remove(0);
        }
    }

    pub(super) fn clamp_to(&mut self, now: u64) {
        self.sent.iter_mut().for_each(|at| *at = (*at).min(now));
        self.due_ms = self.due_ms.map(|at| at.min(now + GATHER_MS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_sends_first_at_once_then_batches_unless_urgent() {
        let mut pace = Pace::default();
        assert_eq!(pace.next(false, 1000), 1200);
        pace.record_sent(1200);
        assert_eq!(pace.next(false, 1300), 31_200);
        assert_eq!(pace.next(true, 1400), 2200, "as soon as something urgent is there");
        pace.record_sent(2200);
        assert_eq!(pace.next(true, 2300), 32_200);
        pace.record_sent(32_200);
        assert_eq!(pace.next(true, 32_300), 62_200, "the fourth: not in the minute of the first");
    }
}
