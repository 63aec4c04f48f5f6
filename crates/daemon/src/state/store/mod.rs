//! Store: what outlives the daemon.
//!
//! - [`journal`]: every change of an instance, appended to a memfd that the keeper holds, *before* the change has any effect. A fresh
//!   daemon reads it and knows everything the old one knew.
//! - [`events`]: what happened lately, in the same memory.
//! - [`state_file`]: the same records on disk and beside it, written a moment later, for the case that daemon and keeper are both killed.
//! - [`state_copy`]: the place beside the disk.
//! - [`command`]: commands that are run for instances, as the journal has them.
//! - [`rollouts`]: records of rollouts and releases.
//! - [`slot`]: what the journal keeps of an instance, which is all of it that outlives the daemon.
//! - [`aside`]: what no daemon survives.

pub(crate) mod aside;
pub(crate) mod command;
pub(crate) mod events;
pub(crate) mod journal;
pub(crate) mod record;
pub(crate) mod rollouts;
pub(crate) mod slot;
pub(crate) mod state_copy;
pub(crate) mod state_file;

pub(crate) use journal::{Journal, Written};
pub(crate) use record::{Record, Snapshot};
pub(crate) use slot::{FormerLeader, LearnedRecord, Role, SlotEntry, SlotNumbers, SlotRecord, WatchMark};
