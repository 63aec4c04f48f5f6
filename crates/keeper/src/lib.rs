//! The keeper: parent of every app and of the daemon; the process that must not die.
//!
//! Theory of operation. The keeper never decides. Over one private packet socket ([`Link`]) the daemon asks it to start programs, to
//! signal them and to hold descriptors; it reports every end and keeps the report until the daemon has acknowledged it. When the daemon
//! dies, the keeper starts a new one and hands it the [`Inventory`]: all children, all unacknowledged ends, all descriptors. So a fresh
//! daemon and an old one see the same world, and adoption is not a special case.
//!
//! - Started by a client with [`launch`], or again by the daemon with [`Launcher::revive`] when it was killed.
//! - Replaced by a new binary in place (`Upgrade`): same pid, children and descriptors kept; only the daemon is exchanged.
//! - One thread, one `epoll`, no timer unless something is overdue: no system call while nothing happens.
//!
//! Its dependency tree is the proof that it is small: no serde, no async runtime, nothing of `core`.
#![forbid(unsafe_code)]

mod anchor;
mod cgroup;
mod children;
mod daemon;
mod drill;
mod environment;
mod home;
mod keeper;
mod launch;
mod link;
#[cfg(feature = "played")]
pub mod played;
mod run;
mod state;
mod title;

pub use anchor::anchor_of;
pub use cgroup::{SUPERVISOR_GROUP, cgroups_wanted, home_group};
pub use daemon::refusal;
pub use daemon::watchdog::{DOUBT_SIGNAL, Hang, Watchdog};
pub use environment::{AS_PM2_VAR, CGROUP_VAR, HOME_VAR, INCARNATION_VAR, ROLE_VAR, RUNTIME_VAR};
pub use home::{Behind, behind, keeper_by_lock, mark_lock};
pub use keeper::runtime_signals;
pub use launch::{EXIT_CHECKED, EXIT_LOCKED, LaunchError, Launched, Launcher, Revival, launch, wait_ready};
pub use link::message::{
    CGROUP_TARGET, Child, Ended, FromKeeper, HELD_JOURNAL, HELD_LOCK, HELD_SOCKET, Inventory, Originals, STARTER_KEY, SpawnRequest,
    ToKeeper,
};
pub use link::{DeathReporter, Link};
pub use run::main;
pub use state::{LOCK_FILE, PID_FILE, SOCKET_FILE, log_file, pid_file};
pub use title::daemon_title;
