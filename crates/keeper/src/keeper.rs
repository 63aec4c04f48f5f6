//! Data of the keeper, and its poll set. `run` has the loop; `daemon`, `children`, `anchor` and `state` have the methods for their subjects.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use ostler_sys::process::exec::OWN_EXE;
use ostler_sys::process::signal::{self, SignalFd};
use ostler_sys::process::{rlimit, title};
use ostler_sys::{Ending, Usage};
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
use crate::state::State;
use crate::state::hold::{Held, headroom};
use crate::title::keeper_comm;

pub(crate) const TOKEN_LINK: u64 = 1;
pub(crate) const TOKEN_SIGNALS: u64 = 2;
pub(crate) const TOKEN_DAEMON: u64 = 3;
pub(crate) const TOKEN_DOOR: u64 = 4;
pub(crate) const TOKEN_ANCHOR: u64 = 5;
/// Token of an adopted process: plus its pid.
pub(crate) const TOKEN_ADOPTED: u64 = 16;

/// Signals left to the daemon.
const LEFT_TO_DAEMON: [i32; 5] = [signal::TERM, signal::INT, signal::QUIT, signal::USR2, signal::HUP];

/// Signals that the first process of a container leaves to the daemon, which passes them on to apps or stops them: all that people send,
/// the real-time ones among them, and none that the kernel sends for a fault.
pub fn runtime_signals() -> impl Iterator<Item = i32> {
    const STANDARD: [i32; 11] =
        [signal::HUP, signal::INT, signal::QUIT, 10, signal::USR2, 14, signal::TERM, signal::CONT, signal::WINCH, signal::IO, signal::PWR];
    STANDARD.into_iter().chain(34..64)
}

/// Answers that may wait for a daemon that does not read; beyond that no further request is read, and hints are dropped.
pub(crate) const ANSWERS_WAITING: usize = 4096;

/// Descriptors in use besides what is held: a generous count of the keeper's own.
pub(crate) const OWN_FDS: usize = 16;

/// Time without events after which memory is given back.
pub(crate) const REST_AFTER_MS: u64 = 1500;

/// A line to standard error, which is `pm2.log`. Nobody to tell is no reason to fail.
pub(crate) fn complain(text: &str) {
    let line = format!("ostler keeper: {text}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

/// State of the keeper.
pub(crate) struct Keeper {
    pub(crate) home: PathBuf,
    pub(crate) as_pm2: bool,
    pub(crate) originals: Originals,
    pub(crate) held: Held,
    pub(crate) children: Children,
    pub(crate) daemon: Daemon,
    /// Program of the daemon.
    pub(crate) daemon_program: &'static CStr,
    pub(crate) respawn: Respawn,
    /// The process that is left when daemon and keeper are killed together.
    pub(crate) anchors: Anchors,
    /// Deaths of daemon and keeper together.
    deaths: Respawn,
    /// Signals that were not sent to any daemon yet, a bit each.
    pub(crate) unsent_signals: u64,
    /// A new binary that is being judged.
    pub(crate) check: Option<Check>,
    /// Exit code with which it ends as soon as the daemon has, if it was asked to.
    pub(crate) exiting: Option<u8>,
    /// Former daemons that SIGKILL did not end yet.
    pub(crate) undead: Vec<i32>,
    pub(crate) failures: Failures,
    /// Time of the next look at processes that are not our children and for which there is no pidfd.
    pub(crate) look_at_ms: Option<u64>,
    /// Whether the listening socket is watched: there is no daemon, and whoever connects gets the reason.
    pub(crate) door_open: bool,
    pub(crate) nofile: u64,
    pub(crate) signals: SignalFd,
    pub(crate) epoll: OwnedFd,
}

/// A new binary that is being judged.
pub(crate) struct Check {
    pub(crate) pid: i32,
    pub(crate) deadline_ms: u64,
    pub(crate) exe: OwnedFd,
}

impl Keeper {
    pub(crate) fn assemble(state: State) -> io::Result<Self> {
        let limit = rlimit::raise_nofile();
        // A parent that ignores SIGCHLD would make the kernel reap our children.
        signal::reset(signal::CHLD);
        let mut signals = if runtime().is_some() { runtime_signals().collect() } else { LEFT_TO_DAEMON.to_vec() };
        signals.extend([signal::CHLD, DOUBT_SIGNAL]);
        let signals = SignalFd::new(&signals)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let me = rustix::process::getpid();
        if let Err(errno) = rustix::process::set_child_subreaper(Some(me)) {
            complain(&format!("cannot become a subreaper, double forks will be lost: {errno}"));
        }
        // Only for people.
        let _ = title::set_comm(keeper_comm(state.as_pm2));
        let keeper = Self {
            home: state.home,
            as_pm2: state.as_pm2,
            originals: state.originals,
            held: Held::default(),
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
            look_at_ms: None,
            door_open: false,
            nofile: limit.hard,
            signals,
            epoll,
        };
        keeper.watch(keeper.signals.as_fd(), TOKEN_SIGNALS)?;
        Ok(keeper)
    }

    /// True if there is room for one more process. Each that lives needs a pidfd in the keeper that comes after one that was killed: that is kept free.
    pub(crate) fn has_room(&self) -> bool {
        ((self.held.len() + self.children.alive_count() + OWN_FDS) as u64).saturating_add(headroom(self.nofile)) < self.nofile
    }

    /// Sets what the links shall wake us for.
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

    /// The parts that an anchor needs of its copy; everything else is closed.
    pub(crate) fn into_anchor(self) -> (PathBuf, bool, Originals, Held, Respawn, SignalFd) {
        let Self { home, as_pm2, originals, held, deaths, signals, .. } = self;
        (home, as_pm2, originals, held, deaths, signals)
    }

    pub(crate) fn watch(&self, fd: BorrowedFd<'_>, token: u64) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN)
    }

    pub(crate) fn unwatch(&self, fd: BorrowedFd<'_>) {
        // Not watched is fine.
        let _ = epoll::delete(&self.epoll, fd);
    }
}

/// Token of an adopted process in the poll set.
pub(crate) fn adopted_token(pid: i32) -> u64 {
    TOKEN_ADOPTED + u64::try_from(pid).unwrap_or(0)
}

/// The record of an end that is seen now.
pub(crate) fn ended(ending: Ending, usage: Usage) -> Ended {
    let now = ostler_sys::now();
    Ended { ending, usage, at_boot_ms: now.boot_ms, at_wall_ms: now.wall_ms }
}

/// The message of an end.
pub(crate) fn exited(key: u64, pid: i32, ended: Ended) -> FromKeeper {
    let Ended { ending, usage, at_boot_ms, at_wall_ms } = ended;
    FromKeeper::Exited { key, pid, ending, usage, at_boot_ms, at_wall_ms }
}

pub(crate) fn duration(ms: u64) -> Timespec {
    Timespec { tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX), tv_nsec: (ms % 1000 * 1_000_000) as _ }
}
