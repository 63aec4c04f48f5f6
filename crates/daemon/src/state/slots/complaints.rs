//! Complaints about messages of apps: each is logged only once per instance.

use std::collections::BTreeSet;

/// Problem with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// Cluster protocol of Node, from a process that is not a worker.
    Cluster,
    /// The message is too long.
    Length,
    /// Too many messages, or too many bytes.
    Rate,
    /// More data than the daemon keeps.
    Kept,
    /// Too much data by sd_notify.
    Notify,
    /// A socket that the instances of its app cannot share.
    OwnSocket,
    /// A listener of system calls, beside ours.
    OwnListener,
}

/// Complaints that were logged, by instance.
#[derive(Debug, Default)]
pub(crate) struct Complaints(BTreeSet<(u32, Topic)>);

impl Complaints {
    /// Returns true the first time.
    pub(crate) fn is_new(&mut self, id: u32, topic: Topic) -> bool {
        self.0.insert((id, topic))
    }

    /// Removes a deleted instance, because its number may be reused.
    pub(crate) fn forget(&mut self, id: u32) {
        self.0.retain(|(told, _)| *told != id);
    }
}
