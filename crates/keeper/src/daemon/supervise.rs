//! Methods by which the keeper starts the daemon, talks to it, checks it, kills it and judges its
//! exit.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use ostler_sys::process::signal::KILL;
use ostler_sys::process::{Activity, Target, activity, signal_fd};
use ostler_sys::{CStrings, ProcRef, SpawnSpec, fd::fdpass, net::socket, process::child, spawn, time::clock};
use rustix::event::epoll::EventFlags;

use super::failures::{DaemonReport, DaemonReports, Failures, REFUSED_FROM, decode_report};
use super::watchdog::{Watchdog, WatchdogPhase};
use super::{Daemon, Poll, Running};
use crate::environment::{ROLE_VAR, RUNTIME_VAR, for_role, runtime};
use crate::keeper::{Keeper, complain};
use crate::link::codec::encode;
use crate::link::message::{FromKeeper, Inventory};
use crate::link::{Channel, LINK_FD};
use crate::state::DaemonState;
use crate::title::daemon_title;

/// Time in which a daemon must exit after it closed its link or was asked to retire.
const CLOSED_GRACE_MS: u64 = 1_000;
const RETIRE_GRACE_MS: u64 = 5_000;
/// Delay after a failed start that was not the daemon's fault.
const RETRY_MS: u64 = 500;
/// Polling interval for a daemon whose link has ended, if no other event reports its exit.
const POLL_MS: u64 = 20;
/// Maximum number of descriptors with one packet of the inventory.
const FDS_PER_PART: usize = 200;

/// Maximum number of daemons that survive SIGKILL. Further ones would most likely hang in the same
/// way.
const UNDEAD_MAX: usize = 3;
const AFTER_UNDEAD_MS: u64 = 30_000;
/// Time alive after which a daemon counts as healthy.
const WELL_AFTER_MS: u64 = 10_000;

/// Starts the binary in one of its roles, with that role's end of the link.
fn launch(spec: &SpawnSpec, link: BorrowedFd<'_>) -> io::Result<ProcRef> {
    let (out, error) = (rustix::stdio::stdout(), rustix::stdio::stderr());
    spawn(spec, &[(out, 1), (error, 2), (link, LINK_FD)]).map_err(io::Error::other)
}

impl Keeper {
    /// Sends to the daemon. If no daemon runs, the message is dropped: the next daemon gets the
    /// inventory.
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
                complain(&format!("cannot write to the daemon: {error}; restarting it"));
                self.kill_daemon();
            }
        }
    }

    /// Performs the work that is due: a start, or a SIGKILL.
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

    /// Spawns the daemon. Its inventory is in its link before it runs. If the keeper is killed in
    /// the next moment, the daemon can still create another keeper.
    fn spawn_daemon(&mut self) -> io::Result<Running> {
        let (ours, theirs) = socket::packet_pair()?;
        let mut link = Channel::new(ours);
        self.send_inventory(&mut link).map_err(|error| io::Error::new(error.kind(), format!("hand over the inventory: {error}")))?;
        self.watch_link(&link)?;
        let process = launch(&self.daemon_spec(), theirs.as_fd())?;
        Ok(Running::new(process, link))
    }

    pub(crate) fn daemon_spec(&self) -> SpawnSpec {
        SpawnSpec {
            program: self.daemon_program.into(),
            argv: [daemon_title(&self.home)].into_iter().collect(),
            envp: self.environment(&[(ROLE_VAR, "daemon")]),
            cwd: c"/".into(),
            ..SpawnSpec::default()
        }
    }

    /// Returns our environment for another role of the binary.
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

    /// Continues with a daemon that another keeper started.
    pub(crate) fn take_over_daemon(&mut self, state: DaemonState) {
        let process = state.process();
        let link = state.link.and_then(|number| fdpass::inherited(number).ok()).map(Channel::new);
        let link = link.filter(|link| self.watch_link(link).is_ok());
        // After an upgrade the daemon is our child and we reap it; after a revival it is not. A
        // pidfd works in both cases.
        let pidfd = process.open().ok().filter(|pidfd| self.watch_daemon(pidfd.as_fd()).is_ok());
        let gone = pidfd.is_none() && !process.exists();
        let kill_at_ms = match (&link, state.retire) {
            (Some(_), false) => None,
            (Some(_), true) => Some(clock::boot_ms() + RETIRE_GRACE_MS),
            (None, _) => Some(clock::boot_ms() + CLOSED_GRACE_MS),
        };
        let poll = (pidfd.is_none() && !child::is_own_child(process.pid)).then_some(Poll { at_ms: u64::MAX });
        let link = link.map(|link| (link, EventFlags::IN));
        self.daemon = Daemon::Running(Running {
            process,
            pidfd,
            link,
            kill_at_ms,
            leaving: state.retire,
            watchdog: Watchdog::default(),
            life: DaemonReports::taken_over(),
            poll,
        });
        if gone {
            // The keeper reads the last packets of the old daemon and starts the next one.
            self.daemon_ended();
        } else if state.retire {
            self.send(&FromKeeper::Retire, &[]);
        }
    }

    /// Handles a link that ended, or that delivered an unintelligible packet.
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
            complain(&format!("the daemon sent an invalid message ({error}); restarting it"));
            self.kill_daemon();
        }
    }

    /// Kills the daemon. The keeper notices the exit like any other.
    pub(crate) fn kill_daemon(&mut self) {
        let Daemon::Running(running) = &mut self.daemon else { return };
        running.watchdog.killed(clock::boot_ms());
        let killed = match &running.pidfd {
            Some(pidfd) => signal_fd(pidfd.as_fd(), KILL, Target::Process),
            None if running.poll.is_some() => running.process.signal(KILL),
            None => child::signal(running.process.pid, KILL, Target::Process),
        };
        // A daemon that has already exited is fine.
        let _ = killed;
    }

    /// Lets the daemon leave: after an `Exit` its exit is intended.
    pub(crate) fn allow_daemon_exit(&mut self) {
        if let Daemon::Running(running) = &mut self.daemon {
            running.leaving = true;
            running.kill_at_ms.get_or_insert(clock::boot_ms() + RETIRE_GRACE_MS);
        }
    }

    /// Handles the daemon's exit: reads its last packets and starts another.
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
            // Handle the requests that it had sent. A repeated spawn is prevented by its key, but a
            // descriptor that is not taken here would be lost.
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

    /// Starts to check the daemon: a client, or the keeper, got no answer from it.
    pub(crate) fn doubt_daemon(&mut self) {
        let Daemon::Running(running) = &mut self.daemon else { return };
        if running.is_about_to_end() || running.watchdog.killed_ms.is_some() {
            return;
        }
        let Ok(activity) = activity(running.pid()) else { return };
        if running.watchdog.doubt(clock::boot_ms(), activity) {
            self.send(&FromKeeper::Ping, &[]);
        }
    }

    /// Examines a daemon that owes an answer.
    pub(crate) fn check_daemon(&mut self, now_ms: u64) {
        let Daemon::Running(running) = &mut self.daemon else { return };
        if running.watchdog.deadline_ms().is_none_or(|at| at > now_ms) {
            return;
        }
        let pid = running.pid();
        if running.watchdog.killed_ms.is_some() {
            // If the process is not blocked, it is exiting, however slowly.
            if activity(pid).is_ok_and(|found| found.state == b'D') {
                return self.leave_undead(pid);
            }
            running.watchdog.killed_ms = Some(now_ms);
            return;
        }
        if let WatchdogPhase::Expecting { .. } = running.watchdog.phase {
            running.watchdog.on_answer();
            return self.doubt_daemon();
        }
        // Other code notices an exited daemon.
        let found = activity(pid).unwrap_or(Activity { state: b'R', cpu_ms: 0 });
        if let Some(hang) = running.watchdog.check(now_ms, found) {
            complain(&format!("the daemon (pid {pid}) does not answer: {}; replacing it; apps keep running", hang.describe()));
            self.kill_daemon();
        }
    }

    /// Continues without a daemon that survived SIGKILL. It will never run another line of the
    /// program, but the kernel keeps it until its system call completes. Another daemon can replace
    /// it.
    fn leave_undead(&mut self, pid: i32) {
        self.undead.push(pid);
        let several = self.undead.len();
        complain(&format!(
            "the daemon (pid {pid}) is blocked in the kernel, where even SIGKILL has no effect (a disk or a network file system does not \
             answer): starting another one beside it{}",
            if several >= UNDEAD_MAX { ", later: other daemons are in the same state" } else { "" }
        ));
        self.daemon_ended();
        if several >= UNDEAD_MAX
            && let Daemon::Absent { start_at_ms } = &mut self.daemon
        {
            *start_at_ms = clock::boot_ms() + AFTER_UNDEAD_MS;
        }
    }

    /// Forgets a former daemon that has exited at last.
    pub(crate) fn forget_undead(&mut self, pid: i32) {
        self.undead.retain(|&undead| undead != pid);
    }

    /// Processes a report of the daemon.
    pub(crate) fn on_daemon_report(&mut self, report: DaemonReport) {
        let Daemon::Running(running) = &mut self.daemon else { return };
        if matches!(report, DaemonReport::Up) {
            running.watchdog.on_answer();
            self.failures.up();
        }
        running.life.take(report);
    }

    /// Judges an unintended death of the daemon. Returns how long to wait before the next start.
    pub(crate) fn delay_after(&mut self, life: &DaemonReports, now_ms: u64) -> u64 {
        if life.up_ms.is_some_and(|up| now_ms.saturating_sub(up) > WELL_AFTER_MS) {
            self.failures = Failures::default();
        }
        // If a healthy daemon is killed from outside, restart it immediately.
        if life.up_ms.is_some() && life.reason.is_none() && life.record.is_none() {
            return self.respawn.died(now_ms);
        }
        let delay = self.failures.failed(life.record, life.describe(), life.up_ms.is_some(), now_ms);
        if self.failures.count() >= REFUSED_FROM {
            let later = if delay >= 1000 { format!("in {} s", delay / 1000) } else { "at once".to_owned() };
            complain(&format!(
                "the daemon exited {} times, before it was ready or soon after: {}; next try {later}, or at the next command; apps keep \
                 running",
                self.failures.count(),
                self.failures.reason()
            ));
        }
        delay
    }
}
