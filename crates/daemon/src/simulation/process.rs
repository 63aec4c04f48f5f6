//! Played process: its state, and the tempers of programs.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use ostler_sys::process::ProcessEntry;
use ostler_sys::{ProcRef, WaitStatus};
use ostler_testkit::Rng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::probes::Server;
use super::worker::Worker;

pub(super) const KILL: i32 = ostler_sys::process::signal::KILL;

/// Tendencies of the programs of one app, in percent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Temper {
    pub spawn_fails: u8,
    pub crashes: u8,
    pub obeys: u8,
    pub sends_ready: u8,
    pub forks: u8,
    /// Processes that take long to die, even of SIGKILL.
    pub hangs: u8,
    /// Main processes that hand over to a process that they start.
    pub hands_over: u8,
    /// Commands of the app that fail.
    pub commands_fail: u8,
    /// Commands that use up all their time.
    pub commands_hang: u8,
}

impl Temper {
    /// Programs that behave well.
    pub(super) const GOOD: Self = Self {
        spawn_fails: 0,
        crashes: 0,
        obeys: 100,
        sends_ready: 100,
        forks: 0,
        hangs: 0,
        hands_over: 0,
        commands_fail: 0,
        commands_hang: 0,
    };

    pub(super) fn random(rng: &mut Rng) -> Self {
        Self {
            spawn_fails: rng.pick(&[0, 0, 5, 30, 100]),
            crashes: rng.pick(&[0, 5, 30, 100]),
            obeys: rng.pick(&[0, 50, 100, 100]),
            sends_ready: rng.pick(&[0, 50, 100, 100]),
            forks: rng.pick(&[0, 0, 30, 80]),
            hangs: rng.pick(&[0, 0, 50]),
            hands_over: 0,
            commands_fail: rng.pick(&[0, 0, 10, 50]),
            commands_hang: rng.pick(&[0, 0, 50]),
        }
    }
}

/// Played process.
pub(super) struct Process {
    pub entry: ProcessEntry,
    /// App that it belongs to.
    pub app: String,
    /// Mark of its instance and incarnation, or `None` if it is a command.
    pub mark: Option<String>,
    pub incarnation: String,
    /// True if the daemon requested it, rather than another process, or if it was handed over to.
    pub is_main: bool,
    /// Whether a keeper died during its life, or it was handed over to: its ending may be unknown,
    /// and a daemon that does not know it yet kills it as a remain.
    pub is_lost: bool,
    /// Its end of the channel.
    pub channel: Option<OwnedFd>,
    /// Path of the socket for its notifications.
    pub notify: Option<String>,
    /// Output and error output.
    pub outputs: [Option<OwnedFd>; 2],
    /// Descriptors that watch for its exit.
    pub watchers: Vec<OwnedFd>,
    pub got_stop: bool,
    pub killed: bool,
    pub obeys: bool,
    pub hangs: bool,
    pub will_be_ready: bool,
    pub ending: Option<WaitStatus>,
    pub cpu_ns: u64,
    /// Role as a worker of Node's cluster.
    pub worker: Option<Worker>,
    /// Role as a server that is probed.
    pub server: Option<Server>,
}

impl Process {
    pub(super) fn process(&self) -> ProcRef {
        self.entry.process()
    }

    pub(super) fn is_alive(&self) -> bool {
        self.ending.is_none()
    }

    pub(super) fn ending(&self) -> Option<WaitStatus> {
        self.ending
    }

    pub(super) fn reach(&mut self, signal: i32) {
        self.got_stop |= signal != 0;
        self.killed |= signal == KILL;
    }

    pub(super) fn life(&self) -> (Option<String>, String) {
        (self.mark.clone(), self.incarnation.clone())
    }

    /// Sends a notification, if it has a socket for that.
    pub(super) fn notify(&self, text: &str) -> Option<std::io::Result<usize>> {
        let path = self.notify.as_ref()?;
        Some(UnixDatagram::unbound().and_then(|socket| socket.send_to(text.as_bytes(), path)))
    }

    /// Returns true if the other end of its channel is closed.
    pub(super) fn has_a_broken_channel(&self) -> bool {
        self.channel.as_ref().is_some_and(is_closed)
    }
}

/// Returns true if the other end is closed.
pub(super) fn is_closed(connection: &OwnedFd) -> bool {
    let mut looked_at = [PollFd::new(connection, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut looked_at, Some(&now)).is_ok() && looked_at[0].revents().contains(PollFlags::HUP)
}
