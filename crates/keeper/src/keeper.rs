//! Data of the keeper, and its poll set. `run` has the loop; `daemon`, `children`, `anchor` and
//! `state` have the methods for their subjects.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use ostler_sys::fd::epoll_wait;
use ostler_sys::process::exec::OWN_EXE;
use ostler_sys::process::signal::{self, SignalFd};
use ostler_sys::process::{rlimit, title};
use ostler_sys::{Usage, WaitStatus};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::anchor::{AnchorLink, Anchors};
use crate::children::Children;
use crate::daemon::Daemon;
use crate::daemon::failures::Failures;
use crate::daemon::respawn::Respawn;
use crate::daemon::watchdog::DOUBT_SIGNAL;
use crate::environment::{DEATHS_VAR, runtime};
use crate::link::Channel;
use crate::link::message::{Ended, FromKeeper, Originals};
use crate::state::KeeperState;
use crate::state::hold::{HeldFds, headroom};
use crate::title::keeper_comm;

pub(crate) const TOKEN_LINK: u64 = 1;
pub(crate) const TOKEN_SIGNALS: u64 = 2;
pub(crate) const TOKEN_DAEMON: u64 = 3;
pub(crate) const TOKEN_DOOR: u64 = 4;
pub(crate) const TOKEN_ANCHOR: u64 = 5;
/// Base of the tokens of adopted processes; the pid is added to it.
pub(crate) const TOKEN_ADOPTED: u64 = 16;

/// Signals left to the daemon.
const LEFT_TO_DAEMON: [i32; 5] = [signal::TERM, signal::INT, signal::QUIT, signal::USR2, signal::HUP];

/// Returns the signals that the first process of a container leaves to the daemon, which passes
/// them on to apps or stops the apps. These are all signals that people send, including the
/// real-time signals, but not those that the kernel sends for a fault.
pub fn runtime_signals() -> impl Iterator<Item = i32> {
    const STANDARD: [i32; 11] =
        [signal::HUP, signal::INT, signal::QUIT, 10, signal::USR2, 14, signal::TERM, signal::CONT, signal::WINCH, signal::IO, signal::PWR];
    STANDARD.into_iter().chain(34..64)
}

/// Maximum number of answers queued for a daemon that does not read. Beyond that, the keeper reads
/// no further request and drops hints.
pub(crate) const ANSWERS_WAITING: usize = 4096;

/// Upper bound of the keeper's own descriptors, in addition to the held ones.
pub(crate) const OWN_FDS: usize = 16;

/// Time without events after which the keeper returns memory to the kernel.
pub(crate) const REST_AFTER_MS: u64 = 1500;

/// Writes a line to standard error, which is `pm2.log`. A failed write is ignored.
pub(crate) fn complain(text: &str) {
    let line = format!("ostler keeper: {text}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

/// State of the keeper.
pub(crate) struct Keeper {
    pub(crate) home: PathBuf,
    pub(crate) as_pm2: bool,
    pub(crate) originals: Originals,
    pub(crate) held: HeldFds,
    pub(crate) children: Children,
    pub(crate) daemon: Daemon,
    /// Program of the daemon.
    pub(crate) daemon_program: &'static CStr,
    pub(crate) respawn: Respawn,
    /// State of the anchor, the process that survives when daemon and keeper are killed together.
    pub(crate) anchors: Anchors,
    /// Deaths of daemon and keeper together.
    deaths: Respawn,
    /// Signals that have not reached any daemon yet, one bit each.
    pub(crate) unsent_signals: u64,
    /// New binary that is being checked.
    pub(crate) check: Option<Check>,
    /// Exit code for a requested exit. The keeper exits as soon as the daemon has.
    pub(crate) exiting: Option<u8>,
    /// Former daemons that have survived SIGKILL so far.
    pub(crate) undead: Vec<i32>,
    pub(crate) failures: Failures,
    /// Time of the next poll of processes that are not our children and have no pidfd.
    pub(crate) poll_ms: Option<u64>,
    /// Whether the listening socket is watched: there is no daemon, and every client that connects
    /// gets the reason.
    pub(crate) door_open: bool,
    pub(crate) nofile: u64,
    pub(crate) signals: SignalFd,
    pub(crate) epoll: OwnedFd,
}

/// New binary that is being checked.
pub(crate) struct Check {
    pub(crate) pid: i32,
    pub(crate) deadline_ms: u64,
    pub(crate) exe: OwnedFd,
}

impl Keeper {
    pub(crate) fn assemble(state: KeeperState) -> io::Result<Self> {
        let limit = rlimit::raise_nofile().unwrap_or_else(rlimit::nofile);
        // If the parent ignores SIGCHLD, we inherit that and the kernel would reap our children.
        signal::reset(signal::CHLD);
        let mut signals = if runtime().is_some() { runtime_signals().collect() } else { LEFT_TO_DAEMON.to_vec() };
        signals.extend([signal::CHLD, DOUBT_SIGNAL]);
        let signals = SignalFd::new(&signals)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let me = rustix::process::getpid();
        if let Err(errno) = rustix::process::set_child_subreaper(Some(me)) {
            complain(&format!("cannot become a subreaper, double forks will be lost: {errno}"));
        }
        // This name is only for people.
        let _ = title::set_comm(keeper_comm(state.as_pm2));
        let keeper = Self {
            home: state.home,
            as_pm2: state.as_pm2,
            originals: state.originals,
            held: HeldFds::default(),
            children: Children::default(),
            daemon: Daemon::Absent { start_at_ms: 0 },
            daemon_program: OWN_EXE,
            respawn: Respawn::default(),
            anchors: Anchors::default(),
            deaths: std::env::var(DEATHS_VAR).map(|text| Respawn::from_text(&text)).unwrap_or_default(),
            unsent_signals: state.signals,
            check: None,
            exiting: None,
            undead: Vec::new(),
            failures: Failures::default(),
            poll_ms: None,
            door_open: false,
            nofile: limit.hard,
            signals,
            epoll,
        };
        keeper.watch(keeper.signals.as_fd(), TOKEN_SIGNALS)?;
        // A keeper that cannot wait would take the home and serve no daemon: better not to start.
        match epoll_wait::wait(&keeper.epoll, &mut Vec::with_capacity(1), Some(&duration(0))) {
            Ok(()) | Err(Errno::INTR) => Ok(keeper),
            Err(errno) => Err(io::Error::new(errno.kind(), format!("cannot wait for events: {}", io::Error::from(errno)))),
        }
    }

    /// Returns true if there is room for one more process. If the keeper is killed, its successor
    /// needs a pidfd for each living process; room for these stays free.
    pub(crate) fn has_room(&self) -> bool {
        ((self.held.len() + self.children.alive_count() + OWN_FDS) as u64).saturating_add(headroom(self.nofile)) < self.nofile
    }

    /// Sets the events of the links for which the event loop wakes up.
    pub(crate) fn update_interest(&mut self) {
        if let Some((anchor, wanted)) = self.anchors.interest()
            && epoll::modify(&self.epoll, anchor, epoll::EventData::new_u64(TOKEN_ANCHOR), wanted).is_ok()
        {
            self.anchors.has_interest(wanted);
        }
        let Some((link, interest)) = self.daemon.link_interest() else { return };
        let waiting = link.waiting();
        let mut wanted = epoll::EventFlags::empty();
        wanted.set(epoll::EventFlags::IN, waiting < ANSWERS_WAITING);
        wanted.set(epoll::EventFlags::OUT, waiting > 0);
        if *interest != wanted && epoll::modify(&self.epoll, link, epoll::EventData::new_u64(TOKEN_LINK), wanted).is_ok() {
            *interest = wanted;
        }
    }

    pub(crate) fn watch_link(&self, link: &Channel) -> Result<(), Errno> {
        self.watch(link.as_fd(), TOKEN_LINK)
    }

    pub(crate) fn watch_door(&self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        self.watch(socket, TOKEN_DOOR)
    }

    pub(crate) fn watch_daemon(&self, pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.watch(pidfd, TOKEN_DAEMON)
    }

    pub(crate) fn watch_anchor(&self, link: &AnchorLink) -> Result<(), Errno> {
        self.watch(link.as_fd(), TOKEN_ANCHOR)
    }

    /// Returns the parts that an anchor needs from its copy. Everything else is closed.
    pub(crate) fn into_anchor(self) -> (PathBuf, bool, Originals, HeldFds, Respawn, SignalFd) {
        let Self { home, as_pm2, originals, held, deaths, signals, .. } = self;
        (home, as_pm2, originals, held, deaths, signals)
    }

    pub(crate) fn watch(&self, fd: BorrowedFd<'_>, token: u64) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN)
    }

    pub(crate) fn unwatch(&self, fd: BorrowedFd<'_>) {
        // A descriptor that was not watched is fine.
        let _ = epoll::delete(&self.epoll, fd);
    }
}

/// Returns the token of an adopted process in the poll set.
pub(crate) fn adopted_token(pid: i32) -> u64 {
    TOKEN_ADOPTED + u64::try_from(pid).unwrap_or(0)
}

/// Returns the record of an exit that the keeper notices now.
pub(crate) fn ended(ending: WaitStatus, usage: Usage) -> Ended {
    let now = ostler_sys::now();
    Ended { ending, usage, at_boot_ms: now.boot_ms, at_wall_ms: now.wall_ms }
}

/// Returns the message that reports an exit.
pub(crate) fn exited(key: u64, pid: i32, ended: Ended) -> FromKeeper {
    let Ended { ending, usage, at_boot_ms, at_wall_ms } = ended;
    FromKeeper::Exited { key, pid, ending, usage, at_boot_ms, at_wall_ms }
}

pub(crate) fn duration(ms: u64) -> Timespec {
    Timespec { tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX), tv_nsec: (ms % 1000 * 1_000_000) as _ }
}
