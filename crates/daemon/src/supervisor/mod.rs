//! From events to effects and back: what the state machines decide is performed here.
//!
//! [`run`] feeds events and performs effects, [`keeper`] takes what the keeper says, [`spawn`] puts a process together from its description and what
//! features add, [`children`] does the same for what runs beside an instance.

mod children;
pub(crate) mod keeper;
mod run;
pub(crate) mod spawn;
