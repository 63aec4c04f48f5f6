//! Schedule of outgoing messages: at most one at a time per channel and within the service's rate
//! limit. A failed message is retried after a growing delay.

use std::collections::{BTreeMap, VecDeque};

use ostler_core::message;

use crate::message::Message;
use crate::render::DeliveryResult;

/// Delay after the first failure; it doubles with each further failure …
const FIRST_MS: u64 = 1000;
/// … up to this.
const LONGEST_MS: u64 = 300_000;
/// Time after which an undeliverable message is dropped.
const GIVEN_UP_MS: u64 = 86_400_000;
const MINUTE_MS: u64 = 60_000;

/// Delivery state of all channels.
#[derive(Debug, Default)]
pub struct Dispatch {
    lanes: BTreeMap<String, ChannelQueue>,
}

#[derive(Debug, Default)]
struct ChannelQueue {
    /// Id of the message that is being sent.
    busy: Option<String>,
    failures: u32,
    /// Earliest time of the next attempt.
    next_ms: u64,
    /// Times of the messages sent within the last minute.
    recent: VecDeque<u64>,
}

/// Action for a message.
#[derive(Clone, Debug, PartialEq)]
pub enum SendAction {
    /// Send it.
    Send(Message),
    /// Drop it.
    GiveUp {
        /// Its id.
        id: String,
        /// The reason.
        why: String,
    },
}

impl Dispatch {
    /// Returns the actions that are due and the time of the next call. `per_minute` returns the
    /// rate limit of a channel; none = the channel does not exist.
    pub fn next(
        &mut self,
        waiting: &VecDeque<Message>,
        per_minute: impl Fn(&str) -> Option<usize>,
        now: u64,
    ) -> (Vec<SendAction>, Option<u64>) {
        let (mut orders, mut again): (Vec<SendAction>, Option<u64>) = (Vec::new(), None);
        for message in waiting {
            let id = message.id.clone();
            let Some(most) = per_minute(&message.channel) else {
                orders.push(SendAction::GiveUp { id, why: message!("the channel no longer exists") });
                continue;
            };
            let lane = self.lanes.entry(message.channel.clone()).or_default();
            if lane.busy.is_some() {
                continue;
            }
            if now.saturating_sub(message.at_ms) > GIVEN_UP_MS {
                orders.push(SendAction::GiveUp { id, why: message!("it could not be delivered within a day") });
                continue;
            }
            let at = lane.free_at(most, now);
            if at > now {
                again = again.into_iter().chain([at]).min();
                continue;
            }
            lane.busy = Some(id);
            lane.recent.push_back(now);
            orders.push(SendAction::Send(message.clone()));
        }
        (orders, again)
    }

    /// Records the result of an attempt. Returns true if the message is finished, false if it will
    /// be sent again.
    pub fn done(&mut self, channel: &str, id: &str, verdict: &DeliveryResult, now: u64) -> bool {
        let lane = self.lanes.entry(channel.to_owned()).or_default();
        if lane.busy.as_deref() == Some(id) {
            lane.busy = None;
        }
        let DeliveryResult::Later { after_ms, .. } = verdict else {
            lane.failures = 0;
            lane.next_ms = 0;
            return true;
        };
        let own = (FIRST_MS << lane.failures.min(20)).min(LONGEST_MS);
        lane.failures = lane.failures.saturating_add(1);
        lane.next_ms = now + after_ms.unwrap_or(0).max(own);
        false
    }

    /// Returns the number of consecutive failures.
    pub fn failures(&self, channel: &str) -> u32 {
        self.lanes.get(channel).map_or(0, |lane| lane.failures)
    }
}

impl ChannelQueue {
    fn free_at(&mut self, most: usize, now: u64) -> u64 {
        // If the clock was set back, nothing waits longer than it would have otherwise.
        self.recent.iter_mut().for_each(|at| *at = (*at).min(now));
        self.next_ms = self.next_ms.min(now + 12 * LONGEST_MS);
        while self.recent.front().is_some_and(|at| at + MINUTE_MS < now) {
            self.recent.pop_front();
        }
        let full = (self.recent.len() >= most).then(|| self.recent[self.recent.len() - most] + MINUTE_MS + 1);
        self.next_ms.max(full.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(count: u64, channel: &str) -> VecDeque<Message> {
        (0..count).map(|n| Message::test(channel, "box", format!("{channel}-{n}"), 0)).collect()
    }

    fn sent(orders: &[SendAction]) -> Vec<&str> {
        orders.iter().filter_map(|order| if let SendAction::Send(message) = order { Some(message.id.as_str()) } else { None }).collect()
    }

    #[test]
    fn slow_or_failing_channel_does_not_delay_others() {
        let mut dispatch = Dispatch::default();
        let mut all = waiting(3, "slow");
        all.extend(waiting(2, "quick"));
        let orders = dispatch.next(&all, |_| Some(60), 0).0;
        assert_eq!(sent(&orders), ["slow-0", "quick-0"]);
        assert!(dispatch.done("quick", "quick-0", &DeliveryResult::Delivered, 5));
        all.retain(|message| message.id != "quick-0");
        assert_eq!(sent(&dispatch.next(&all, |_| Some(60), 6).0), ["quick-1"], "one at a time, and slow's first is still on its way");
        let later = DeliveryResult::Later { after_ms: None, why: String::new() };
        let mut now = 10;
        for wait in [1000, 2000, 4000] {
            assert!(!dispatch.done("slow", "slow-0", &later, now));
            let (orders, again) = dispatch.next(&all, |_| Some(60), now);
            assert_eq!((sent(&orders).len(), again), (0, Some(now + wait)));
            now += wait;
            assert_eq!(sent(&dispatch.next(&all, |_| Some(60), now).0), ["slow-0"], "the same again, with its id");
        }
        for _ in 0..50 {
            dispatch.done("slow", "slow-0", &later, now);
        }
        assert_eq!(dispatch.next(&all, |_| Some(60), now).1, Some(now + LONGEST_MS));
        let retry_later = DeliveryResult::Later { after_ms: Some(3_600_000), why: String::new() };
        dispatch.done("slow", "slow-0", &retry_later, now);
        assert_eq!(dispatch.next(&all, |_| Some(60), now).1, Some(now + 3_600_000));
    }

    #[test]
    fn dispatch_keeps_rate_limit_and_gives_up_old_messages() {
        let mut dispatch = Dispatch::default();
        let mut all = waiting(50, "ding");
        let mut times = Vec::new();
        let mut now = 0;
        while let Some(first) = all.front().cloned() {
            let (orders, again) = dispatch.next(&all, |_| Some(20), now);
            if sent(&orders).is_empty() {
                now = again.unwrap();
                continue;
            }
            times.push(now);
            dispatch.done("ding", &first.id, &DeliveryResult::Delivered, now);
            all.pop_front();
        }
        assert!(times.windows(21).all(|window| window[20] - window[0] > MINUTE_MS), "{times:?}");
        let old = waiting(1, "ops");
        assert!(matches!(&dispatch.next(&old, |_| Some(1), 2 * GIVEN_UP_MS).0[..], [SendAction::GiveUp { .. }]));
        assert!(matches!(&dispatch.next(&old, |_| None, 0).0[..], [SendAction::GiveUp { .. }]));
    }
}
