//! Kept connections of a process that is about to be stopped.
//!
//! A client that keeps its connection open may send its next request just when the process closes
//! it, and that request is lost. Most servers close a connection politely if its client seems to
//! leave. So ostler announces that to the server while the connection is at rest, before the stop
//! signal. A server that takes no notice of the first one is left alone from then on.
//!
//! Only connections on which another request arrived during the drain are retired. On the others,
//! a server may have paused within its answer, and would cut it.

use std::collections::BTreeMap;

/// Longest time for which the stop signal waits for kept connections.
const RETIRES_WITHIN_MS: u64 = 2000;
/// Time within which a server closes the connection of a client that leaves.
const CLOSES_WITHIN_MS: u64 = 200;
/// Whether an app's program closes a connection whose client seems to leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Canary {
    /// No connection was retired yet.
    #[default]
    Untried,
    /// It closes them.
    Closes,
    /// It does not.
    Ignores,
}

/// Kept connection of the process at one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Unique number of the connection.
    pub id: u64,
    /// Bytes that its client has sent.
    pub received: u64,
    /// Whether its last request is answered and nothing is in transit.
    pub at_rest: bool,
}

/// Next step after a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetireStep {
    /// Announce to the server that the clients of these connections leave (none: wait), and check
    /// again.
    Announce(Vec<u64>),
    /// The process can be stopped.
    Done,
}

/// Connections of one process that are being retired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retiring {
    /// Bytes that each connection had received when it was first seen.
    first: BTreeMap<u64, u64>,
    until_ms: Option<u64>,
    /// Announced connections: bytes received until then, and until when they should be closed.
    announced: BTreeMap<u64, (u64, u64)>,
}

impl Retiring {
    /// Takes the numbers of open connections and the bytes received, at one check during the drain.
    pub fn observe(&mut self, connections: impl Iterator<Item = (u64, u64)>) {
        connections.for_each(|(id, received)| _ = self.first.entry(id).or_insert(received));
    }

    /// Takes the open connections of the process at one check, when all requests are answered.
    pub fn update(&mut self, open: &[Kept], canary: &mut Canary, now_ms: u64) -> RetireStep {
        let until_ms = *self.until_ms.get_or_insert(now_ms.saturating_add(RETIRES_WITHIN_MS));
        self.learn(open, canary, now_ms);
        let mut used = open.iter().filter(|kept| self.is_used(kept)).peekable();
        if used.peek().is_none() || *canary == Canary::Ignores || now_ms >= until_ms {
            return RetireStep::Done;
        }
        let most = match canary {
            Canary::Closes => usize::MAX,
            _ => usize::from(self.announced.is_empty()),
        };
        let at_rest = used.filter(|kept| kept.at_rest && !self.announced.contains_key(&kept.id));
        let next: Vec<&Kept> = at_rest.take(most).collect();
        let until_ms = now_ms.saturating_add(CLOSES_WITHIN_MS);
        self.announced.extend(next.iter().map(|kept| (kept.id, (kept.received, until_ms))));
        RetireStep::Announce(next.iter().map(|kept| kept.id).collect())
    }

    /// Returns true if another request arrived during the drain.
    pub fn is_used(&self, kept: &Kept) -> bool {
        self.first.get(&kept.id).is_some_and(|first| kept.received > *first)
    }

    /// Learns from announced connections whether the program closes them.
    fn learn(&mut self, open: &[Kept], canary: &mut Canary, now_ms: u64) {
        if *canary != Canary::Untried {
            return;
        }
        self.announced.retain(|id, (received, until_ms)| match open.iter().find(|kept| kept.id == *id) {
            None => {
                *canary = Canary::Closes;
                true
            }
            // Its client has sent another request at that moment. Another connection will tell.
            Some(kept) if kept.received > *received => false,
            Some(_) if now_ms >= *until_ms => {
                *canary = Canary::Ignores;
                true
            }
            Some(_) => true,
        });
    }
}

/// Returns true if the last request on a connection was answered. `unread` and `queued` are bytes that
/// the process has not read, or the kernel has not sent; the times since the last data are in ms.
/// Within one tick of the kernel's clock, the order of request and answer is unknown. Such a
/// connection is at rest after a later request.
pub fn is_at_rest(unread: u32, queued: u32, since_received_ms: u32, since_sent_ms: u32) -> bool {
    unread == 0 && queued == 0 && since_received_ms > since_sent_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the state of a process whose connections 1 to 9 have received another request.
    fn observed() -> Retiring {
        let mut retiring = Retiring::default();
        retiring.observe((1..10).map(|id| (id, 5)));
        retiring
    }

    fn kept(id: u64) -> Kept {
        Kept { id, received: 9, at_rest: true }
    }

    fn busy(id: u64) -> Kept {
        Kept { at_rest: false, ..kept(id) }
    }

    fn announce(ids: &[u64]) -> RetireStep {
        RetireStep::Announce(ids.to_vec())
    }

    #[test]
    fn connections_are_retired_at_rest_after_the_first_one_was_closed() {
        let (mut retiring, mut canary) = (observed(), Canary::default());
        for (open, now_ms, step) in [
            (&[busy(1), busy(2)][..], 0, announce(&[])),
            (&[busy(1), kept(2), kept(3), kept(4)], 10, announce(&[2])),
            (&[busy(1), kept(2), kept(3), kept(4)], 20, announce(&[])),
            (&[busy(1), kept(3), kept(4)], 30, announce(&[3, 4])),
            (&[kept(1), kept(3)], 40, announce(&[1])),
            // With the first one closed, a slow one is waited for.
            (&[kept(1), kept(3)], 1999, announce(&[])),
            (&[kept(1)], 2000, RetireStep::Done),
        ] {
            assert_eq!(retiring.update(open, &mut canary, now_ms), step, "{now_ms}");
        }
        assert_eq!(canary, Canary::Closes);
        assert_eq!(observed().update(&[], &mut canary, 0), RetireStep::Done);
    }

    /// A pause within an answer looks like rest.
    #[test]
    fn connection_without_another_request_is_left_alone() {
        let mut canary = Canary::Closes;
        let (idle, unseen) = (Kept { received: 5, ..kept(1) }, kept(20));
        assert_eq!(observed().update(&[idle, unseen], &mut canary, 0), RetireStep::Done);
        assert_eq!(observed().update(&[idle, kept(2), unseen], &mut canary, 0), announce(&[2]));
    }

    #[test]
    fn program_that_ignores_the_first_one_is_left_alone() {
        let (mut retiring, mut canary) = (observed(), Canary::default());
        assert_eq!(retiring.update(&[kept(1), kept(2)], &mut canary, 0), announce(&[1]));
        assert_eq!(retiring.update(&[kept(1), kept(2)], &mut canary, 199), announce(&[]));
        assert_eq!(retiring.update(&[kept(1), kept(2)], &mut canary, 200), RetireStep::Done);
        assert_eq!(observed().update(&[kept(3)], &mut canary, 900), RetireStep::Done);
    }

    #[test]
    fn request_at_that_moment_says_nothing_about_the_program() {
        let (mut retiring, mut canary) = (observed(), Canary::default());
        assert_eq!(retiring.update(&[kept(1), kept(2)], &mut canary, 0), announce(&[1]));
        let more = Kept { received: 18, ..busy(1) };
        assert_eq!(retiring.update(&[more, kept(2)], &mut canary, 300), announce(&[2]));
        assert_eq!(retiring.update(&[more], &mut canary, 310), announce(&[]));
        assert_eq!(canary, Canary::Closes);
    }

    #[test]
    fn answered_connection_is_at_rest() {
        for (unread, queued, since_received_ms, since_sent_ms, expected) in
            [(0, 0, 8, 4, true), (0, 0, 4, 8, false), (1, 0, 8, 4, false), (0, 1, 8, 4, false), (0, 0, 4, 4, false)]
        {
            assert_eq!(is_at_rest(unread, queued, since_received_ms, since_sent_ms), expected, "{since_received_ms} {since_sent_ms}");
        }
    }
}
