//! Handlers for the daemon's requests.

use std::os::fd::{AsFd, OwnedFd};

use ostler_sys::process::spawn::{Placement, spawn_at};
use ostler_sys::process::{Target, ending_by_fd};
use ostler_sys::seccomp::inspection::copy_in_thread;
use ostler_sys::{
    ProcRef, Rlimit, SpawnStep, Usage, WaitStatus,
    process::{child, rlimit},
};
use rustix::io::Errno;

use crate::children::Watch;
use crate::daemon::failures::DaemonReport;
use crate::keeper::{Keeper, complain, ended, exited};
use crate::link::codec::{Malformed, decode};
use crate::link::message::{CALLS_TARGET, CGROUP_TARGET, FromKeeper, SpawnRequest, ToKeeper};
use crate::link::{Packet, invalid};

impl Keeper {
    /// Executes the request in the packet. On an invalid request, the keeper kills the daemon and
    /// starts another.
    pub(crate) fn handle(&mut self, packet: Packet) {
        let Packet { payload, fds, lost_fds } = packet;
        match decode::<ToKeeper>(&payload) {
            Ok(request) => {
                if let Err(error) = self.perform(request, fds, lost_fds) {
                    self.lost_link(&invalid(error));
                }
            }
            Err(error) => self.lost_link(&invalid(error)),
        }
    }

    fn perform(&mut self, request: ToKeeper, mut fds: Vec<OwnedFd>, lost_fds: bool) -> Result<(), Malformed> {
        match request {
            ToKeeper::Spawn(request) => return self.spawn(*request, fds, lost_fds),
            ToKeeper::Kill { key, signal, group } => {
                let target = if group { Target::Group } else { Target::Process };
                // It has exited since then; the report is already on its way to the daemon.
                let _ = self.children.signal(key, signal, target);
            }
            ToKeeper::Ack { key } => {
                self.daemon.on_answer();
                self.children.acknowledge(key);
            }
            ToKeeper::Hold { name } => {
                let held = match fds.pop() {
                    Some(fd) => self.hold(name.clone(), fd),
                    None if lost_fds => Err(Errno::MFILE),
                    None => return Err(Malformed("nothing to hold")),
                };
                if let Err(errno) = held {
                    self.send(&FromKeeper::HoldFailed { name, errno: errno.raw_os_error() }, &[]);
                }
            }
            ToKeeper::Drop { name } => {
                self.held.drop_name(&name);
                self.update_anchor(&name);
            }
            ToKeeper::Adopt { key, pid, start_ticks } => self.adopt_or_refuse(key, ProcRef { pid, start_ticks }, fds.pop()),
            ToKeeper::Follow { key, pid, start_ticks } => self.follow(key, ProcRef { pid, start_ticks }, fds.pop()),
            ToKeeper::Verify { key, pid, start_ticks } => self.verify(key, ProcRef { pid, start_ticks }),
            ToKeeper::Inspect(call) => match fds.pop() {
                Some(answer) => copy_in_thread(call, answer),
                // The daemon finds the end of its socket.
                None if lost_fds => {}
                None => return Err(Malformed("no socket for the copies")),
            },
            ToKeeper::Upgrade { exe } => self.begin_upgrade(&exe),
            ToKeeper::Exit => self.end_with(0),
            ToKeeper::ExitWith { code } => self.end_with(code),
            ToKeeper::Ping => self.send(&FromKeeper::Pong, &[]),
            ToKeeper::Pong => self.daemon.on_answer(),
            ToKeeper::Ready => self.on_daemon_report(DaemonReport::Up),
            ToKeeper::At { record } => self.on_daemon_report(DaemonReport::At(record)),
            ToKeeper::DeathReport { record, text } => self.on_daemon_report(DaemonReport::Why(record, text)),
        }
        Ok(())
    }

    fn end_with(&mut self, code: u8) {
        self.exiting = Some(code);
        self.remove_files();
        self.end_anchor();
        self.allow_daemon_exit();
    }

    fn spawn(&mut self, request: SpawnRequest, mut fds: Vec<OwnedFd>, lost_fds: bool) -> Result<(), Malformed> {
        let SpawnRequest { key, mut spec, mut targets } = request;
        if fds.len() != targets.len() && !lost_fds {
            return Err(Malformed("as many descriptors as targets belong to a spawn"));
        }
        if !self.children.is_free(key) {
            self.spawn_failed(key, SpawnStep::Key, Errno::EXIST.raw_os_error());
            return Ok(());
        }
        if lost_fds || !self.has_room() {
            self.spawn_failed(key, SpawnStep::Receive, Errno::MFILE.raw_os_error());
            return Ok(());
        }
        spec.umask.get_or_insert(self.originals.umask);
        if let Some(adj) = self.originals.oom_score_adj {
            spec.oom_score_adj.get_or_insert(adj);
        }
        add_missing(&mut spec.rlimits, self.originals.nofile);
        let mut special = |wanted: i32| {
            let at = targets.iter().position(|&target| target == wanted)?;
            targets.remove(at);
            Some(fds.remove(at))
        };
        let (cgroup, calls) = (special(CGROUP_TARGET), special(CALLS_TARGET));
        let [cgroup, call_reports] = [&cgroup, &calls].map(|fd| fd.as_ref().map(AsFd::as_fd));
        let placement = Placement { cgroup, call_reports, ..Placement::default() };
        let placed: Vec<_> = fds.iter().map(AsFd::as_fd).zip(targets).collect();
        match spawn_at(&spec, &placed, placement) {
            Ok(process) => {
                self.children.add(key, process, Watch::Reap);
                self.send(&FromKeeper::Spawned { key, pid: process.pid, start_ticks: process.start_ticks }, &[]);
            }
            Err(error) => self.spawn_failed(key, error.step, error.errno),
        }
        Ok(())
    }

    fn spawn_failed(&mut self, key: u64, step: SpawnStep, errno: i32) {
        self.send(&FromKeeper::SpawnFailed { key, step: step.as_str().to_owned(), errno }, &[]);
    }

    fn adopt_or_refuse(&mut self, key: u64, process: ProcRef, pidfd: Option<OwnedFd>) {
        let problem = if !self.children.is_free(key) || self.children.alive(process.pid).is_some() {
            Some((SpawnStep::Key, Errno::EXIST))
        } else if !self.has_room() {
            Some((SpawnStep::Receive, Errno::MFILE))
        } else {
            None
        };
        if let Some((step, errno)) = problem {
            return self.spawn_failed(key, step, errno.raw_os_error());
        }
        let ProcRef { pid, start_ticks } = process;
        self.send(&FromKeeper::Spawned { key, pid, start_ticks }, &[]);
        self.watch_or_send_exit(key, process, pidfd);
    }

    fn follow(&mut self, key: u64, process: ProcRef, pidfd: Option<OwnedFd>) {
        if self.children.process(key) == Some(process) {
            return;
        }
        if let Some(pidfd) = self.children.remove(key) {
            self.unwatch(pidfd.as_fd());
        }
        // A process that cannot be watched counts as exited, because its exit would never be
        // noticed.
        let can_be_watched = self.has_room() && self.children.alive(process.pid).is_none();
        if can_be_watched {
            self.watch_or_send_exit(key, process, pidfd);
        } else {
            complain(&format!("cannot watch process {}", process.pid));
            self.add_ended(key, process, WaitStatus::Unknown);
        }
    }

    /// Reports the fate of a process that the daemon cannot find.
    fn verify(&mut self, key: u64, asked: ProcRef) {
        self.reap();
        match self.children.get(key) {
            Some((process, Some(ended))) => self.send(&exited(key, process.pid, ended), &[]),
            Some((process, None)) => {
                let reaped_by_another = matches!(self.children.alive(process.pid), Some((.., None))) && !child::is_own_child(process.pid);
                if reaped_by_another {
                    self.ended(process.pid, ended(WaitStatus::Unknown, Usage::default()));
                }
            }
            None if asked.is_gone() => self.send(&exited(key, asked.pid, ended(WaitStatus::Unknown, Usage::default())), &[]),
            None => self.watch_or_send_exit(key, asked, None),
        }
    }

    fn watch_or_send_exit(&mut self, key: u64, process: ProcRef, pidfd: Option<OwnedFd>) {
        match pidfd.map_or_else(|| process.open(), Ok) {
            Ok(pidfd) if !process.is_gone() => self.adopt(key, process, pidfd),
            // Without a pidfd, our own children are reaped and other processes are polled.
            Err(_) if child::is_own_child(process.pid) && process.exists() => self.children.add(key, process, Watch::Reap),
            Err(_) if !process.has_ended() => self.adopt_by_looking(key, process),
            gone => {
                let ending = gone.map_or_else(|_| process.ending(), |pidfd| ending_by_fd(pidfd.as_fd(), process));
                self.add_ended(key, process, ending);
            }
        }
    }

    fn add_ended(&mut self, key: u64, process: ProcRef, ending: WaitStatus) {
        let ended = ended(ending, Usage::default());
        self.children.add_ended(key, process, ended);
        self.send(&exited(key, process.pid, ended), &[]);
    }
}

/// Adds the limit of open files that apps inherit, unless the app sets its own.
fn add_missing(rlimits: &mut Vec<Rlimit>, nofile: Option<Rlimit>) {
    let resource = rlimit::by_name("nofile");
    if let Some(limit) = nofile.filter(|_| !rlimits.iter().any(|given| Some(given.resource) == resource)) {
        rlimits.push(limit);
    }
}
