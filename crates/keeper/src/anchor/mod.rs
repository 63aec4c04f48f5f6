//! The anchor: a third process that holds a copy of every descriptor that the keeper holds. It
//! makes no decisions and sleeps. If daemon and keeper are killed together, the anchor becomes the
//! next keeper.
//!
//! Theory of operation.
//!
//! - The anchor is a copy of the keeper (`fork` without `execve`). It has everything from its first
//!   moment on, and costs only the few pages that either process writes. From then on, before any
//!   other request of the daemon, the keeper sends the anchor which descriptors it now holds and
//!   which it dropped.
//! - Both keeper *and* daemon hold the keeper's end of the link. The link therefore ends when the
//!   second of them dies, in either order. The anchor needs to know nothing more. If only one of
//!   them dies, the other replaces it as if there were no anchor.
//! - A daemon whose keeper was killed, and an upgrade, start a new keeper and pass it that end. The
//!   new keeper forks an anchor from its own program and state, and dismisses the former anchor.
//! - Two anchors are never armed at once. A new anchor is armed only after the daemon has its end
//!   of the link and the former anchor was asked to leave. If both processes are killed in between,
//!   no anchor acts, and the next command reads the state file.
//! - Keepers that run in front of a container or a terminal have no anchor: if such a keeper dies,
//!   everything ends with it.
//!
//! Files: `message` has the messages to the anchor, `link` the keeper's end, `tend` starts and
//! stops the anchor, and `process` is the anchor itself.

mod link;
mod message;
mod process;
mod supervise;

use std::os::fd::OwnedFd;

use ostler_sys::ProcRef;

pub(crate) use link::{AnchorLink, Anchors};
#[cfg(debug_assertions)]
pub(crate) use message::ToAnchor;
pub(crate) use process::Anchor;

/// Prefix of the name under which the keeper's end of the link is held. The anchor's pid and start
/// time follow.
const PREFIX: &str = "anchor:";

/// Returns the anchor whose link is held under this name, or `None` if the name is not a link.
/// Every copy of that descriptor keeps the anchor asleep.
pub fn anchor_of(name: &str) -> Option<ProcRef> {
    let (pid, start_ticks) = name.strip_prefix(PREFIX)?.split_once(':')?;
    Some(ProcRef { pid: pid.parse().ok()?, start_ticks: start_ticks.parse().ok()? })
}

fn name_of(anchor: ProcRef) -> String {
    format!("{PREFIX}{}:{}", anchor.pid, anchor.start_ticks)
}

/// Role of the current process after an anchor was forked.
pub(crate) enum Role {
    /// The process is still the keeper.
    Keeper,
    /// The process is the new anchor. This is its end of the link.
    Anchor(OwnedFd),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_name_identifies_its_anchor() {
        let anchor = ProcRef { pid: 12, start_ticks: 345 };
        assert_eq!(anchor_of(&name_of(anchor)), Some(anchor));
        for other in ["anchor", "anchor:", "anchor:1", "anchor:x:1", "lock", "ipc:anchor:1:2"] {
            assert_eq!(anchor_of(other), None, "{other}");
        }
    }
}
