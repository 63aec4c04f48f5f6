//! Store: state that outlives the daemon.
//!
//! - [`journal`]: every change of an instance, appended to a memfd that the keeper holds, *before*
//!   the change has any effect. A fresh daemon reads it and knows everything the old one knew.
//! - [`events`]: recent events, in the same memory.
//! - [`state_file`]: the same records on disk and in a second place, written a moment later, in
//!   case daemon and keeper are both killed.
//! - [`state_copy`]: the second place.
//! - [`command`]: commands that run for instances, in the form of the journal.
//! - [`rollouts`]: records of rollouts and releases.
//! - [`slot`]: the part of an instance that outlives the daemon.
//! - [`aside`]: records that kill every daemon that reads them.

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
