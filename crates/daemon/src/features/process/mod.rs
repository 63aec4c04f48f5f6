//! Processes of apps: everything around a process from its start until its tree is gone.

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
