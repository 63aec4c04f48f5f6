//! Life of the anchor: when the keeper starts it, sends to it and lets it go.

use std::os::fd::{AsFd, OwnedFd};

use ostler_sys::process::fork::{Side, fork};
use ostler_sys::process::signal::KILL;
use ostler_sys::{ProcRef, fd::fdpass, net::socket, process::child, time::clock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{AnchorLink, Role, anchor_of};
use crate::environment::runtime;
use crate::keeper::{Keeper, complain};
use crate::link::message::FromKeeper;

/// Wait after a start that failed, for lack of memory or processes.
const RETRY_MS: u64 = 5_000;
/// Wait for a daemon that does not read at the moment.
const BUSY_MS: u64 = 100;
/// Time after which an anchor that does not take what is sent is replaced.
const STUCK_MS: u64 = 3_000;
/// Longest wait for an anchor that was told to leave.
const LEAVE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

impl Keeper {
    /// Takes over a descriptor of this name from another keeper: if it is a link to an anchor, that one is to be replaced by our own.
    pub(crate) fn take_over_anchor(&mut self, name: &str, number: i32) -> bool {
        let Some(process) = anchor_of(name) else { return false };
        match fdpass::inherited(number) {
            Ok(fd) => {
                let link = AnchorLink::of_former(process, fd);
                // That it ends early would be seen when it is let go.
                let _ = self.watch_anchor(&link);
                self.anchors.link = Some(link);
            }
            Err(errno) => {
                complain(&format!("the link to the anchor did not come along: {errno}"));
                // It would take the end of the daemon's copy for that of everybody.
                let _ = process.signal(KILL);
            }
        }
        true
    }

    /// True if an anchor may be made: a daemon that is there must be told of the anchor before that is armed; the next one finds it in its inventory.
    fn can_have_anchor(&self) -> bool {
        self.exiting.is_none()
            && (self.daemon.is_there_to_stay() || self.daemon.is_absent())
            && runtime().is_none()
            && !rustix::process::getpid().is_init()
    }

    /// The time at which something is to be done for it although nothing happens.
    pub(crate) fn anchor_deadline_ms(&self) -> Option<u64> {
        let start = (self.anchors.is_wanted() && self.can_have_anchor()).then_some(self.anchors.start_at_ms);
        let stuck = self.anchors.link.as_ref().and_then(|link| link.stuck_since_ms).map(|since| since + STUCK_MS);
        start.into_iter().chain(stuck).min()
    }

    /// Does what is due. In the process that is the new anchor it returns as such.
    pub(crate) fn tend_anchor(&mut self, now_ms: u64) -> Role {
        if let Some(link) = &self.anchors.link
            && link.stuck_since_ms.is_some_and(|since| since + STUCK_MS <= now_ms)
        {
            complain("the anchor stands still, starting another one");
            link.kill();
            self.lost_anchor(now_ms);
        }
        if !self.anchors.is_wanted() || self.anchors.start_at_ms > now_ms || !self.can_have_anchor() {
            return Role::Keeper;
        }
        if self.daemon.waiting() > 0 {
            self.anchors.start_at_ms = now_ms + BUSY_MS;
            return Role::Keeper;
        }
        match self.start_anchor() {
            Ok(Some(link)) => return Role::Anchor(link),
            Ok(None) => self.anchors.has_failed = false,
            Err(errno) => {
                self.anchors.start_at_ms = now_ms + RETRY_MS;
                if !std::mem::replace(&mut self.anchors.has_failed, true) {
                    complain(&format!("cannot start the anchor, trying again: {errno}"));
                }
            }
        }
        Role::Keeper
    }

    /// Starts one; `Some` in the process that is the new one.
    fn start_anchor(&mut self) -> Result<Option<OwnedFd>, Errno> {
        let (ours, theirs) = socket::packet_pair()?;
        let pid = match fork()? {
            Side::Child => return Ok(Some(theirs)),
            Side::Parent(pid) => pid,
        };
        drop(theirs);
        // One that has ended already shows it by its link.
        let process = ProcRef::of(pid).unwrap_or(ProcRef { pid, start_ticks: 0 });
        let mut link = AnchorLink::new(process, ours);
        // Before it acts on its own: the daemon must have this end, or the death of a keeper alone would look like that of both.
        let name = link.name().clone();
        if !self.daemon.is_absent() {
            self.send(&FromKeeper::Keep { name }, &[link.as_fd()]);
            if !self.daemon.has_link() || self.daemon.waiting() > 0 {
                // It sees the end of its link, unarmed, and ends.
                return Err(Errno::AGAIN);
            }
        }
        self.let_anchor_go();
        if link.arm().is_err() || self.watch_anchor(&link).is_err() {
            link.kill();
            return Err(Errno::AGAIN);
        }
        self.anchors.link = Some(link);
        Ok(None)
    }

    /// Notes that what is held under this name has changed, and sends it.
    pub(crate) fn update_anchor(&mut self, name: &str) {
        if let Some(link) = &mut self.anchors.link {
            link.mark_changed(name);
            self.send_to_anchor();
        }
    }

    /// Sends what it did not take before.
    fn send_to_anchor(&mut self) {
        let Some(link) = &mut self.anchors.link else { return };
        // That it is gone is seen by the end of the link.
        let _ = link.send_unsent(&self.held);
        link.stuck_since_ms = if link.has_unsent() { link.stuck_since_ms.or_else(|| Some(clock::boot_ms())) } else { None };
    }

    /// Goes on when the link has room, or has ended.
    pub(crate) fn on_anchor(&mut self) {
        if self.anchors.link.as_mut().is_some_and(AnchorLink::has_ended) {
            self.lost_anchor(clock::boot_ms());
        } else {
            self.send_to_anchor();
        }
    }

    fn lost_anchor(&mut self, now_ms: u64) {
        let Some(link) = self.anchors.link.take() else { return };
        self.unwatch(link.as_fd());
        self.anchors.start_at_ms = now_ms + self.anchors.deaths.died(now_ms);
    }

    /// Lets it go. The daemon may have a copy of this end of the link; nobody is at the other.
    fn let_anchor_go(&mut self) -> Option<(ProcRef, OwnedFd)> {
        let link = self.anchors.link.take()?;
        self.unwatch(link.as_fd());
        Some((link.process(), link.leave()))
    }

    /// Ends it because the manager ends on purpose: nothing is to be held on, nobody is to start anything again.
    pub(crate) fn end_anchor(&mut self) {
        let Some((process, socket)) = self.let_anchor_go() else { return };
        let mut fds = [PollFd::new(&socket, PollFlags::empty())];
        let ended = poll(&mut fds, Some(&LEAVE));
        if matches!(ended, Ok(0)) {
            // It was stopped, perhaps: then it will never read.
            let _ = process.signal(KILL);
        }
        // Where it is our child; who comes to a home after us shall not find it half ended.
        child::reap(process.pid);
    }
}
