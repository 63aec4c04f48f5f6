//! Supervisor: from events to effects and back. What the state machines decide is performed here.
//!
//! [`run`] dispatches events and performs effects, [`keeper`] handles the keeper's reports, [`spawn`] builds a process from its description and what
//! features add, [`children`] does the same for what runs beside an instance.

mod children;
pub(crate) mod keeper;
mod run;
pub(crate) mod spawn;
