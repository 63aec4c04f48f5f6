//! Complaints about what apps send: written to our log, each once per instance, however often it is repeated.

use std::collections::BTreeSet;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// Node's cluster protocol, from something that is no worker.
    Cluster,
    /// Too long.
    Length,
    /// Too many, or too much.
    Rate,
    /// More than is kept.
    Kept,
    /// Too much by sd_notify.
    Notify,
}

/// Complaints that were logged, by instance.
#[derive(Debug, Default)]
pub(crate) struct Complaints(BTreeSet<(u32, Topic)>);

impl Complaints {
    /// True the first time.
    pub(crate) fn is_new(&mut self, id: u32, topic: Topic) -> bool {
        self.0.insert((id, topic))
    }

    /// Forgets a deleted instance: its number may be that of another one later.
    pub(crate) fn forget(&mut self, id: u32) {
        self.0.retain(|(told, _)| *told != id);
    }
}
