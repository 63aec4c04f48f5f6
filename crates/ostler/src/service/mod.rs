//! The process that a service manager starts, watches and stops: `service run`.
//!
//! # Theory of operation
//!
//! Keeper and daemon must outlive a restart of the service, so they cannot be its main process: that has to end in a restart. The main
//! process is this one. It starts the keeper or finds it, has the saved list started, says `READY=1`, and sleeps. It supervises
//! nothing and holds nothing: it may be killed at any instant, and the next one finds everything as it was.
//!
//! - **Asked to end** (SIGTERM): it looks which job the service manager performs. A restart: it ends, and everything else stays; its
//!   successor has keeper and daemon replaced by the installed program. Anything else is a stop: all apps are stopped in order, then the
//!   daemon.
//! - **Watchdog**: only where the service manager asks for heartbeats, the daemon is asked for one *through the keeper* three times
//!   within the period. Whoever of the two does not answer is killed; the other one starts it anew, and apps notice nothing.
//! - **The keeper ended**: in order (somebody said `kill`), then this ends, too; else it looks for the one that the daemon has started,
//!   or starts one, which adopts what still runs.

mod begin;
mod credentials;
mod job;
mod node_versions;
mod notify;
mod run;
mod stop;
mod takeover;
mod watch;

pub(crate) use begin::Taking;
pub(crate) use run::{AGAIN, run};
