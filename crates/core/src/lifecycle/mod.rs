//! The instance state machine: total, pure, and the only place where the fate of a process is decided.
//!
//! # Theory of operation
//!
//! An [`Instance`] is one supervised slot of an app. It knows what the user wants ([`Wanted`]) and what is observed ([`State`]);
//! [`Instance::step`] reconciles the two. The daemon performs the returned [`Effect`]s *in order* and feeds results back as
//! [`Event`]s. Each OS process of an instance has an incarnation number; an event of an older incarnation is ignored by type.
//!
//! The daemon may die between any two effects. A fresh daemon restores the instance from the journal (it is `serde` data), asks the
//! keeper what really runs, and feeds one [`Event::Recovered`]: adoption is not a special case but one more event.

mod effect;
mod event;
mod state;
mod step;

pub use effect::{Effect, Notice, Scope};
pub use event::{Event, ExitReport, Recovered, SpawnFailure};
pub use state::{Counters, Ending, ExitCause, ExitRecord, Instance, Origin, Policy, State, Wanted};
