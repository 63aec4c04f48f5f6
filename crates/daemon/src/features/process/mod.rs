//! Processes: what surrounds a process from its start to the end of its tree.

pub(crate) mod cgroups;
pub(crate) mod handover;
pub(crate) mod input;
pub(crate) mod inspector;
pub(crate) mod pid_files;
pub(crate) mod preload;
pub(crate) mod sweeps;
pub(crate) mod tracing;
pub(crate) mod vanished;
pub(crate) mod versioning;
pub(crate) mod watch;
