//! The daemon as the keeper sees it: a process to start, to talk to and to start again.

pub(crate) mod failures;
pub(crate) mod respawn;
pub(crate) mod watchdog;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ostler_sys::process::signal::KILL;
use ostler_sys::process::{Target, signal_fd};
use ostler_sys::{CStrings, ProcRef, SpawnSpec, fd::fdpass, net::socket, process::child, spawn, time::clock};
use rustix::event::epoll::EventFlags;

use crate::daemon::failures::{Life, decode_report};
use crate::daemon::watchdog::Watchdog;
use crate::environment::{ROLE_VAR, RUNTIME_VAR, for_role, runtime};
use crate::link::codec::encode;
use crate::link::message::{FromKeeper, Inventory};
use crate::link::{Channel, LINK_FD, Packet};
use crate::run::{Keeper, complain};
use crate::state::DaemonState;
use crate::title::daemon_title;

/// Time that a daemon that closed its link, or was told to retire, may take to end.
const CLOSED_GRACE_MS: u64 = 1_000;
const RETIRE_GRACE_MS: u64 = 5_000;
/// Wait after a failure to start one that is not its own fault.
const RETRY_MS: u64 = 500;
/// Time between two looks at a daemon whose link has ended and whose end nothing tells.
const POLL_MS: u64 = 20;
/// Most descriptors beside one packet of the inventory.
const FDS_PER_PART: usize = 200;

/// The daemon: there is one, or there will be.
#[expect(clippy::large_enum_variant, reason = "there is one in all")]
pub(crate) enum Daemon {
    Absent { start_at_ms: u64 },
    Running(Running),
}

pub(crate) struct Running {
    process: ProcRef,
    /// Pidfd of one that is not our child.
    pidfd: Option<OwnedFd>,
    link: Option<(Channel, EventFlags)>,
    /// Time of SIGKILL.
    kill_at_ms: Option<u64>,
    /// Whether we want its end: then it does not count as a death.
    leaving: bool,
    pub(crate) watchdog: Watchdog,
    pub(crate) life: Life,
    /// Next look for one that is neither our child nor to be had as a pidfd: whether it has ended, after its link has.
    poll: Option<Poll>,
}

/// See [`Running::poll`].
#[derive(Clone, Copy)]
struct Poll {
    at_ms: u64,
}

impl Running {
    /// A daemon that this keeper starts.
    pub(crate) fn new(process: ProcRef, link: Channel) -> Self {
        Self {
            process,
            pidfd: None,
            link: Some((link, EventFlags::IN)),
            kill_at_ms: None,
            leaving: false,
            watchdog: Watchdog::default(),
            life: Life::default(),
            poll: None,
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.pid
    }

    /// True if it was told to end, or has closed its link: it owes no answer.
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

    /// True if it has a link, and we do not want its end.
    pub(crate) fn is_there_to_stay(&self) -> bool {
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

    /// Notes that it has answered, or acknowledged.
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

    /// Number of answers that wait to be read.
    pub(crate) fn waiting(&mut self) -> usize {
        self.channel().map_or(0, |channel| channel.waiting())
    }

    /// Sends what waits and receives the next request; `None` = there is no link.
    pub(crate) fn receive(&mut self) -> Option<io::Result<Option<Packet>>> {
        let channel = self.channel()?;
        // A broken link shows when it is read, after what was sent before it broke.
        let _shown_below = channel.flush();
        Some(channel.recv())
    }

    /// Its state for the next keeper.
    pub(crate) fn state(&self, retire: bool) -> Option<(DaemonState, Option<BorrowedFd<'_>>)> {
        let Self::Running(Running { process, link, .. }) = self else { return None };
        let link = link.as_ref().map(|(channel, _)| channel.as_fd());
        let state = DaemonState { pid: process.pid, start_ticks: process.start_ticks, link: link.map(crate::state::number), retire };
        Some((state, link))
    }
}

/// Starts a role of the binary with its end of the link.
fn launch(spec: &SpawnSpec, link: BorrowedFd<'_>) -> io::Result<ProcRef> {
    let (out, error) = (rustix::stdio::stdout(), rustix::stdio::stderr());
    spawn(spec, &[(out, 1), (error, 2), (link, LINK_FD)]).map_err(io::Error::other)
}

impl Keeper {
    /// Sends to the daemon; nobody there is fine, because the next one gets the inventory.
    pub(crate) fn send(&mut self, message: &FromKeeper, fds: &[BorrowedFd<'_>]) {
        let Some(channel) = self.daemon.channel() else { return };
        match channel.send(&encode(message), fds) {
            Ok(()) => {
                if let (FromKeeper::Exited { .. }, Daemon::Running(running)) = (message, &mut self.daemon) {
                    running.watchdog.expect(clock::boot_ms());
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
            Err(error) => {
                complain(&format!("cannot tell the daemon: {error}; starting it anew"));
                self.kill_daemon();
            }
        }
    }

    /// Does what is due: a start, or SIGKILL.
    pub(crate) fn daemon_time(&mut self, now_ms: u64) {
        if let Daemon::Running(Running { process, poll: Some(poll), .. }) = &mut self.daemon
            && poll.at_ms <= now_ms
        {
            poll.at_ms = now_ms + POLL_MS;
            if process.has_ended() {
                self.daemon_ended();
            }
        }
        match &mut self.daemon {
            Daemon::Absent { start_at_ms } if *start_at_ms <= now_ms && self.exiting.is_none() => self.start_daemon(now_ms),
            Daemon::Running(running) if running.kill_at_ms.is_some_and(|at| at <= now_ms) => {
                running.kill_at_ms = None;
                self.kill_daemon();
            }
            Daemon::Absent { .. } | Daemon::Running(_) => {}
        }
    }

    /// Starts the daemon of a new home.
    pub(crate) fn start_first_daemon(&mut self) -> io::Result<()> {
        let started = self.spawn_daemon().map_err(|error| io::Error::new(error.kind(), format!("cannot start its daemon: {error}")))?;
        self.daemon = Daemon::Running(started);
        Ok(())
    }

    fn start_daemon(&mut self, now_ms: u64) {
        match self.spawn_daemon() {
            Ok(running) => {
                self.daemon = Daemon::Running(running);
                let unsent_signals = std::mem::take(&mut self.unsent_signals);
                for signal in (1..64).filter(|signal| unsent_signals & (1 << signal) != 0) {
                    self.send(&FromKeeper::Signal { signal }, &[]);
                }
            }
            Err(error) => {
                complain(&format!("cannot start the daemon: {error}"));
                self.daemon = Daemon::Absent { start_at_ms: now_ms + RETRY_MS };
            }
        }
    }

    /// Spawns it. Its inventory waits in its link before it runs: if we are killed in the next moment, it has what makes another keeper.
    fn spawn_daemon(&mut self) -> io::Result<Running> {
        let (ours, theirs) = socket::packet_pair()?;
        let mut link = Channel::new(ours);
        self.send_inventory(&mut link).map_err(|error| io::Error::new(error.kind(), format!("hand over the inventory: {error}")))?;
        self.watch_link(&link)?;
        let process = launch(&self.daemon_spec(), theirs.as_fd())?;
        Ok(Running::new(process, link))
    }

    fn daemon_spec(&self) -> SpawnSpec {
        SpawnSpec {
            program: self.daemon_program.into(),
            argv: [daemon_title(&self.home)].into_iter().collect(),
            envp: self.environment(&[(ROLE_VAR, "daemon")]),
            cwd: c"/".into(),
            ..SpawnSpec::default()
        }
    }

    /// Our environment for another role of the binary.
    pub(crate) fn environment(&self, vars: &[(&str, &str)]) -> CStrings {
        let runtime = runtime();
        let runtime = runtime.iter().map(|how| (RUNTIME_VAR, how.as_str()));
        for_role(&self.home, self.as_pm2, &vars.iter().copied().chain(runtime).collect::<Vec<_>>(), |_| true)
    }

    fn send_inventory(&self, link: &mut Channel) -> io::Result<()> {
        let inventory = Inventory {
            keeper_pid: ProcRef::me().pid,
            originals: self.originals,
            children: self.children.list().map(|(child, _)| child).collect(),
            held: Vec::new(),
            failures: self.failures.count(),
            poison: self.failures.poison(),
            last_failure: self.failures.reason().to_owned(),
        };
        let mut parts = vec![(inventory, Vec::new())];
        let anchor = self.anchors.link().map(|link| (link.name(), link.as_fd()));
        for (name, fd) in anchor.into_iter().chain(self.held.iter()) {
            if parts.last().is_none_or(|(part, _)| part.held.len() == FDS_PER_PART) {
                parts.push((Inventory::default(), Vec::new()));
            }
            if let Some((part, fds)) = parts.last_mut() {
                part.held.push(name.clone());
                fds.push(fd);
            }
        }
        let last = parts.len() - 1;
        for (n, (part, fds)) in parts.into_iter().enumerate() {
            let message = if n == last { FromKeeper::Inventory(part) } else { FromKeeper::InventoryPart(part) };
            link.send(&encode(&message), &fds)?;
        }
        Ok(())
    }

    /// Goes on with a daemon that another keeper started.
    pub(crate) fn take_over_daemon(&mut self, state: DaemonState) {
        let process = state.process();
        let link = state.link.and_then(|number| fdpass::inherited(number).ok()).map(Channel::new);
        let link = link.filter(|link| self.watch_link(link).is_ok());
        // After an upgrade it is our child and will be reaped; after a revival it is not. A pidfd does for both.
        let pidfd = process.open().ok().filter(|pidfd| self.watch_daemon(pidfd.as_fd()).is_ok());
        let gone = pidfd.is_none() && !process.exists();
        let kill_at_ms = match (&link, state.retire) {
            (Some(_), false) => None,
            (Some(_), true) => Some(clock::boot_ms() + RETIRE_GRACE_MS),
            (None, _) => Some(clock::boot_ms() + CLOSED_GRACE_MS),
        };
        let poll = (pidfd.is_none() && !child::is_ours(process.pid)).then_some(Poll { at_ms: u64::MAX });
        let link = link.map(|link| (link, EventFlags::IN));
        self.daemon = Daemon::Running(Running {
            process,
            pidfd,
            link,
            kill_at_ms,
            leaving: state.retire,
            watchdog: Watchdog::default(),
            life: Life::taken_over(),
            poll,
        });
        if gone {
            // What it had sent is read, and the next one starts.
            self.daemon_ended();
        } else if state.retire {
            self.send(&FromKeeper::Retire, &[]);
        }
    }

    /// Handles a link that ended, or brought something that nobody can understand.
    pub(crate) fn lost_link(&mut self, error: &io::Error) {
        let link = match &mut self.daemon {
            Daemon::Running(running) => running.link.take(),
            Daemon::Absent { .. } => None,
        };
        if let Some((channel, _)) = &link {
            self.unwatch(channel.as_fd());
        }
        let Daemon::Running(running) = &mut self.daemon else { return };
        if let Some(poll) = &mut running.poll {
            poll.at_ms = clock::boot_ms();
        }
        if error.kind() == io::ErrorKind::UnexpectedEof {
            running.kill_at_ms.get_or_insert(clock::boot_ms() + CLOSED_GRACE_MS);
        } else {
            complain(&format!("the daemon said what makes no sense ({error}); starting it anew"));
            self.kill_daemon();
        }
    }

    /// Kills it. Its end is noticed like any other.
    pub(crate) fn kill_daemon(&mut self) {
        let Daemon::Running(running) = &mut self.daemon else { return };
        running.watchdog.killed(clock::boot_ms());
        let killed = match &running.pidfd {
            Some(pidfd) => signal_fd(pidfd.as_fd(), KILL, Target::Process),
            None if running.poll.is_some() => running.process.signal(KILL),
            None => child::signal(running.process.pid, KILL, Target::Process),
        };
        // Gone already is fine.
        let _ = killed;
    }

    /// Lets it leave: its end is wanted, after an `Exit`.
    pub(crate) fn let_daemon_leave(&mut self) {
        if let Daemon::Running(running) = &mut self.daemon {
            running.leaving = true;
            running.kill_at_ms.get_or_insert(clock::boot_ms() + RETIRE_GRACE_MS);
        }
    }

    /// Handles its end: reads what it sent last, and starts another.
    pub(crate) fn daemon_ended(&mut self) {
        if matches!(self.daemon, Daemon::Absent { .. }) {
            return;
        }
        let now = clock::boot_ms();
        let former = std::mem::replace(&mut self.daemon, Daemon::Absent { start_at_ms: now });
        let Daemon::Running(mut running) = former else { return };
        if let Some(pidfd) = &running.pidfd {
            self.unwatch(pidfd.as_fd());
        }
        if let Some((mut channel, _)) = running.link.take() {
            self.unwatch(channel.as_fd());
            // Requests that it had sent: a spawn done twice is prevented by its key, a held descriptor not taken would be lost.
            while let Ok(Some(packet)) = channel.recv() {
                match decode_report(&packet) {
                    Some(report) => running.life.take(report),
                    None => self.handle(packet),
                }
            }
        }
        if !running.leaving {
            self.daemon = Daemon::Absent { start_at_ms: now + self.delay_after(&running.life, now) };
        }
    }
}
