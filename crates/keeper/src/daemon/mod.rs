//! The daemon from the keeper's side: a process to start, to talk to and to restart.

pub(crate) mod failures;
pub(crate) mod respawn;
mod supervise;
mod waiting_clients;
pub(crate) mod watchdog;

pub use waiting_clients::refusal;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ostler_sys::ProcRef;
use rustix::event::epoll::EventFlags;

use crate::daemon::failures::DaemonReports;
use crate::daemon::watchdog::Watchdog;
use crate::link::{Channel, Packet};
use crate::state::DaemonState;

/// The daemon: running, or due to start.
#[expect(clippy::large_enum_variant, reason = "there is one in all")]
pub(crate) enum Daemon {
    Absent { start_at_ms: u64 },
    Running(Running),
}

pub(crate) struct Running {
    process: ProcRef,
    /// Pidfd, if the daemon is not our child.
    pidfd: Option<OwnedFd>,
    link: Option<(Channel, EventFlags)>,
    /// Time at which SIGKILL is due.
    kill_at_ms: Option<u64>,
    /// Whether we asked it to exit: then the exit does not count as a death.
    leaving: bool,
    pub(crate) watchdog: Watchdog,
    pub(crate) life: DaemonReports,
    /// Polling of a daemon that is neither our child nor has a pidfd, after its link has ended.
    poll: Option<Poll>,
}

/// See [`Running::poll`].
#[derive(Clone, Copy)]
struct Poll {
    at_ms: u64,
}

impl Running {
    /// Creates the record of a daemon that this keeper starts.
    pub(crate) fn new(process: ProcRef, link: Channel) -> Self {
        Self {
            process,
            pidfd: None,
            link: Some((link, EventFlags::IN)),
            kill_at_ms: None,
            leaving: false,
            watchdog: Watchdog::default(),
            life: DaemonReports::default(),
            poll: None,
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Returns true if the daemon was asked to exit, or has closed its link: it owes no answer.
    pub(crate) fn is_about_to_end(&self) -> bool {
        self.leaving || self.kill_at_ms.is_some() || self.link.is_none()
    }
}

impl Daemon {
    pub(crate) fn running_as(&mut self, pid: i32) -> Option<&mut Running> {
        match self {
            Self::Running(running) if running.process.pid == pid => Some(running),
            _ => None,
        }
    }

    pub(crate) fn has_link(&self) -> bool {
        matches!(self, Self::Running(Running { link: Some(_), .. }))
    }

    /// Returns true if the daemon has a link and was not asked to exit.
    pub(crate) fn is_staying(&self) -> bool {
        matches!(self, Self::Running(Running { link: Some(_), leaving: false, .. }))
    }

    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }

    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        match self {
            Self::Absent { start_at_ms } => Some(*start_at_ms),
            Self::Running(running) => {
                let poll = running.poll.map(|poll| poll.at_ms);
                running.kill_at_ms.into_iter().chain(running.watchdog.deadline_ms()).chain(poll).min()
            }
        }
    }

    /// Notes that the daemon has answered or acknowledged.
    pub(crate) fn on_answer(&mut self) {
        if let Self::Running(running) = self {
            running.watchdog.on_answer();
        }
    }

    pub(crate) fn link_interest(&mut self) -> Option<(&Channel, &mut EventFlags)> {
        match self {
            Self::Running(Running { link: Some((channel, interest)), .. }) => Some((channel, interest)),
            _ => None,
        }
    }

    fn channel(&mut self) -> Option<&mut Channel> {
        match self {
            Self::Running(Running { link: Some((channel, _)), .. }) => Some(channel),
            _ => None,
        }
    }

    /// Returns the number of answers that the daemon has not read yet.
    pub(crate) fn waiting(&mut self) -> usize {
        self.channel().map_or(0, |channel| channel.waiting())
    }

    /// Sends the queued packets and receives the next request. `None` means that there is no link.
    pub(crate) fn receive(&mut self) -> Option<io::Result<Option<Packet>>> {
        let channel = self.channel()?;
        // A broken link shows when we read from it, after the packets that were sent before it
        // broke.
        let _shown_below = channel.flush();
        Some(channel.recv())
    }

    /// Returns its state for the next keeper.
    pub(crate) fn state(&self, retire: bool) -> Option<(DaemonState, Option<BorrowedFd<'_>>)> {
        let Self::Running(Running { process, link, .. }) = self else { return None };
        let link = link.as_ref().map(|(channel, _)| channel.as_fd());
        let state = DaemonState { pid: process.pid, start_ticks: process.start_ticks, link: link.map(crate::state::number), retire };
        Some((state, link))
    }
}
