//! Socket on which an app sends its state by sd_notify.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ostler_core::serving::budget::{Bucket, NOTIFICATIONS};
use ostler_proto::sd_notify::{DATAGRAM_MAX, Notification, parse};
use ostler_sys::net::datagram;

use super::{Watched, notify_path};
use crate::platform::reactor::Reactor;

/// Datagrams taken per turn of the loop; the rest waits, and its senders with it.
pub(super) const PER_TURN: usize = 32;
/// Most datagrams after the end, far more than fit into the socket: somebody may go on writing.
const TO_THE_END: usize = 2048;
/// Time between two lines in our log that an app can cause.
const QUIET_MS: u64 = 1000;

/// Socket of one process.
#[derive(Debug)]
pub(super) struct Notify {
    fd: OwnedFd,
    id: u32,
    pub key: u64,
    /// User that may send, besides us and root.
    user: u32,
    pub watchdog: Option<Watchdog>,
    /// Extension of the time that was requested before we knew that the process runs.
    pub extended_ms: Option<u64>,
    /// Number of journal writes when the next datagram was dealt with; it is taken out after the next one.
    dealt_with: Option<u64>,
    /// Datagrams that are still received in this turn.
    pub left_in_turn: usize,
    /// Datagrams that were received since its process is known to end.
    pub received_at_end: usize,
    quiet_until_ms: u64,
    /// Rate of datagrams.
    rate: Bucket,
}

/// Result of a reception.
#[derive(Debug)]
pub(super) enum Next {
    /// A notification.
    Message(Notification),
    /// Nothing more.
    Nothing,
    /// What was received last is not in the journal yet.
    Later,
}

/// Watchdog of an app: how long it may send nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watchdog {
    pub period_ms: u64,
    /// Time when it counts as missed; none = the app is not running yet, or being stopped.
    pub due_ms: Option<u64>,
}

/// Shortest one that is accepted: shorter ones would restart an app that is merely busy.
const SHORTEST_MS: u64 = 100;

impl Watchdog {
    pub(super) fn new(period_ms: u64) -> Self {
        Self { period_ms: period_ms.max(SHORTEST_MS), due_ms: None }
    }
}

impl Notify {
    /// Takes one that the keeper held.
    pub(super) fn watch(fd: OwnedFd, id: u32, key: u64, user: u32, watchdog: Option<Watchdog>, reactor: &Reactor) -> Option<Self> {
        reactor.add(&fd, Watched::Notify.source(id)).ok()?;
        Some(Self {
            fd,
            id,
            key,
            user,
            watchdog,
            extended_ms: None,
            dealt_with: None,
            left_in_turn: 0,
            received_at_end: 0,
            quiet_until_ms: 0,
            rate: Bucket::default(),
        })
    }

    pub(super) fn held_name(key: u64) -> String {
        format!("notify:{key}")
    }

    /// Receives the next notification. It stays where it is until [`Notify::take`], so that a daemon that dies over it leaves it to the next one.
    /// Datagrams of others, cut and senderless ones are ignored. `writes`: of the journal, so far.
    pub(super) fn next(&mut self, writes: u64) -> Next {
        if let Some(dealt_with) = self.dealt_with {
            if writes <= dealt_with {
                return Next::Later;
            }
            self.take();
        }
        self.peek().map_or(Next::Nothing, Next::Message)
    }

    fn peek(&self) -> Option<Notification> {
        // One more than is accepted: a longer one is known by being cut.
        let mut buffer = [0; DATAGRAM_MAX + 1];
        let us = rustix::process::geteuid().as_raw();
        let datagram = datagram::peek(&self.fd, &mut buffer).ok()??;
        let may_speak = datagram.sender.is_some_and(|sender| [0, us, self.user].contains(&sender.uid));
        let said = if may_speak && !datagram.cut { buffer.get(..datagram.len).unwrap_or_default() } else { &[] };
        Some(parse(said))
    }

    /// Removes what [`Notify::next`] returned.
    pub(super) fn take(&mut self) {
        self.dealt_with = None;
        // Nobody else reads here: what was seen is there.
        let _ = datagram::recv(&self.fd, &mut [0]);
    }

    /// Removes what [`Notify::next`] returned when the journal, which had so many writes when it was dealt with, has what follows from it.
    pub(super) fn take_after(&mut self, writes: u64) {
        self.dealt_with = Some(writes);
    }

    /// Most datagrams that are still received of a process that has ended: somebody else may go on writing.
    pub(super) fn left_at_end(&self) -> usize {
        TO_THE_END.saturating_sub(self.received_at_end)
    }

    /// Counts what was taken in this turn. When it was too much nothing is received before this time: the sender has to wait.
    pub(super) fn spend(&mut self, count: usize, now_ms: u64, reactor: &Reactor) -> Option<u64> {
        let until_ms = self.rate.spend(NOTIFICATIONS, count as u64, now_ms)?;
        reactor.remove(&self.fd);
        Some(until_ms)
    }

    /// Watches it again. False if that is impossible.
    pub(super) fn watch_again(&self, reactor: &Reactor) -> bool {
        reactor.add(&self.fd, Watched::Notify.source(self.id)).is_ok()
    }

    /// True if a line about a change of the main process may go into our log: one in a while, however often the app changes it.
    pub(super) fn may_be_told(&mut self, now_ms: u64) -> bool {
        let may = now_ms >= self.quiet_until_ms;
        if may {
            self.quiet_until_ms = now_ms.saturating_add(QUIET_MS);
        }
        may
    }

    /// Ends watching: the keeper's copy would keep it in the epoll.
    pub(super) fn close(self, reactor: &Reactor) {
        reactor.remove(&self.fd);
        notify_path::remove(&self.fd);
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
