//! From events to effects and back: what the state machines decide is performed here.
//!
//! [`run`] feeds events and performs effects, [`spawn`] turns a description into a process, [`handover`] follows an app to another main
//! process, [`groups`] gives each instance a cgroup.

mod beside;
pub(crate) mod keeper;
mod run;
pub(crate) mod spawn;
