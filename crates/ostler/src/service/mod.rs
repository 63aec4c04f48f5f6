//! The process that a service manager starts, watches and stops: `service run`.
//!
//! # Theory of operation
//!
//! Keeper and daemon must outlive a restart of the service. They therefore cannot be its main
//! process, which must exit in a restart. The main process is this one. It starts or finds the
//! keeper, has the saved list started, sends `READY=1`, and sleeps. It supervises nothing and holds
//! nothing. It may be killed at any instant, and the next main process finds everything unchanged.
//!
//! - **Stop request** (SIGTERM): the process checks which job the service manager performs. For a
//!   restart, it exits and everything else keeps running; its successor has keeper and daemon
//!   replaced by the installed program. For any other job, it stops all apps in order, then the
//!   daemon.
//! - **Watchdog**: if the service manager requests heartbeats, the process asks the daemon for a
//!   heartbeat *through the keeper*, three times within the period. If the daemon or the keeper
//!   does not answer, it is killed. The other one starts it again, and the apps do not notice.
//! - **The keeper exited**: after a `kill` command, this process exits, too. Otherwise it finds the
//!   keeper that the daemon has started, or starts a keeper, which adopts the running processes.

mod credentials;
mod job;
mod node_versions;
mod notify;
mod run;
mod start;
mod stop;
mod takeover;
mod watch;

pub(crate) use run::{AGAIN, run};
pub(crate) use start::TakeoverMode;
