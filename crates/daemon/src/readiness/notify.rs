//! Where an app says by sd_notify how it is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ostler_core::budget::{Bucket, NOTIFICATIONS};
use ostler_proto::sd_notify::{DATAGRAM_MAX, Notification, parse};
use ostler_sys::datagram;

use super::{Watched, notify_path};
use crate::reactor::Reactor;

/// Datagrams taken per turn of the loop; the rest waits, and its senders with it.
pub(super) const PER_TURN: usize = 32;
/// Far more than fits into the socket: somebody may go on writing.
const TO_THE_END: usize = 2048;
/// Between two lines in our log that an app can cause.
const QUIET_MS: u64 = 1000;

/// The socket of one process.
#[derive(Debug)]
pub(super) struct Notify {
    fd: OwnedFd,
    id: u32,
    pub key: u64,
    /// Who may speak, besides us and root.
    user: u32,
    pub watchdog: Option<Watchdog>,
    /// More time that was asked for before we knew that the process runs.
    pub extended_ms: Option<u64>,
    /// The next datagram was dealt with when the journal had so many writes; it is taken out after the next one.
    dealt_with: Option<u64>,
    /// How many more are heard in this turn.
    pub left_in_turn: usize,
    /// How many were heard since its process is known to end.
    pub heard_at_end: usize,
    quiet_until_ms: u64,
    /// How much it says.
    rate: Bucket,
}

/// What there is to hear.
#[derive(Debug)]
pub(super) enum Next {
    /// This was said.
    Message(Notification),
    /// Nothing more.
    Nothing,
    /// What was said last is not in the journal yet.
    Later,
}

/// How long an app may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watchdog {
    pub period_ms: u64,
    /// When it has been silent for too long; none = it is not running yet, or on its way out.
    pub due_ms: Option<u64>,
}

/// Shorter ones would restart an app that is merely busy.
const SHORTEST_MS: u64 = 100;

impl Watchdog {
    pub(super) fn new(period_ms: u64) -> Self {
        Self { period_ms: period_ms.max(SHORTEST_MS), due_ms: None }
    }
}

impl Notify {
    /// One that the keeper held.
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
            heard_at_end: 0,
            quiet_until_ms: 0,
            rate: Bucket::default(),
        })
    }

    pub(super) fn held_name(key: u64) -> String {
        format!("notify:{key}")
    }

    /// What was said next. It stays where it is until [`Notify::take`], so that a daemon that dies over it leaves it to the next one.
    /// Datagrams of others, cut and senderless ones say nothing. `writes`: of the journal, so far.
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

    /// Removes what [`Notify::next`] told.
    pub(super) fn take(&mut self) {
        self.dealt_with = None;
        // Nobody else reads here: what was seen is there.
        let _ = datagram::recv(&self.fd, &mut [0]);
    }

    /// What [`Notify::next`] told is removed when the journal, which had so many writes when it was dealt with, has what follows from it.
    pub(super) fn take_after(&mut self, writes: u64) {
        self.dealt_with = Some(writes);
    }

    /// How many are heard at most of a process that has ended: somebody else may go on writing.
    pub(super) fn left_at_end(&self) -> usize {
        TO_THE_END.saturating_sub(self.heard_at_end)
    }

    /// So much was taken in this turn. When it was too much nobody looks before this time: who speaks has to wait.
    pub(super) fn spend(&mut self, count: usize, now_ms: u64, reactor: &Reactor) -> Option<u64> {
        let until_ms = self.rate.spend(NOTIFICATIONS, count as u64, now_ms)?;
        reactor.remove(&self.fd);
        Some(until_ms)
    }

    /// It is looked at again. False when it cannot be.
    pub(super) fn watch_again(&self, reactor: &Reactor) -> bool {
        reactor.add(&self.fd, Watched::Notify.source(self.id)).is_ok()
    }

    /// A line about a change of the main process may go into our log: one in a while, however often the app changes its mind.
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
