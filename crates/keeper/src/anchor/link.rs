//! The keeper's end of the link to its anchor.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ostler_sys::ProcRef;
use ostler_sys::process::signal::KILL;
use rustix::event::epoll::EventFlags;

use super::message::ToAnchor;
use super::name_of;
use crate::daemon::respawn::Respawn;
use crate::link::Channel;
use crate::link::codec::encode;
use crate::state::hold::HeldFds;

/// Maximum number of names, and of descriptors, in one packet. A packet with the longest names
/// still fits a small socket buffer.
const NAMES_PER_PACKET: usize = 64;

/// Link to the current anchor.
pub(crate) struct AnchorLink {
    process: ProcRef,
    name: String,
    channel: Channel,
    /// Names whose descriptor the anchor has yet to hold or release. This is not a queue of
    /// messages: the keeper sends the state at the time of sending, so a waiting descriptor needs
    /// no copy.
    unsent: BTreeSet<String>,
    /// Events that the event loop waits for.
    pub(super) interest: EventFlags,
    /// Time since which the anchor has not read from its socket.
    pub(super) stuck_since_ms: Option<u64>,
    /// Whether a former keeper started this anchor. The keeper then replaces it.
    pub(super) is_former: bool,
}

impl AnchorLink {
    pub(super) fn new(process: ProcRef, ours: OwnedFd) -> Self {
        Self {
            process,
            name: name_of(process),
            channel: Channel::new(ours),
            unsent: BTreeSet::new(),
            interest: EventFlags::IN,
            stuck_since_ms: None,
            is_former: false,
        }
    }

    /// Creates the link to an anchor that a former keeper left.
    pub(super) fn of_former(process: ProcRef, ours: OwnedFd) -> Self {
        Self { is_former: true, ..Self::new(process, ours) }
    }

    pub(crate) fn name(&self) -> &String {
        &self.name
    }

    pub(crate) fn process(&self) -> ProcRef {
        self.process
    }

    /// Notes that the descriptor of this name was added, replaced or removed.
    pub(super) fn mark_changed(&mut self, name: &str) {
        self.unsent.insert(name.to_owned());
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Sends the unsent names until the socket is full.
    ///
    /// # Errors
    /// Returns an error if the anchor is gone.
    pub(super) fn send_unsent(&mut self, held: &HeldFds) -> io::Result<()> {
        while let Some(first) = self.unsent.first() {
            // A packet is either all holds or all releases.
            let is_held = held.get(first).is_some();
            let alike = self.unsent.iter().take_while(|name| held.get(name).is_some() == is_held).take(NAMES_PER_PACKET);
            let names: Vec<String> = alike.cloned().collect();
            let count = names.len();
            let (message, fds) = if is_held {
                let fds: Vec<BorrowedFd<'_>> = names.iter().filter_map(|name| held.get(name)).collect();
                (ToAnchor::Hold { names }, fds)
            } else {
                (ToAnchor::Release { names }, Vec::new())
            };
            if !self.channel.offer(&encode(&message), &fds)? {
                return Ok(());
            }
            (0..count).for_each(|_| drop(self.unsent.pop_first()));
        }
        Ok(())
    }

    /// Arms the anchor: from now on, the end of the link means that both daemon and keeper are
    /// gone.
    pub(super) fn arm(&mut self) -> io::Result<()> {
        self.channel.send(&encode(&ToAnchor::Arm), &[])
    }

    /// Asks the anchor to exit. If the request cannot be sent, the keeper kills it: the anchor must
    /// not conclude from our closed end that both processes are gone.
    pub(super) fn leave(self) -> OwnedFd {
        let sent = self.channel.offer(&encode(&ToAnchor::Leave), &[]);
        if !matches!(sent, Ok(true)) {
            self.kill();
        }
        self.channel.into_socket()
    }

    pub(crate) fn kill(&self) {
        // An anchor that has already exited is fine.
        let _ = self.process.signal(KILL);
    }

    /// Returns true if the link has ended. The anchor never sends anything, so a readable link
    /// means its end.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.channel.recv(), Ok(None))
    }
}

impl AsFd for AnchorLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// The keeper's state about its anchors.
#[derive(Default)]
pub(crate) struct Anchors {
    pub(super) link: Option<AnchorLink>,
    /// Time of the next start if no anchor runs.
    pub(super) start_at_ms: u64,
    pub(super) deaths: Respawn,
    /// Whether a failure has already been logged.
    pub(super) has_failed: bool,
}

impl Anchors {
    /// Returns the link to the current anchor. The anchor sleeps as long as a process holds a copy
    /// of the link.
    pub(crate) fn link(&self) -> Option<&AnchorLink> {
        self.link.as_ref()
    }

    pub(crate) fn is(&self, pid: i32) -> bool {
        self.link.as_ref().is_some_and(|link| link.process().pid == pid)
    }

    /// Returns true if the keeper must start an anchor.
    pub(super) fn is_wanted(&self) -> bool {
        self.link.as_ref().is_none_or(|link| link.is_former)
    }

    pub(crate) fn interest(&mut self) -> Option<(&AnchorLink, EventFlags)> {
        let link = self.link.as_ref()?;
        let mut wanted = EventFlags::IN;
        wanted.set(EventFlags::OUT, link.has_unsent());
        (link.interest != wanted).then_some((link, wanted))
    }

    pub(crate) fn has_interest(&mut self, interest: EventFlags) {
        if let Some(link) = &mut self.link {
            link.interest = interest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::codec::decode;
    use ostler_sys::net::socket::packet_pair;

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn hold(held: &mut HeldFds, name: &str) {
        held.hold(name.to_owned(), null(), 0, 100_000).unwrap();
    }

    #[test]
    fn link_sends_only_the_final_state_of_each_name() {
        let (ours, theirs) = packet_pair().unwrap();
        let (mut link, mut anchor) = (AnchorLink::new(ProcRef::me(), ours), Channel::new(theirs));
        let mut held = HeldFds::default();
        for n in 0..100 {
            let name = format!("ipc:{n:03}");
            hold(&mut held, &name);
            link.mark_changed(&name);
        }
        // "a" was held and dropped before anything was sent; "z" was dropped after the anchor had
        // it.
        link.mark_changed("a");
        link.mark_changed("z");
        link.send_unsent(&held).unwrap();
        assert!(!link.has_unsent());
        let mut received = Vec::new();
        while let Some(packet) = anchor.recv().unwrap() {
            received.push((decode::<ToAnchor>(&packet.payload).unwrap(), packet.fds.len()));
        }
        let names = |range: std::ops::Range<usize>| range.map(|n| format!("ipc:{n:03}")).collect::<Vec<_>>();
        assert_eq!(received[0], (ToAnchor::Release { names: vec!["a".into()] }, 0));
        assert_eq!(received[1], (ToAnchor::Hold { names: names(0..64) }, 64));
        assert_eq!(received[2], (ToAnchor::Hold { names: names(64..100) }, 36));
        assert_eq!(received[3], (ToAnchor::Release { names: vec!["z".into()] }, 0));
        assert_eq!(received.len(), 4);
    }

    #[test]
    fn slow_anchor_receives_the_final_state_later() {
        let (ours, theirs) = packet_pair().unwrap();
        let (mut link, mut anchor) = (AnchorLink::new(ProcRef::me(), ours), Channel::new(theirs));
        let mut held = HeldFds::default();
        hold(&mut held, "same");
        let mut count = 0;
        while !link.has_unsent() {
            link.mark_changed("same");
            link.send_unsent(&held).unwrap();
            count += 1;
            assert!(count < 100_000, "the test needs a full socket");
        }
        held.drop_name("same");
        while anchor.recv().unwrap().is_some() {}
        link.send_unsent(&held).unwrap();
        let last = anchor.recv().unwrap().unwrap();
        assert_eq!(decode::<ToAnchor>(&last.payload), Ok(ToAnchor::Release { names: vec!["same".into()] }));
    }
}
