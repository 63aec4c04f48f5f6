//! Socket on which an app sends its state by sd_notify.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ostler_core::serving::budget::{Bucket, NOTIFICATIONS};
use ostler_proto::sd_notify::{DATAGRAM_MAX, Notification, parse};
use ostler_sys::net::datagram;

use super::{FdKind, notify_path};
use crate::platform::reactor::Reactor;

/// Datagrams taken per turn of the event loop. The rest waits, and so do its senders.
pub(super) const PER_TURN: usize = 32;
/// Most datagrams after the exit, many times the capacity of the socket. Other processes may
/// continue to write.
const TO_THE_END: usize = 2048;
/// Shortest time between two lines in our log that an app can cause.
const QUIET_MS: u64 = 1000;

/// Socket of one process.
#[derive(Debug)]
pub(super) struct Notify {
    fd: OwnedFd,
    id: u32,
    pub key: u64,
    /// User that may send, in addition to the daemon's user and root.
    user: u32,
    pub watchdog: Option<Watchdog>,
    /// Extension of the start time that the app requested before the process was known to run.
    pub extended_ms: Option<u64>,
    /// Number of journal writes when the next datagram was handled. The datagram is taken out after
    /// the next write.
    dealt_with: Option<u64>,
    /// Number of datagrams that are still received in this turn.
    pub turn_budget: usize,
    /// Number of datagrams that were received since the exit of its process is known.
    pub received_at_end: usize,
    quiet_until_ms: u64,
    /// Rate of datagrams.
    rate: Bucket,
}

/// Result of a reception.
#[derive(Debug)]
pub(super) enum NextNotification {
    /// A notification.
    Message(Notification),
    /// There is no further notification.
    Nothing,
    /// The last notification is not in the journal yet.
    Later,
}

/// Watchdog of an app: the longest time without a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watchdog {
    pub period_ms: u64,
    /// Time when it counts as missed; `None` = the app does not run yet, or is being stopped.
    pub due_ms: Option<u64>,
}

/// Shortest accepted period. A shorter one would restart an app that is only busy.
const SHORTEST_MS: u64 = 100;

impl Watchdog {
    pub(super) fn new(period_ms: u64) -> Self {
        Self { period_ms: period_ms.max(SHORTEST_MS), due_ms: None }
    }
}

impl Notify {
    /// Watches a socket that the keeper held.
    pub(super) fn watch(fd: OwnedFd, id: u32, key: u64, user: u32, watchdog: Option<Watchdog>, reactor: &Reactor) -> Option<Self> {
        reactor.add(&fd, FdKind::Notify.source(id)).ok()?;
        Some(Self {
            fd,
            id,
            key,
            user,
            watchdog,
            extended_ms: None,
            dealt_with: None,
            turn_budget: 0,
            received_at_end: 0,
            quiet_until_ms: 0,
            rate: Bucket::default(),
        })
    }

    pub(super) fn held_name(key: u64) -> String {
        format!("notify:{key}")
    }

    /// Receives the next notification. It stays in the socket until [`Notify::take`]. If the daemon
    /// dies before that, the next one receives it. Datagrams of other users, cut and senderless
    /// ones are ignored. `writes`: number of journal writes so far.
    pub(super) fn next(&mut self, writes: u64) -> NextNotification {
        if let Some(dealt_with) = self.dealt_with {
            if writes <= dealt_with {
                return NextNotification::Later;
            }
            self.take();
        }
        self.peek().map_or(NextNotification::Nothing, NextNotification::Message)
    }

    fn peek(&self) -> Option<Notification> {
        // The buffer has one byte more than is accepted, so a longer datagram is cut.
        let mut buffer = [0; DATAGRAM_MAX + 1];
        let us = rustix::process::geteuid().as_raw();
        let datagram = datagram::peek(&self.fd, &mut buffer).ok()??;
        let may_speak = datagram.sender.is_some_and(|sender| [0, us, self.user].contains(&sender.uid));
        let bytes = if may_speak && !datagram.cut { buffer.get(..datagram.len).unwrap_or_default() } else { &[] };
        Some(parse(bytes))
    }

    /// Removes the notification that [`Notify::next`] returned.
    pub(super) fn take(&mut self) {
        self.dealt_with = None;
        // No other process reads here, so the datagram is still there.
        let _ = datagram::recv(&self.fd, &mut [0]);
    }

    /// Removes the notification that [`Notify::next`] returned, when the journal has its effects.
    /// `writes`: number of journal writes when it was handled.
    pub(super) fn take_after(&mut self, writes: u64) {
        self.dealt_with = Some(writes);
    }

    /// Returns the most datagrams that are still received after the process has exited, because
    /// other processes may continue to write.
    pub(super) fn left_at_end(&self) -> usize {
        TO_THE_END.saturating_sub(self.received_at_end)
    }

    /// Counts the datagrams of this turn. If they were too many, returns the time until which none
    /// is received; the sender has to wait.
    pub(super) fn spend(&mut self, count: usize, now_ms: u64, reactor: &Reactor) -> Option<u64> {
        let until_ms = self.rate.spend(NOTIFICATIONS, count as u64, now_ms)?;
        reactor.remove(&self.fd);
        Some(until_ms)
    }

    /// Watches it again. Returns false if that is impossible.
    pub(super) fn resume_watch(&self, reactor: &Reactor) -> bool {
        reactor.add(&self.fd, FdKind::Notify.source(self.id)).is_ok()
    }

    /// Returns true if a line about a change of the main process may go into our log. The rate of
    /// lines is limited, regardless of the number of changes.
    pub(super) fn may_log_change(&mut self, now_ms: u64) -> bool {
        let may = now_ms >= self.quiet_until_ms;
        if may {
            self.quiet_until_ms = now_ms.saturating_add(QUIET_MS);
        }
        may
    }

    /// Stops watching. Otherwise the keeper's copy would keep it in the epoll set.
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
