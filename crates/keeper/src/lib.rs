//! The keeper: parent of every app and of the daemon, and the process that must not die.
//!
//! Theory of operation. The keeper makes no decisions. Over one private packet socket ([`Link`]),
//! the daemon asks it to start programs, to signal them and to hold descriptors. The keeper reports
//! every exit, and keeps the report until the daemon has acknowledged it. When the daemon dies, the
//! keeper starts a new one and hands it the [`Inventory`]: all children, all unacknowledged exits,
//! all descriptors. A new daemon therefore sees the same world as the old one, and adoption is not
//! a special case.
//!
//! - A client starts the keeper with [`launch`]. If the keeper is killed, the daemon starts another
//!   with [`Launcher::revive`].
//! - A new binary replaces the keeper in place (`Upgrade`): pid, children and descriptors stay;
//!   only the daemon is exchanged.
//! - The keeper has one thread and one `epoll`, and no timer unless something is overdue. It makes
//!   no system call while nothing happens. Only the memory of an app, which may block its reader, is
//!   read in threads that last for that read (docs/adr/0026-reading-by-an-ancestor.md).
//!
//! Its dependency tree proves that it is small: no serde, no async runtime, nothing from `core`.
#![forbid(unsafe_code)]

mod anchor;
mod cgroup;
mod children;
mod daemon;
mod environment;
#[cfg(feature = "simulation")]
pub mod fake_keeper;
#[cfg(debug_assertions)]
#[doc(hidden)]
pub mod fuzz;
mod home;
mod keeper;
mod launch;
mod link;
mod run;
mod state;
mod title;

pub use anchor::anchor_of;
pub use cgroup::{SUPERVISOR_GROUP, cgroups_wanted, home_group};
pub use daemon::refusal;
pub use daemon::watchdog::{DOUBT_SIGNAL, HangKind, Watchdog};
pub use environment::{AS_PM2_VAR, CGROUP_VAR, HOME_VAR, INCARNATION_VAR, ROLE_VAR, RUNTIME_VAR};
pub use home::{HomeHolder, behind, keeper_by_lock, mark_lock};
pub use keeper::runtime_signals;
pub use launch::{EXIT_CHECKED, EXIT_LOCKED, LaunchError, LaunchResult, Launcher, NEEDED_FILES, READY_MS, Revival, launch, wait_ready};
pub use link::message::{
    CALLS_TARGET, CGROUP_TARGET, Child, Ended, FromKeeper, HELD_JOURNAL, HELD_LOCK, HELD_SOCKET, Inventory, Originals, RULESET_TARGET,
    STARTER_KEY, SpawnRequest, ToKeeper,
};
pub use link::{Link, LinkSender};
pub use run::main;
pub use state::{LOCK_FILE, PID_FILE, SOCKET_FILE, log_file, pid_file};
pub use title::daemon_title;
