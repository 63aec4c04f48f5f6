//! Life cycle of the anchor: when the keeper starts it, sends to it and dismisses it.

use std::os::fd::{AsFd, OwnedFd};

use ostler_sys::process::fork::{ForkSide, fork};
use ostler_sys::process::signal::KILL;
use ostler_sys::{ProcRef, fd::fdpass, net::socket, process::child, time::clock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{AnchorLink, Role, anchor_of};
use crate::environment::runtime;
use crate::keeper::{Keeper, complain};
use crate::link::message::FromKeeper;

/// Delay after a failed start (not enough memory or processes).
const RETRY_MS: u64 = 5_000;
/// Delay while the daemon does not read.
const BUSY_MS: u64 = 100;
/// Time after which the keeper replaces an anchor that does not read from its link.
const STUCK_MS: u64 = 3_000;
/// Maximum time that a dismissed anchor may take to exit.
const LEAVE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

impl Keeper {
    /// Takes over a descriptor of this name from another keeper. If it is a link to an anchor, our
    /// own anchor will replace that one. Returns true for such a link.
    pub(crate) fn take_over_anchor(&mut self, name: &str, number: i32) -> bool {
        let Some(process) = anchor_of(name) else { return false };
        match fdpass::inherited(number) {
            Ok(fd) => {
                let link = AnchorLink::of_former(process, fd);
                // If it exits early, we notice when we dismiss it.
                let _ = self.watch_anchor(&link);
                self.anchors.link = Some(link);
            }
            Err(errno) => {
                complain(&format!("the link to the anchor was not inherited: {errno}"));
                // Otherwise this anchor would take the end of the daemon's copy for the death of
                // both.
                let _ = process.signal(KILL);
            }
        }
        true
    }

    /// Returns true if an anchor may be started. A running daemon must learn of the anchor before
    /// the anchor is armed; a later daemon finds it in its inventory.
    fn can_have_anchor(&self) -> bool {
        self.exiting.is_none()
            && (self.daemon.is_staying() || self.daemon.is_absent())
            && runtime().is_none()
            && !rustix::process::getpid().is_init()
    }

    /// Returns the time at which the anchor needs attention even if no event occurs.
    pub(crate) fn anchor_deadline_ms(&self) -> Option<u64> {
        let start = (self.anchors.is_wanted() && self.can_have_anchor()).then_some(self.anchors.start_at_ms);
        let stuck = self.anchors.link.as_ref().and_then(|link| link.stuck_since_ms).map(|since| since + STUCK_MS);
        start.into_iter().chain(stuck).min()
    }

    /// Performs the work that is due. In the process that is the new anchor, it returns that role.
    pub(crate) fn supervise_anchor(&mut self, now_ms: u64) -> Role {
        if let Some(link) = &self.anchors.link
            && link.stuck_since_ms.is_some_and(|since| since + STUCK_MS <= now_ms)
        {
            complain("the anchor does not respond, starting a new one");
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

    /// Starts an anchor. Returns `Some` in the process that is the new anchor.
    fn start_anchor(&mut self) -> Result<Option<OwnedFd>, Errno> {
        let (ours, theirs) = socket::packet_pair()?;
        let pid = match fork()? {
            ForkSide::Child => return Ok(Some(theirs)),
            ForkSide::Parent(pid) => pid,
        };
        drop(theirs);
        // If the anchor has already exited, its link shows that.
        let process = ProcRef::of(pid).unwrap_or(ProcRef { pid, start_ticks: 0 });
        let mut link = AnchorLink::new(process, ours);
        // Send this end to the daemon before arming the anchor. Otherwise the death of the keeper
        // alone would look like the death of both.
        let name = link.name().clone();
        if !self.daemon.is_absent() {
            self.send(&FromKeeper::Keep { name }, &[link.as_fd()]);
            if !self.daemon.has_link() || self.daemon.waiting() > 0 {
                // The anchor is not armed: it notices the end of its link and exits.
                return Err(Errno::AGAIN);
            }
        }
        self.dismiss_anchor();
        if link.arm().is_err() || self.watch_anchor(&link).is_err() {
            link.kill();
            return Err(Errno::AGAIN);
        }
        self.anchors.link = Some(link);
        Ok(None)
    }

    /// Notes that the descriptor of this name has changed, and sends the change.
    pub(crate) fn update_anchor(&mut self, name: &str) {
        if let Some(link) = &mut self.anchors.link {
            link.mark_changed(name);
            self.send_to_anchor();
        }
    }

    /// Sends the names that the anchor did not accept before.
    fn send_to_anchor(&mut self) {
        let Some(link) = &mut self.anchors.link else { return };
        // If the anchor is gone, the end of the link shows it.
        let _ = link.send_unsent(&self.held);
        link.stuck_since_ms = if link.has_unsent() { link.stuck_since_ms.or_else(|| Some(clock::boot_ms())) } else { None };
    }

    /// Continues when the link has room or has ended.
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

    /// Dismisses the anchor. The daemon may keep a copy of this end of the link, but no process
    /// holds the other end any more.
    fn dismiss_anchor(&mut self) -> Option<(ProcRef, OwnedFd)> {
        let link = self.anchors.link.take()?;
        self.unwatch(link.as_fd());
        Some((link.process(), link.leave()))
    }

    /// Stops the anchor when the manager exits on purpose: no descriptor stays held and no process
    /// restarts anything.
    pub(crate) fn end_anchor(&mut self) {
        let Some((process, socket)) = self.dismiss_anchor() else { return };
        let mut fds = [PollFd::new(&socket, PollFlags::empty())];
        let ended = poll(&mut fds, Some(&LEAVE));
        if matches!(ended, Ok(0)) {
            // The anchor may be stopped by a signal; it would never read the request.
            let _ = process.signal(KILL);
        }
        // This reaps it if it is our child. The next keeper of the home must not find it half dead.
        child::reap(process.pid);
    }
}
