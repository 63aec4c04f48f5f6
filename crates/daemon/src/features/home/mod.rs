//! Home and machine: saved lists, the place of the home, the wall clock, updates, and shutdown.

pub(crate) mod autosave;
pub(crate) mod clock;
pub(crate) mod home_watch;
pub(crate) mod host;
pub(crate) mod keeper_watch;
pub(crate) mod runtime;
pub(crate) mod update;
