//! Supervisor: passes events to the state machines and performs their decisions.
//!
//! [`run`] dispatches events and performs effects, [`keeper`] handles the keeper's reports, and
//! [`spawn`] builds a process from its description and the extras of features. [`children`] does
//! the same for processes that run beside an instance.

mod children;
pub(crate) mod keeper;
mod run;
pub(crate) mod spawn;
