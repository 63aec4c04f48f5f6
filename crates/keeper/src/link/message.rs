//! Messages between daemon and keeper. See `codec` for the bytes.

use std::path::PathBuf;

use ostler_sys::{Ending, Rlimit, SpawnSpec, Usage};

/// Name of the held lock file, see [`crate::LOCK_FILE`].
pub const HELD_LOCK: &str = "lock";
/// Name of the held listening socket, see [`crate::SOCKET_FILE`].
pub const HELD_SOCKET: &str = "socket";
/// Name of the held journal: a memfd that belongs to the daemon.
pub const HELD_JOURNAL: &str = "journal";

/// In place of a number in [`SpawnRequest::targets`]: this descriptor is the folder of the cgroup in which the program begins, if it can.
pub const CGROUP_TARGET: i32 = -1;

/// Key of the process that starts what a runtime is to run: no instance has it.
pub const STARTER_KEY: u64 = u64::MAX;

/// Message from the daemon. In brackets what travels beside it as descriptors.
#[derive(Clone, Debug, PartialEq)]
pub enum ToKeeper {
    /// Start a program [one descriptor per target, in that order]. Answer: `Spawned` or `SpawnFailed`.
    /// What the spec leaves open (`umask`, limit of open files, OOM score) is as the keeper itself was started.
    Spawn(Box<SpawnRequest>),
    /// Send a signal. Ignored when the process has ended: the pid could be another's by then. No answer.
    Kill {
        /// The key.
        key: u64,
        /// Signal number.
        signal: i32,
        /// To its process group instead of the process alone.
        group: bool,
    },
    /// The end of this one is recorded: forget it.
    Ack {
        /// The key.
        key: u64,
    },
    /// Keep this descriptor \[one\] under this name, in place of what had the name before.
    Hold {
        /// Any text of at most 255 bytes.
        name: String,
    },
    /// Close what is held under this name.
    Drop {
        /// The name.
        name: String,
    },
    /// Watch a process that is not the keeper's child [its pidfd, or none: then it is looked up]; from then on as if it had been spawned under this key.
    /// Answer: `Spawned` (watched, or already ended: then `Exited` follows), or `SpawnFailed`.
    Adopt {
        /// The caller's name for it.
        key: u64,
        /// Its pid.
        pid: i32,
        /// Its start time.
        start_ticks: u64,
    },
    /// The process of this key is another one from now on [its pidfd, or none: then it is looked up]: the app handed over. The former one
    /// is forgotten, also where its end was reported and not acknowledged. No answer, but `Exited` at once if this one has ended already.
    Follow {
        /// The key.
        key: u64,
        /// Pid of the new one.
        pid: i32,
        /// Its start time.
        start_ticks: u64,
    },
    /// The kernel does not know this process any more, and the daemon got no report of its end. Answer: `Exited`, again where it was reported
    /// before; none where it lives after all, which is then watched under this key.
    Verify {
        /// The key.
        key: u64,
        /// The pid that it had.
        pid: i32,
        /// Its start time.
        start_ticks: u64,
    },
    /// Become this binary. Answer: `UpgradeFailed`, or `Retire` from the new keeper.
    Upgrade {
        /// Path of the new binary.
        exe: PathBuf,
    },
    /// Remove socket and pid file, wait for the daemon's end, and end. Children are left alone.
    Exit,
    /// The same, with an exit code: what a container is to end with.
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
    /// After failures: the daemon is at this record of the journal now, or at none. Who dies there died over it.
    At {
        /// Id of the instance.
        record: Option<u32>,
    },
    /// The daemon is about to end, for this reason.
    DeathReport {
        /// The record that it was at.
        record: Option<u32>,
        /// The reason, for people.
        text: String,
    },
}

/// A program to start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpawnRequest {
    /// The caller's name for it, e.g. instance and incarnation; not in use by another live or unacknowledged one.
    pub key: u64,
    /// The program.
    pub spec: SpawnSpec,
    /// Descriptor numbers in the child, and at most one [`CGROUP_TARGET`]; of 0–2 the missing ones are `/dev/null`.
    pub targets: Vec<i32>,
}

/// Message from the keeper. In brackets what travels beside it as descriptors.
#[derive(Clone, Debug, PartialEq)]
pub enum FromKeeper {
    /// Always the first message a daemon gets [one descriptor per held name, in that order]. It arrives as several packets, which
    /// [`crate::Link`] puts together.
    Inventory(Inventory),
    /// A part of it with more to come; [`crate::Link`] never returns this.
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
    /// It could not be started; nothing is left of it and the key is free.
    SpawnFailed {
        /// The key.
        key: u64,
        /// The failing step, see [`ostler_sys::Step`].
        step: String,
        /// Its errno.
        errno: i32,
    },
    /// It has ended. Kept until `Ack`.
    Exited {
        /// The key.
        key: u64,
        /// The pid that it had.
        pid: i32,
        /// Its end.
        ending: Ending,
        /// Resources that it used; zero for one that was not our child.
        usage: Usage,
        /// Time at which the keeper saw it: `CLOCK_BOOTTIME` in milliseconds.
        at_boot_ms: u64,
        /// The same moment, wall clock in milliseconds since the epoch.
        at_wall_ms: u64,
    },
    /// A process ended that was neither spawned nor adopted: an orphan that came to the keeper. Only a hint: dropped when the daemon
    /// does not read.
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
    /// The upgrade did not happen; everything is as before.
    UpgradeFailed {
        /// `open`, `check` (the file is no ostler that understands our state) or `exec`.
        step: String,
        /// Its errno; 0 where there is none.
        errno: i32,
    },
    /// Answer to `Ping`.
    Pong,
    /// Question whether the daemon turns. Answer: `Pong`. One that does not answer is killed and replaced.
    Ping,
    /// End now: a new daemon starts when this one is gone (SIGKILL after some seconds).
    Retire,
    /// Keep this descriptor \[one\] open as long as you live, in place of the one before, and give it under this name to a keeper that you start:
    /// by it the anchor knows that you live. See [`crate::anchor_of`].
    Keep {
        /// The name.
        name: String,
    },
}

/// Inventory: everything that the keeper has, as a fresh daemon gets it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inventory {
    /// The keeper's pid.
    pub keeper_pid: i32,
    /// Settings that apps inherit.
    pub originals: Originals,
    /// Everything spawned or adopted that lives or whose end is not acknowledged.
    pub children: Vec<Child>,
    /// Names of the held descriptors, sorted.
    pub held: Vec<String>,
    /// Number of daemons before this one that ended before they were ready, or soon after.
    pub failures: u32,
    /// Record over which they did so: it is to be set aside.
    pub poison: Option<u32>,
    /// Reason why the last of them ended.
    pub last_failure: String,
}

/// Settings that the keeper changed for itself and that apps get as they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Originals {
    /// File mode creation mask.
    pub umask: u32,
    /// Limit of open files; `None` = as it is.
    pub nofile: Option<Rlimit>,
    /// OOM score, where the keeper could lower its own.
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
    /// `None` = it lives.
    pub ended: Option<Ended>,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The end.
    pub ending: Ending,
    /// Resources that it used; zero for one that was not our child.
    pub usage: Usage,
    /// Time at which the keeper saw it: `CLOCK_BOOTTIME` in milliseconds.
    pub at_boot_ms: u64,
    /// The same moment, wall clock in milliseconds since the epoch.
    pub at_wall_ms: u64,
}
