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
use crate::state::hold::Held;

/// Most names, and descriptors, in one packet: with the longest names it still fits a small socket buffer.
const NAMES_PER_PACKET: usize = 64;

/// Link to the present anchor.
pub(crate) struct AnchorLink {
    process: ProcRef,
    name: String,
    channel: Channel,
    /// Names whose descriptor it has to hold or to release and was not sent yet. Not a queue of messages: what is sent is what is true by then, and a
    /// descriptor that waits needs no copy.
    unsent: BTreeSet<String>,
    /// Events that the loop waits for.
    pub(super) interest: EventFlags,
    /// Time since when it does not take what is sent.
    pub(super) stuck_since_ms: Option<u64>,
    /// Whether a former keeper made it, so that it is to be replaced.
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

    /// The link to an anchor that a former keeper left.
    pub(super) fn of_former(process: ProcRef, ours: OwnedFd) -> Self {
        Self { is_former: true, ..Self::new(process, ours) }
    }

    pub(crate) fn name(&self) -> &String {
        &self.name
    }

    pub(crate) fn process(&self) -> ProcRef {
        self.process
    }

    /// Notes that what is held under this name has changed.
    pub(super) fn mark_changed(&mut self, name: &str) {
        self.unsent.insert(name.to_owned());
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Sends what is unsent, as far as the socket takes it.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn send_unsent(&mut self, held: &Held) -> io::Result<()> {
        while let Some(first) = self.unsent.first() {
            // One kind per packet.
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

    /// Arms it: from now on the end of the link means that both are gone.
    pub(super) fn arm(&mut self) -> io::Result<()> {
        self.channel.send(&encode(&ToAnchor::Arm), &[])
    }

    /// Asks it to end. Where that cannot be sent, it is killed: it must not take our end for that of everybody.
    pub(super) fn leave(self) -> OwnedFd {
        let told = self.channel.offer(&encode(&ToAnchor::Leave), &[]);
        if !matches!(told, Ok(true)) {
            self.kill();
        }
        self.channel.into_socket()
    }

    pub(crate) fn kill(&self) {
        // Gone already is fine.
        let _ = self.process.signal(KILL);
    }

    /// True if the link has ended. The anchor sends nothing, ever: what can be read is its end.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.channel.recv(), Ok(None))
    }
}

impl AsFd for AnchorLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// Anchors as the keeper sees them.
#[derive(Default)]
pub(crate) struct Anchors {
    pub(super) link: Option<AnchorLink>,
    /// Time of the next start, when there is none.
    pub(super) start_at_ms: u64,
    pub(super) deaths: Respawn,
    /// Whether a failure was logged already.
    pub(super) has_failed: bool,
}

impl Anchors {
    /// The link to the present one, for whoever is to keep it asleep.
    pub(crate) fn link(&self) -> Option<&AnchorLink> {
        self.link.as_ref()
    }

    pub(crate) fn is(&self, pid: i32) -> bool {
        self.link.as_ref().is_some_and(|link| link.process().pid == pid)
    }

    /// True if one is to be made.
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

    fn hold(held: &mut Held, name: &str) {
        held.hold(name.to_owned(), null(), 0, 100_000).unwrap();
    }

    #[test]
    fn what_is_true_in_the_end_is_told_once() {
        let (ours, theirs) = packet_pair().unwrap();
        let (mut link, mut anchor) = (AnchorLink::new(ProcRef::me(), ours), Channel::new(theirs));
        let mut held = Held::default();
        for n in 0..100 {
            let name = format!("ipc:{n:03}");
            hold(&mut held, &name);
            link.mark_changed(&name);
        }
        // Held and dropped before it was told, and one that was there before.
        link.mark_changed("a");
        link.mark_changed("z");
        link.send_unsent(&held).unwrap();
        assert!(!link.has_unsent());
        let mut told = Vec::new();
        while let Some(packet) = anchor.recv().unwrap() {
            told.push((decode::<ToAnchor>(&packet.payload).unwrap(), packet.fds.len()));
        }
        let names = |range: std::ops::Range<usize>| range.map(|n| format!("ipc:{n:03}")).collect::<Vec<_>>();
        assert_eq!(told[0], (ToAnchor::Release { names: vec!["a".into()] }, 0));
        assert_eq!(told[1], (ToAnchor::Hold { names: names(0..64) }, 64));
        assert_eq!(told[2], (ToAnchor::Hold { names: names(64..100) }, 36));
        assert_eq!(told[3], (ToAnchor::Release { names: vec!["z".into()] }, 0));
        assert_eq!(told.len(), 4);
    }

    #[test]
    fn one_that_does_not_read_costs_no_copies_and_hears_it_later() {
        let (ours, theirs) = packet_pair().unwrap();
        let (mut link, mut anchor) = (AnchorLink::new(ProcRef::me(), ours), Channel::new(theirs));
        let mut held = Held::default();
        hold(&mut held, "same");
        let mut told = 0;
        while !link.has_unsent() {
            link.mark_changed("same");
            link.send_unsent(&held).unwrap();
            told += 1;
            assert!(told < 100_000, "the test needs a full socket");
        }
        held.drop_name("same");
        while anchor.recv().unwrap().is_some() {}
        link.send_unsent(&held).unwrap();
        let last = anchor.recv().unwrap().unwrap();
        assert_eq!(decode::<ToAnchor>(&last.payload), Ok(ToAnchor::Release { names: vec!["same".into()] }));
    }
}
