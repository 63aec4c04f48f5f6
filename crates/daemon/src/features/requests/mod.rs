//! Requests of users: those in progress, actions, events and figures.

pub(crate) mod actions;
pub(crate) mod collecting;
pub(crate) mod events;
pub(crate) mod jobs;
