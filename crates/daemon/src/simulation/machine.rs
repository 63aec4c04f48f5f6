//! Played machine: clocks, processes and signals.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use ostler_core::time::Now;
use ostler_keeper::{INCARNATION_VAR, SpawnRequest};
use ostler_sys::process::ProcessEntry;
use ostler_sys::process::Target;
use ostler_sys::{Clocks, ProcRef, WaitStatus};
use ostler_testkit::Rng;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use super::lines::Lines;
use super::probes::Network;
use super::process::{KILL, Process, Temper};
use super::worker::Workers;
use crate::platform::threads;
use crate::state::slots::processes::MARK;

/// First pid. No real process has it, so code outside the simulation does not find a played
/// process.
const FIRST_PID: i32 = 10_000_000;
/// Clocks at the beginning of an episode, in milliseconds: three in the morning of a day in 2026,
/// on a machine that has been up for long.
pub(super) const BOOT_MS: u64 = 5_000_000;
pub(super) const WALL_MS: u64 = 1_790_000_000_000;
/// Parent of orphans when there is no keeper.
const INIT: i32 = 1;

/// Panic payload with which the thread of a killed daemon unwinds.
pub(super) struct Killed;

/// State of everything that is played except the keeper.
pub(super) struct MachineState {
    pub clocks: Clocks,
    pub next_pid: i32,
    pub processes: BTreeMap<i32, Process>,
    pub tempers: BTreeMap<String, Temper>,
    /// Work of each app, in percent of a core. Its processes share it.
    pub loads: BTreeMap<String, u64>,
    pub workers: Workers,
    pub network: Network,
    pub lines: Lines,
    /// Times of file changes, by the wall clock.
    pub changed: BTreeMap<PathBuf, u64>,
    /// Whether a ready process reports it at once.
    pub is_prompt: bool,
    /// Pid of the keeper; `None` without a keeper.
    pub keeper: Option<i32>,
    /// Number of the daemon's steps after which it is killed.
    pub dies_after: Option<u32>,
    /// True after the fatal step of a daemon: no further steps count until the next daemon.
    pub is_dying: bool,
    /// True while the daemon runs, and not the keeper, an app or the user.
    pub is_in_daemon: bool,
    /// Endings of main processes, and whether the daemon may not know them.
    pub endings: BTreeMap<i32, (WaitStatus, bool)>,
    /// Mark and incarnation of each main process.
    pub lives: BTreeMap<i32, (Option<String>, String)>,
    /// Those of which a process has reported that it is ready.
    pub readied: BTreeSet<(Option<String>, String)>,
    /// Apps that are asked to stop by a message, which the simulation does not read.
    pub asked_by_message: BTreeSet<String>,
    /// First broken promise that a signal showed.
    pub broken: Option<String>,
}

/// Played kernel of an episode.
pub(super) struct Machine {
    pub state: RefCell<MachineState>,
}

impl Machine {
    pub(super) fn new() -> Self {
        let clocks = Clocks { boot_ms: BOOT_MS, wall_ms: WALL_MS };
        let state = MachineState {
            clocks,
            next_pid: FIRST_PID,
            processes: BTreeMap::new(),
            tempers: BTreeMap::new(),
            loads: BTreeMap::new(),
            workers: Workers::default(),
            network: Network::default(),
            lines: Lines::default(),
            changed: BTreeMap::new(),
            is_prompt: false,
            keeper: None,
            dies_after: None,
            is_dying: false,
            is_in_daemon: false,
            endings: BTreeMap::new(),
            lives: BTreeMap::new(),
            readied: BTreeSet::new(),
            asked_by_message: BTreeSet::new(),
            broken: None,
        };
        Self { state: RefCell::new(state) }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.state.borrow().clocks.boot_ms
    }

    pub(super) fn file_changed(&self, path: &Path) {
        let mut state = self.state.borrow_mut();
        let at_ms = state.clocks.wall_ms;
        state.changed.insert(path.to_owned(), at_ms);
    }

    pub(super) fn file_removed(&self, path: &Path) {
        self.state.borrow_mut().changed.remove(path);
    }

    /// Returns the CPU use of all processes of this app, in percent of a core.
    pub(super) fn load_of(&self, app: &str) -> u64 {
        self.state.borrow().shares(app).iter().map(|(_, share)| share).sum()
    }

    pub(super) fn advance(&self, ms: u64) {
        let mut state = self.state.borrow_mut();
        state.clocks.boot_ms += ms;
        state.clocks.wall_ms += ms;
        state.work(ms);
        drop(state);
        threads::simulated::pass(ms);
    }

    /// Sets the wall clock forward or back.
    pub(super) fn jump(&self, by_ms: i64) {
        let wall_ms = &mut self.state.borrow_mut().clocks.wall_ms;
        *wall_ms = wall_ms.saturating_add_signed(by_ms);
    }

    /// Returns the lead of the wall clock over the boot clock.
    pub(super) fn ahead_ms(&self) -> i64 {
        let Clocks { boot_ms, wall_ms } = self.state.borrow().clocks;
        Now { mono_ms: boot_ms, wall_ms }.ahead_ms()
    }
}

impl MachineState {
    pub(super) fn new_pid(&mut self) -> i32 {
        self.next_pid += 1;
        self.next_pid
    }

    /// Returns true if a process of this main process's incarnation has reported that it is ready.
    pub(super) fn was_ready(&self, pid: i32) -> bool {
        self.lives.get(&pid).is_some_and(|life| self.readied.contains(life))
    }

    /// Returns the newest pid. Every later process has a higher one.
    pub(super) fn newest_pid(&self) -> i32 {
        self.next_pid
    }

    /// Lets programs use CPU time.
    fn work(&mut self, ms: u64) {
        let shares: Vec<(i32, u64)> = self.loads.keys().flat_map(|app| self.shares(app)).collect();
        for (pid, share) in shares {
            if let Some(process) = self.processes.get_mut(&pid) {
                process.cpu_ns += ms * share * 10_000;
            }
        }
    }

    /// Returns the CPU use of each main process of this app, in percent of a core.
    fn shares(&self, app: &str) -> Vec<(i32, u64)> {
        let mains = self.mains_of(app);
        let load = self.loads.get(app).copied().unwrap_or(0);
        // Each process has only one thread.
        let share = (load / (mains.len().max(1) as u64)).min(100);
        mains.into_iter().map(|pid| (pid, share)).collect()
    }

    pub(super) fn temper(&self, app: &str) -> Temper {
        self.tempers.get(app).copied().unwrap_or(Temper::GOOD)
    }

    /// Starts the process that the daemon requests, or returns the failed step.
    pub(super) fn spawn(&mut self, request: &SpawnRequest, fds: Vec<OwnedFd>, rng: &mut Rng) -> Result<ProcRef, (&'static str, i32)> {
        let variable = |name: &str| {
            let of = |text: &std::ffi::CStr| text.to_str().ok()?.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
            request.spec.envp.iter().find_map(of)
        };
        let app = variable("name").or_else(|| variable("APP")).unwrap_or_default();
        let temper = self.temper(&app);
        let mark = variable(MARK);
        let is_command = mark.is_none();
        if rng.percent(temper.spawn_fails) && !is_command {
            return Err(("exec", Errno::NOENT.raw_os_error()));
        }
        let number = variable("NODE_CHANNEL_FD").and_then(|text| text.parse::<i32>().ok());
        let mut channel = None;
        let mut outputs = [None, None];
        for (target, fd) in request.targets.iter().zip(fds) {
            match target {
                1 | 2 => outputs[usize::from(*target == 2)] = Some(fd),
                _ if Some(*target) == number => channel = Some(fd),
                _ => {}
            }
        }
        let pid = self.new_pid();
        let keeper = self.keeper.unwrap_or(INIT);
        let worker = variable("NODE_UNIQUE_ID").and_then(|number| self.workers.start(&app, number.parse().ok()?));
        let server = if is_command { None } else { self.network.server(&app, variable("PORT").and_then(|port| port.parse().ok())) };
        let process = Process {
            entry: ProcessEntry {
                pid,
                ppid: keeper,
                pgid: pid,
                sid: pid,
                start_ticks: self.clocks.boot_ms / 10,
                state: b'S',
                ..ProcessEntry::default()
            },
            app,
            mark,
            incarnation: variable(INCARNATION_VAR).unwrap_or_default(),
            is_main: true,
            is_lost: false,
            channel,
            notify: variable("NOTIFY_SOCKET"),
            outputs,
            watchers: Vec::new(),
            got_stop: false,
            killed: false,
            obeys: rng.percent(temper.obeys),
            hangs: rng.percent(temper.hangs),
            will_be_ready: rng.percent(temper.sends_ready),
            ending: None,
            cpu_ns: 0,
            worker,
            server,
        };
        let named = process.process();
        for (at, fd) in process.outputs.iter().enumerate().filter(|_| !is_command) {
            fd.iter().for_each(|fd| self.lines.begins(&process.app, (pid, at), fd));
        }
        self.lives.insert(pid, process.life());
        self.processes.insert(pid, process);
        Ok(named)
    }

    pub(super) fn lives(&self, process: ProcRef) -> bool {
        self.processes.get(&process.pid).is_some_and(|found| found.process() == process && found.is_alive())
    }

    pub(super) fn signal(&mut self, process: ProcRef, signal: i32, target: Target) -> Result<(), Errno> {
        let found = self.processes.get_mut(&process.pid).filter(|found| found.process() == process).ok_or(Errno::SRCH)?;
        let group = found.entry.pgid;
        let is_reached = |member: &Process| match target {
            Target::Process => member.entry.pid == process.pid,
            Target::Group => member.entry.pgid == group,
        };
        for member in self.processes.values_mut().filter(|member| is_reached(member)) {
            let is_known = member.is_main && member.mark.is_some() && member.is_alive() && !member.is_lost;
            if signal == KILL && is_known && !member.got_stop && !self.asked_by_message.contains(&member.app) {
                self.broken.get_or_insert(format!("{} of {} is killed without having been asked to stop", member.entry.pid, member.app));
            }
            member.reach(signal);
        }
        if signal == KILL {
            let killed = |process: &&Process| process.killed && !process.hangs && process.is_alive();
            let pids: Vec<i32> = self.processes.values().filter(killed).map(|process| process.entry.pid).collect();
            pids.into_iter().for_each(|pid| self.end(pid, WaitStatus::Signal { signal: KILL, core: false }));
        }
        Ok(())
    }

    /// Ends a process. Its children get another parent, and its parent must reap it.
    pub(super) fn end(&mut self, pid: i32, ending: WaitStatus) {
        let adopter = self.keeper.unwrap_or(INIT);
        for child in self.processes.values_mut().filter(|process| process.entry.ppid == pid) {
            child.entry.ppid = adopter;
        }
        let Some(process) = self.processes.get_mut(&pid) else { return };
        process.ending = Some(ending);
        self.endings.insert(pid, (ending, process.is_lost));
        process.entry.state = b'Z';
        process.channel = None;
        process.worker = None;
        if let Some(server) = process.server.take() {
            self.network.died(&server, process.mark.as_deref());
        }
        process.outputs = [None, None];
        for watcher in process.watchers.drain(..) {
            let _ = rustix::io::write(&watcher, &1_u64.to_ne_bytes());
        }
        let parent = process.entry.ppid;
        if Some(parent) != self.keeper {
            // Every other parent reaps at once.
            self.processes.remove(&pid);
        }
        self.reap_orphans();
    }

    /// Reaps children of init and of processes that are gone.
    fn reap_orphans(&mut self) {
        let keeper = self.keeper;
        self.processes.retain(|_, process| process.is_alive() || Some(process.entry.ppid) == keeper);
    }

    /// Reaps a child of the keeper that has ended.
    pub(super) fn reap(&mut self) -> Option<(ProcRef, WaitStatus)> {
        let keeper = self.keeper?;
        let zombie = self.processes.values().find(|process| process.entry.ppid == keeper && !process.is_alive())?;
        let (process, ending) = (zombie.process(), zombie.ending()?);
        self.processes.remove(&process.pid);
        Some((process, ending))
    }

    pub(super) fn has_zombies(&self) -> bool {
        self.processes.values().any(|process| !process.is_alive())
    }

    /// Kills the keeper: its children go to init.
    pub(super) fn keeper_dies(&mut self) {
        self.processes.values_mut().for_each(|process| process.is_lost = true);
        // It may not have reported them.
        self.endings.values_mut().for_each(|(_, is_lost)| *is_lost = true);
        if let Some(keeper) = self.keeper.take() {
            self.processes.values_mut().filter(|process| process.entry.ppid == keeper).for_each(|process| process.entry.ppid = INIT);
        }
        self.reap_orphans();
    }

    /// Returns the running processes that carry the mark of an instance.
    pub(super) fn marked(&self, mark: &str) -> Vec<i32> {
        let is_of = |process: &&Process| process.is_alive() && process.mark.as_deref() == Some(mark);
        self.processes.values().filter(is_of).map(|process| process.entry.pid).collect()
    }

    /// Iterates over all running main processes.
    pub(super) fn mains(&self) -> impl Iterator<Item = i32> {
        let is_main = |process: &&Process| process.is_alive() && process.is_main && process.mark.is_some();
        self.processes.values().filter(is_main).map(|process| process.entry.pid)
    }

    /// Returns the running main processes of one app.
    pub(super) fn mains_of(&self, app: &str) -> Vec<i32> {
        self.mains().filter(|pid| self.processes[pid].app == app).collect()
    }

    /// Makes all programs behave well from now on. Processes that run already may still ignore a
    /// stop, so that a lost deadline is noticed.
    pub(super) fn become_good(&mut self) {
        self.tempers.values_mut().for_each(|temper| *temper = Temper::GOOD);
        self.workers.are_good = true;
        self.network.are_good = true;
        self.lines.are_good = true;
        self.processes
            .values_mut()
            .for_each(|process| (process.hangs, process.will_be_ready) = (false, process.is_main || process.notify.is_some()));
    }

    pub(super) fn alive(&self) -> Vec<i32> {
        self.processes.values().filter(|process| process.is_alive()).map(|process| process.entry.pid).collect()
    }

    /// Iterates over the running workers of an app, and whether each has its server.
    pub(super) fn workers_of(&self, app: &str) -> impl Iterator<Item = (i32, bool)> {
        let of_app = self.processes.values().filter(move |process| process.app == app && process.is_alive());
        of_app.filter_map(|process| Some((process.entry.pid, process.worker.as_ref()?.key().is_some())))
    }
}

impl ostler_sys::simulated::Kernel for Machine {
    fn clocks(&self) -> Clocks {
        self.state.borrow().clocks
    }

    fn entries(&self) -> Vec<ProcessEntry> {
        self.state.borrow().processes.values().map(|process| process.entry).collect()
    }

    fn entry(&self, pid: i32) -> Option<ProcessEntry> {
        let state = self.state.borrow();
        if Some(pid) == state.keeper {
            return Some(ProcessEntry { pid, ppid: INIT, pgid: pid, sid: pid, start_ticks: 1, state: b'S', ..ProcessEntry::default() });
        }
        state.processes.get(&pid).map(|process| process.entry)
    }

    fn variable(&self, pid: i32, name: &str) -> Option<Vec<u8>> {
        let state = self.state.borrow();
        let process = state.processes.get(&pid)?;
        match name {
            MARK => process.mark.clone().map(String::into_bytes),
            INCARNATION_VAR => Some(process.incarnation.clone().into_bytes()),
            _ => None,
        }
    }

    fn open(&self, process: ProcRef) -> Result<OwnedFd, Errno> {
        let mut state = self.state.borrow_mut();
        let found = state.processes.get_mut(&process.pid).filter(|found| found.process() == process).ok_or(Errno::SRCH)?;
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        if found.is_alive() {
            found.watchers.push(fd.try_clone().map_err(|_| Errno::MFILE)?);
        } else {
            rustix::io::write(fd.as_fd(), &1_u64.to_ne_bytes())?;
        }
        Ok(fd)
    }

    fn signal(&self, process: ProcRef, signal: i32, target: Target) -> Result<(), Errno> {
        self.step();
        self.state.borrow_mut().signal(process, signal, target)
    }

    fn usage(&self, pid: i32) -> Option<(u64, u64)> {
        const MEMORY_BYTES: u64 = 10 << 20;
        self.state.borrow().processes.get(&pid).filter(|process| process.is_alive()).map(|process| (process.cpu_ns, MEMORY_BYTES))
    }

    fn changed_ms(&self, path: &Path) -> Option<u64> {
        self.state.borrow().changed.get(path).copied()
    }

    fn connect(&self, to: SocketAddr) -> Option<Result<OwnedFd, Errno>> {
        let mut state = self.state.borrow_mut();
        let now_ms = state.clocks.boot_ms;
        state.network.connect(to, now_ms)
    }

    fn step(&self) {
        let mut state = self.state.borrow_mut();
        if state.is_dying || !state.is_in_daemon {
            return;
        }
        match state.dies_after {
            Some(0) => {
                state.is_dying = true;
                drop(state);
                // Without the panic hook, because it stands for SIGKILL.
                std::panic::resume_unwind(Box::new(Killed));
            }
            Some(left) => state.dies_after = Some(left - 1),
            None => {}
        }
    }
}
