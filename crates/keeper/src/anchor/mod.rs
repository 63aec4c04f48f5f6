//! The anchor: a third process that decides nothing, holds a copy of every descriptor that the keeper holds, and sleeps. It is what is left
//! when daemon and keeper are killed together: then it becomes the next keeper.
//!
//! Theory of operation.
//! - It is a copy of the keeper (`fork` without `execve`), so it has everything from its first moment on, and costs the few pages that one of
//!   the two writes. From then on the keeper sends it what is held and what no more, before it does anything else that the daemon asked for.
//! - The keeper's end of their link is held by keeper *and* daemon. So the link ends when the last of the two has, in whatever order they
//!   died, and that is all the anchor has to know. One that died alone is replaced by the other as if there were no anchor.
//! - Whoever starts a keeper in place of another (a daemon whose keeper was killed, an update) passes that end on; the new keeper makes an
//!   anchor of its own, of its own program and state, and lets the former one go.
//! - Never are two of them armed: a new one is told to act only after the daemon has its end of the link and the former one was told to leave.
//!   In between a kill of both finds no anchor, and the next command reads the state file.
//! - Processes in front of a container or a terminal have none: there the end of the keeper is the end of everything.
//!
//! Files: `message` what is sent to it, `link` the keeper's end, `tend` when the keeper starts and ends it, `process` the anchor itself.

mod link;
mod message;
mod process;
mod tend;

use std::os::fd::OwnedFd;

use ostler_sys::ProcRef;

pub(crate) use link::{AnchorLink, Anchors};
pub(crate) use process::Anchor;

/// Prefix of the name of the keeper's end of the link, among what is held; the anchor's pid and start time follow.
const PREFIX: &str = "anchor:";

/// The anchor to whose link a held descriptor of this name belongs, if any. Whoever has a copy of it keeps the anchor asleep.
pub fn anchor_of(name: &str) -> Option<ProcRef> {
    let (pid, start_ticks) = name.strip_prefix(PREFIX)?.split_once(':')?;
    Some(ProcRef { pid: pid.parse().ok()?, start_ticks: start_ticks.parse().ok()? })
}

fn name_of(anchor: ProcRef) -> String {
    format!("{PREFIX}{}:{}", anchor.pid, anchor.start_ticks)
}

/// Role in which a process finds itself after the start of an anchor.
pub(crate) enum Role {
    /// It is the keeper as before.
    Keeper,
    /// It is the new anchor, and this is its end of the link.
    Anchor(OwnedFd),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_says_whose_it_is() {
        let anchor = ProcRef { pid: 12, start_ticks: 345 };
        assert_eq!(anchor_of(&name_of(anchor)), Some(anchor));
        for other in ["anchor", "anchor:", "anchor:1", "anchor:x:1", "lock", "ipc:anchor:1:2"] {
            assert_eq!(anchor_of(other), None, "{other}");
        }
    }
}
