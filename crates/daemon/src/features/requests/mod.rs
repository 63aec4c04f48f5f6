//! Requests: those in progress, actions, events and figures that users ask for.

pub(crate) mod actions;
pub(crate) mod collecting;
pub(crate) mod events;
pub(crate) mod jobs;
