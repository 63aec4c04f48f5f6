//! Messages between daemon and keeper. See `codec` for the encoding.

use std::path::PathBuf;

use ostler_sys::confine::Confinement;
use ostler_sys::seccomp::inspection::BindCall;
use ostler_sys::{Rlimit, SpawnSpec, Usage, WaitStatus};

/// Name of the held lock file, see [`crate::LOCK_FILE`].
pub const HELD_LOCK: &str = "lock";
/// Name of the held listening socket, see [`crate::SOCKET_FILE`].
pub const HELD_SOCKET: &str = "socket";
/// Name of the held journal: a memfd that belongs to the daemon.
pub const HELD_JOURNAL: &str = "journal";

/// Special value in [`SpawnRequest::targets`]: this descriptor is the folder of the cgroup in which
/// the program starts, if possible.
pub const CGROUP_TARGET: i32 = -1;

/// Special value in [`SpawnRequest::targets`]: to this socket, the program sends the listener for
/// its calls of `bind` and `listen` (`ostler_sys::seccomp`).
pub const CALLS_TARGET: i32 = -2;

/// Special value in [`SpawnRequest::targets`]: the ruleset of Landlock for the program
/// (`ostler_sys::confine`).
pub const RULESET_TARGET: i32 = -3;

/// Key of the process that starts the runtime's program. No instance has this key.
pub const STARTER_KEY: u64 = u64::MAX;

/// Message from the daemon. Brackets name the descriptors that accompany it.
#[derive(Clone, Debug, PartialEq)]
pub enum ToKeeper {
    /// Start a program [one descriptor per target, in that order]. Answer: `Spawned` or
    /// `SpawnFailed`. If the spec omits a setting (`umask`, limit of open files, OOM score), the
    /// program gets the value with which the keeper was started.
    Spawn(Box<SpawnRequest>),
    /// Send a signal. It is ignored if the process has exited, because another process may have the
    /// pid by then. No answer.
    Kill {
        /// The key.
        key: u64,
        /// Signal number.
        signal: i32,
        /// Signal its process group instead of the process alone.
        group: bool,
    },
    /// The daemon has recorded the exit of this process: forget it.
    Ack {
        /// The key.
        key: u64,
    },
    /// Hold this descriptor \[one\] under this name. It replaces the descriptor that had the name
    /// before.
    Hold {
        /// Any text of at most 255 bytes.
        name: String,
    },
    /// Close the descriptor held under this name.
    Drop {
        /// The name.
        name: String,
    },
    /// Watch a process that is not the keeper's child [its pidfd; otherwise the keeper looks it
    /// up]. From then on it is treated as if it had been spawned under this key. Answer: `Spawned`
    /// or `SpawnFailed`. `Spawned` means that the process is watched, or that it has already exited
    /// and `Exited` follows.
    Adopt {
        /// The daemon's key for the process.
        key: u64,
        /// Its pid.
        pid: i32,
        /// Its start time.
        start_ticks: u64,
    },
    /// This key now stands for another process [its pidfd; otherwise the keeper looks it up]: the
    /// app handed over to it. The keeper forgets the former process, even if its exit was reported
    /// and not acknowledged. No answer, but an immediate `Exited` if the new process has already
    /// exited.
    Follow {
        /// The key.
        key: u64,
        /// Pid of the new process.
        pid: i32,
        /// Its start time.
        start_ticks: u64,
    },
    /// The kernel no longer knows this process, and the daemon got no report of its exit. Answer:
    /// `Exited`, repeated if it was reported before. No answer if the process is alive after all;
    /// the keeper then watches it under this key.
    Verify {
        /// The key.
        key: u64,
        /// The pid that it had.
        pid: i32,
        /// Its start time.
        start_ticks: u64,
    },
    /// Copy what this call names [socket for the copies]. The daemon may not do it itself: Yama lets
    /// only ancestors of a process inspect it. The copies, or the end of the socket, arrive there.
    Inspect(BindCall),
    /// Become this binary. Answer: `UpgradeFailed`, or `Retire` from the new keeper.
    Upgrade {
        /// Path of the new binary.
        exe: PathBuf,
    },
    /// Remove socket and pid file, wait for the daemon to exit, and exit. Children are left alone.
    Exit,
    /// The same as `Exit`, with the exit code for a container.
    ExitWith {
        /// 0–255.
        code: u8,
    },
    /// Answer: `Pong`.
    Ping,
    /// Answer to the keeper's `Ping`.
    Pong,
    /// The daemon has taken over everything and is in its loop.
    Ready,
    /// After failures: the daemon now processes this record of the journal, or none. If the daemon
    /// dies now, this record is the suspected cause.
    At {
        /// Id of the instance.
        record: Option<u32>,
    },
    /// The daemon is about to exit, for this reason.
    DeathReport {
        /// The record that it was processing.
        record: Option<u32>,
        /// The reason, for people.
        text: String,
    },
}

/// A program to start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpawnRequest {
    /// The daemon's key for the process, e.g. instance and incarnation. No other live or
    /// unacknowledged process may have it.
    pub key: u64,
    /// The program.
    pub spec: SpawnSpec,
    /// Descriptor numbers in the child, and at most one [`CGROUP_TARGET`],
    /// [`CALLS_TARGET`] and [`RULESET_TARGET`]. Missing descriptors among 0–2 are `/dev/null`.
    pub targets: Vec<i32>,
    /// Its restrictions, if any. The ruleset is the descriptor with the target [`RULESET_TARGET`].
    pub confinement: Option<Box<Confinement>>,
}

/// Message from the keeper. Brackets name the descriptors that accompany it.
#[derive(Clone, Debug, PartialEq)]
pub enum FromKeeper {
    /// Always the first message to a daemon [one descriptor per held name, in that order]. It
    /// arrives as several packets, which [`crate::Link`] joins.
    Inventory(Inventory),
    /// A part of the inventory with more to come; [`crate::Link`] never returns this.
    InventoryPart(Inventory),
    /// The program runs (its `execve` has succeeded).
    Spawned {
        /// The key.
        key: u64,
        /// Its pid; also its process group and session.
        pid: i32,
        /// Its start time in clock ticks since boot.
        start_ticks: u64,
    },
    /// The program could not be started. No process remains and the key is free.
    SpawnFailed {
        /// The key.
        key: u64,
        /// The failing step, see [`ostler_sys::SpawnStep`].
        step: String,
        /// Its errno.
        errno: i32,
    },
    /// The process has exited. The keeper keeps this report until `Ack`.
    Exited {
        /// The key.
        key: u64,
        /// The pid that it had.
        pid: i32,
        /// How it exited.
        ending: WaitStatus,
        /// Resources that it used; zero if it was not the keeper's child.
        usage: Usage,
        /// Time at which the keeper noticed it: `CLOCK_BOOTTIME` in milliseconds.
        at_boot_ms: u64,
        /// The same moment, wall clock in milliseconds since the epoch.
        at_wall_ms: u64,
    },
    /// A process exited that was neither spawned nor adopted: an orphan whose parent the keeper
    /// became. This is only a hint: it is dropped if the daemon does not read.
    OrphanExited {
        /// The pid that it had.
        pid: i32,
    },
    /// The keeper got this signal (TERM, INT, QUIT, USR2 or HUP) and leaves it to the daemon.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// A descriptor could not be held.
    HoldFailed {
        /// The name.
        name: String,
        /// `EMFILE`: no room for more.
        errno: i32,
    },
    /// The upgrade failed; everything is as before.
    UpgradeFailed {
        /// `open`, `check` (the file is not an ostler binary that understands our state), `read` (an
        /// app blocks a thread that reads its memory) or `exec`.
        step: String,
        /// Its errno, or 0 if the step has none.
        errno: i32,
    },
    /// Answer to `Ping`.
    Pong,
    /// Question whether the daemon responds. Answer: `Pong`. If the daemon does not answer, the
    /// keeper kills and replaces it.
    Ping,
    /// Exit now. A new daemon starts when this one has exited (SIGKILL after some seconds).
    Retire,
    /// Keep this descriptor \[one\] open as long as the daemon lives, instead of the previous one.
    /// Give it under this name to every keeper that the daemon starts. It shows the anchor that the
    /// daemon is alive. See [`crate::anchor_of`].
    Keep {
        /// The name.
        name: String,
    },
}

/// Inventory: everything that the keeper has, as a new daemon receives it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inventory {
    /// The keeper's pid.
    pub keeper_pid: i32,
    /// Settings that apps inherit.
    pub originals: Originals,
    /// Every spawned or adopted process that is alive, or whose exit is not acknowledged.
    pub children: Vec<Child>,
    /// Names of the held descriptors, sorted.
    pub held: Vec<String>,
    /// Number of previous daemons that exited before they were ready, or soon after.
    pub failures: u32,
    /// Record that caused these failures. The daemon must set it aside.
    pub poison: Option<u32>,
    /// Reason for the last of these exits.
    pub last_failure: String,
}

/// Settings that the keeper changed for itself. Apps get the original values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Originals {
    /// File mode creation mask.
    pub umask: u32,
    /// Limit of open files; `None` leaves it unchanged.
    pub nofile: Option<Rlimit>,
    /// Original OOM score, if the keeper could lower its own.
    pub oom_score_adj: Option<i32>,
}

/// One process in the inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// The daemon's name for it.
    pub key: u64,
    /// Its pid.
    pub pid: i32,
    /// Its start time in clock ticks since boot.
    pub start_ticks: u64,
    /// How it exited; `None` if it is alive.
    pub ended: Option<Ended>,
}

/// The exit of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How it exited.
    pub ending: WaitStatus,
    /// Resources that it used; zero if it was not the keeper's child.
    pub usage: Usage,
    /// Time at which the keeper noticed it: `CLOCK_BOOTTIME` in milliseconds.
    pub at_boot_ms: u64,
    /// The same moment, wall clock in milliseconds since the epoch.
    pub at_wall_ms: u64,
}
