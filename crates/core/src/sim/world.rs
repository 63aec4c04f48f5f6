//! The truth: processes, the kernel's behaviour, and the keeper that holds them. It does not use
//! the state machine.

use std::collections::VecDeque;

use super::rng::Rng;
use crate::app::hooks::Hook;
use crate::lifecycle::command::CommandOutcome;
use crate::lifecycle::{ProcessEnding, Scope};

/// Behaviour of the programs of one instance, in percent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tendency {
    pub(super) spawn_fails: u8,
    pub(super) crashes: u8,
    pub(super) obeys: u8,
    pub(super) sends_ready: u8,
    pub(super) forks: u8,
    /// Hands over to another process.
    pub(super) hands_over: u8,
    /// Takes long to die even after SIGKILL.
    pub(super) hangs: u8,
    /// Hooks fail.
    pub(super) hooks_fail: u8,
    /// Hooks use all their time.
    pub(super) hooks_hang: u8,
    /// Chance that its dependencies are met.
    pub(super) is_met: u8,
}

impl Tendency {
    pub(super) fn random(rng: &mut Rng) -> Self {
        Self {
            spawn_fails: rng.pick(&[0, 0, 5, 30, 100]),
            crashes: rng.pick(&[0, 5, 30, 100]),
            obeys: rng.pick(&[0, 50, 100, 100]),
            sends_ready: rng.pick(&[0, 50, 100, 100]),
            forks: rng.pick(&[0, 0, 30, 80]),
            hands_over: rng.pick(&[0, 0, 10, 40]),
            hangs: rng.pick(&[0, 0, 50]),
            ..Self::GOOD
        }
    }

    /// Returns the same behaviour with random hooks and dependencies.
    pub(super) fn with_hooks(self, rng: &mut Rng) -> Self {
        Self {
            hooks_fail: rng.pick(&[0, 10, 50, 100]),
            hooks_hang: rng.pick(&[0, 0, 50, 100]),
            is_met: rng.pick(&[0, 50, 100, 100]),
            ..self
        }
    }

    /// A well-behaved program.
    pub(super) const GOOD: Self = Self {
        spawn_fails: 0,
        crashes: 0,
        obeys: 100,
        sends_ready: 100,
        forks: 0,
        hands_over: 0,
        hangs: 0,
        hooks_fail: 0,
        hooks_hang: 0,
        is_met: 100,
    };
}

/// One process of a tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    pid: i32,
    got_stop: bool,
    killed: bool,
    obeys: bool,
    hangs: bool,
}

impl Process {
    fn new(pid: i32, tendency: Tendency, rng: &mut Rng) -> Self {
        Self { pid, got_stop: false, killed: false, obeys: rng.percent(tendency.obeys), hangs: rng.percent(tendency.hangs) }
    }

    fn signal(&mut self, signal: i32) {
        self.got_stop = true;
        self.killed |= signal == 9;
    }

    /// Returns true if it got a signal that will end it sooner or later.
    fn is_ending(self) -> bool {
        self.killed || (self.got_stop && self.obeys)
    }
}

/// Exit of a process.
#[derive(Clone, Copy, Debug)]
struct Ended {
    pid: i32,
    ending: ProcessEnding,
    /// Whether the out-of-memory killer did it.
    oom: bool,
    /// Number of main processes that were named by then.
    named: usize,
}

/// One incarnation with all its processes.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) inc: u32,
    /// Position in the order of all spawns.
    pub(super) seq: u64,
    /// Live processes.
    processes: Vec<Process>,
    ended: Vec<Ended>,
    /// Main processes that it named, in order; the first is the spawned process.
    main_pids: Vec<i32>,
    /// Number of them that the daemon has taken from the channel.
    pub(super) taken: usize,
    /// Its main process according to the journal; before that, the spawned process.
    pub(super) main: i32,
    /// Its main process according to the keeper.
    pub(super) watched: i32,
    /// Whether the keeper holds it: alive, or exited and not acked.
    pub(super) held: bool,
    /// Whether one of its main processes got the polite request.
    main_got_stop: bool,
    /// Whether it got SIGKILL without an earlier polite request.
    pub(super) killed_unasked: bool,
    /// Whether a process other than its main process got a polite signal.
    pub(super) other_got_stop: bool,
    /// Whether a keeper died during its life, perhaps with the polite request unread.
    lost_a_keeper: bool,
    /// Whether its exit is in the journal.
    pub(super) recorded: bool,
    will_be_ready: bool,
    /// Time at which it reported readiness.
    pub(super) ready_at: Option<u64>,
    /// Whether the daemon of that moment read the report.
    pub(super) ready_read: bool,
}

impl Child {
    pub(super) fn is_alive(&self, pid: i32) -> bool {
        self.processes.iter().any(|process| process.pid == pid)
    }

    pub(super) fn leader_alive(&self) -> bool {
        self.is_alive(self.main)
    }

    pub(super) fn tree_alive(&self) -> bool {
        !self.processes.is_empty()
    }

    /// Returns the spawned process.
    pub(super) fn spawned(&self) -> i32 {
        self.main_pids[0]
    }

    /// Returns how one of its processes ended.
    pub(super) fn ending(&self, pid: i32) -> Option<(ProcessEnding, bool)> {
        self.ended.iter().find(|ended| ended.pid == pid).map(|ended| (ended.ending, ended.oom))
    }

    /// Returns how the process ended that the keeper watches. A keeper that never saw it alive
    /// cannot know.
    pub(super) fn watched_ending(&self) -> Option<(ProcessEnding, bool)> {
        self.ending(self.watched)
    }

    /// Returns the newest main process that it named and the daemon has not taken yet.
    pub(super) fn untaken(&self) -> Option<i32> {
        self.main_pids.get(self.taken).copied()
    }

    /// Returns true if it had named a live process when this one exited.
    pub(super) fn had_handed_over(&self, pid: i32) -> bool {
        let later = self.main_pids.iter().rposition(|&said| said == pid).map_or(0, |at| at + 1);
        let by_then = self.ended.iter().find(|ended| ended.pid == pid).map_or(self.main_pids.len(), |ended| ended.named);
        self.main_pids[later..by_then.max(later)].iter().any(|&pid| self.is_alive(pid))
    }

    /// Returns true if it named this process as its main process.
    pub(super) fn named(&self, pid: i32) -> bool {
        self.main_pids.contains(&pid)
    }

    /// Returns the process that acts as its main process: the newest live one.
    fn leader(&self) -> Option<usize> {
        self.main_pids.iter().rev().find_map(|&said| self.processes.iter().position(|process| process.pid == said))
    }
}

/// A hook that was journaled and has not been answered. Its runner ensures that it ends.
#[derive(Clone, Debug)]
pub(super) struct HookRun {
    pub(super) slot: usize,
    pub(super) inc: u32,
    pub(super) hook: Hook,
    pub(super) cancelled: bool,
}

impl HookRun {
    pub(super) fn is(&self, slot: usize, inc: u32, hook: Hook) -> bool {
        (self.slot, self.inc, self.hook) == (slot, inc, hook)
    }
}

/// Daemon to keeper.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeeperOrder {
    Spawn { slot: usize, inc: u32 },
    Signal { slot: usize, inc: u32, signal: i32, scope: Scope },
    Ack { slot: usize, inc: u32 },
    Follow { slot: usize, inc: u32, pid: i32 },
}

/// Keeper to daemon.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeeperReport {
    Spawned { slot: usize, inc: u32, pid: i32 },
    SpawnFailed { slot: usize, inc: u32 },
    Exited { slot: usize, inc: u32, pid: i32, ending: ProcessEnding, oom: bool },
}

/// An exit that the keeper has forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct ForgottenExit {
    pub(super) slot: usize,
    pub(super) inc: u32,
    /// Whether the exit is in the journal.
    pub(super) recorded: bool,
}

/// Everything outside the daemon.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: u64,
    /// Counter of spawns and other ordered events.
    pub(super) seq: u64,
    /// All processes of each instance so far, oldest first.
    pub(super) children: Vec<Vec<Child>>,
    pub(super) tendency: Vec<Tendency>,
    orders: VecDeque<KeeperOrder>,
    /// Whether a keeper was killed and the live processes are not yet handed to the next one.
    pub(super) keeper_is_new: bool,
    pub(super) reports: VecDeque<KeeperReport>,
    /// Journaled hooks: they outlive daemon and keeper.
    pub(super) hook_runs: Vec<HookRun>,
}

impl World {
    pub(super) fn new(slots: usize, rng: &mut Rng) -> Self {
        Self {
            now: 1_000,
            seq: 0,
            children: vec![Vec::new(); slots],
            tendency: (0..slots).map(|_| Tendency::random(rng)).collect(),
            orders: VecDeque::new(),
            keeper_is_new: false,
            reports: VecDeque::new(),
            hook_runs: Vec::new(),
        }
    }

    pub(super) fn child(&mut self, slot: usize, inc: u32) -> Option<&mut Child> {
        self.children[slot].iter_mut().rev().find(|child| child.inc == inc)
    }

    pub(super) fn order(&mut self, order: KeeperOrder) {
        self.orders.push_back(order);
    }

    pub(super) fn keeper_is_idle(&self) -> bool {
        self.orders.is_empty()
    }

    /// Lets the keeper take one order. Returns the exit that it has forgotten, and whether it was
    /// journaled.
    pub(super) fn keeper_turn(&mut self, rng: &mut Rng) -> Option<ForgottenExit> {
        match self.orders.pop_front()? {
            KeeperOrder::Spawn { slot, inc } => self.spawn(slot, inc, rng),
            KeeperOrder::Signal { slot, inc, signal, scope } => {
                if let Some(child) = self.child(slot, inc).filter(|child| child.held) {
                    let is_alive = child.is_alive(child.watched);
                    child.killed_unasked |= is_alive && signal == 9 && !child.main_got_stop && !child.lost_a_keeper;
                    // This also holds if it has just exited: the process that it handed over to has
                    // had the same time.
                    child.main_got_stop = true;
                    if !is_alive {
                        return None;
                    }
                    let watched = child.watched;
                    child.other_got_stop |=
                        signal != 9 && scope == Scope::Tree && child.processes.iter().any(|process| process.pid != watched);
                    let reached = child.processes.iter_mut().filter(|process| scope == Scope::Tree || process.pid == watched);
                    reached.for_each(|process| process.signal(signal));
                }
            }
            KeeperOrder::Ack { slot, inc } => {
                if let Some(child) = self.child(slot, inc).filter(|child| child.held && !child.is_alive(child.watched)) {
                    child.held = false;
                    return Some(ForgottenExit { slot, inc, recorded: child.recorded });
                }
            }
            KeeperOrder::Follow { slot, inc, pid } => {
                if let Some(child) = self.child(slot, inc).filter(|child| child.watched != pid) {
                    (child.watched, child.held) = (pid, true);
                    if let Some((ending, oom)) = child.watched_ending() {
                        self.reports.push_back(KeeperReport::Exited { slot, inc, pid, ending, oom });
                    }
                }
            }
        }
        None
    }

    fn spawn(&mut self, slot: usize, inc: u32, rng: &mut Rng) {
        if self.child(slot, inc).is_some_and(|child| child.held) {
            return;
        }
        let tendency = self.tendency[slot];
        if rng.percent(tendency.spawn_fails) {
            self.reports.push_back(KeeperReport::SpawnFailed { slot, inc });
            return;
        }
        let pid = self.new_pid();
        self.children[slot].push(Child {
            inc,
            seq: self.seq,
            processes: vec![Process::new(pid, tendency, rng)],
            ended: Vec::new(),
            main_pids: vec![pid],
            taken: 1,
            main: pid,
            watched: pid,
            held: true,
            main_got_stop: false,
            killed_unasked: false,
            other_got_stop: false,
            lost_a_keeper: false,
            recorded: false,
            will_be_ready: rng.percent(tendency.sends_ready),
            ready_at: None,
            ready_read: false,
        });
        self.reports.push_back(KeeperReport::Spawned { slot, inc, pid });
    }

    fn new_pid(&mut self) -> i32 {
        self.seq += 1;
        i32::try_from(self.seq).unwrap_or(i32::MAX)
    }

    /// Kills the keeper: pending messages and the exits that it kept are lost; the processes are
    /// not.
    pub(super) fn keeper_dies(&mut self) {
        self.orders.clear();
        self.reports.clear();
        self.keeper_is_new = true;
        for child in self.children.iter_mut().flatten() {
            child.held = false;
            child.lost_a_keeper = true;
        }
    }

    /// Closes the channels with daemon and keeper: unread messages are lost.
    pub(super) fn channels_are_lost(&mut self) {
        for child in self.children.iter_mut().flatten() {
            let main = child.main_pids.iter().rposition(|&said| said == child.main).unwrap_or(0);
            child.taken = child.taken.max(main + 1);
            child.main_pids.truncate(child.taken);
            child.ended.iter_mut().for_each(|ended| ended.named = ended.named.min(child.taken));
        }
    }

    /// Hands a live process to a new keeper to watch.
    pub(super) fn adopt(&mut self, slot: usize, inc: u32, pid: Option<i32>) {
        if let Some(child) = self.child(slot, inc) {
            let pid = pid.unwrap_or(child.spawned());
            child.held = child.is_alive(pid);
            child.watched = pid;
        }
    }

    /// Ends some processes after the daemon saw them alive and before the new keeper checks. The
    /// keeper then reports them as exited.
    pub(super) fn some_exit_during_adoption(&mut self, rng: &mut Rng) {
        for slot in 0..self.children.len() {
            for index in 0..self.children[slot].len() {
                let child = &self.children[slot][index];
                if child.held && child.is_alive(child.watched) && rng.percent(10) {
                    let pid = child.watched;
                    self.end(slot, index, pid, ProcessEnding::Code(7), false);
                }
            }
        }
    }

    /// Returns the end of a hook, if it ends now.
    pub(super) fn hook_ends(&self, run: &HookRun, rng: &mut Rng) -> Option<CommandOutcome> {
        let tendency = self.tendency[run.slot];
        if run.cancelled {
            return rng.percent(50).then_some(CommandOutcome::Cancelled);
        }
        if rng.percent(tendency.hooks_hang) {
            // It ends only at its timeout.
            return rng.percent(2).then_some(CommandOutcome::TimedOut(1));
        }
        let failure =
            [CommandOutcome::Code(3), CommandOutcome::Signal(9), CommandOutcome::CouldNotStart(String::new()), CommandOutcome::Lost];
        Some(if rng.percent(tendency.hooks_fail) { failure[rng.below(failure.len())].clone() } else { CommandOutcome::Code(0) })
    }

    /// Lets the processes of one instance act. Returns whether anything happened.
    pub(super) fn app_turn(&mut self, slot: usize, rng: &mut Rng) -> bool {
        let Some(index) = self.children[slot].iter().rposition(Child::tree_alive) else { return false };
        let child = &self.children[slot][index];
        match child.leader() {
            Some(leader) if child.processes.len() == 1 || rng.percent(50) => self.leader_turn(slot, index, leader, rng),
            _ => self.descendant_turn(slot, index, rng),
        }
    }

    fn leader_turn(&mut self, slot: usize, index: usize, at: usize, rng: &mut Rng) -> bool {
        let (tendency, now) = (self.tendency[slot], self.now);
        let child = &mut self.children[slot][index];
        let leader = child.processes[at];
        let few = child.processes.len() < 5;
        if leader.killed {
            let ends = !(leader.hangs && rng.percent(95));
            if ends {
                self.end(slot, index, leader.pid, ProcessEnding::Signal { signal: 9, core: false }, false);
            }
            return ends;
        }
        if leader.is_ending() {
            let ending = rng.pick(&[ProcessEnding::Code(0), ProcessEnding::Code(1), ProcessEnding::Signal { signal: 2, core: false }]);
            self.end(slot, index, leader.pid, ending, false);
        } else if child.will_be_ready && child.ready_at.is_none() && rng.percent(50) {
            child.ready_at = Some(now);
        } else if rng.percent(tendency.forks) && few {
            self.fork(slot, index, rng);
        } else if rng.percent(tendency.hands_over) && few {
            let pid = self.fork(slot, index, rng);
            self.children[slot][index].main_pids.push(pid);
            if rng.percent(50) {
                self.end(slot, index, leader.pid, ProcessEnding::Code(0), false);
            }
        } else if rng.percent(tendency.crashes) {
            let crash = ProcessEnding::Signal { signal: 11, core: true };
            let ending = rng.pick(&[
                ProcessEnding::Code(0),
                ProcessEnding::Code(1),
                ProcessEnding::Code(7),
                crash,
                ProcessEnding::Signal { signal: 9, core: false },
            ]);
            let oom = matches!(ending, ProcessEnding::Signal { signal: 9, .. }) && rng.percent(50);
            self.end(slot, index, leader.pid, ending, oom);
        } else {
            return false;
        }
        true
    }

    fn fork(&mut self, slot: usize, index: usize, rng: &mut Rng) -> i32 {
        let pid = self.new_pid();
        let process = Process::new(pid, self.tendency[slot], rng);
        self.children[slot][index].processes.push(process);
        pid
    }

    fn descendant_turn(&mut self, slot: usize, index: usize, rng: &mut Rng) -> bool {
        let child = &self.children[slot][index];
        let process = child.processes[rng.below(child.processes.len())];
        if process.is_ending() && !(process.hangs && rng.percent(95)) {
            let signal = if process.killed { 9 } else { 2 };
            self.end(slot, index, process.pid, ProcessEnding::Signal { signal, core: false }, false);
            return true;
        }
        let forks = !process.killed && child.processes.len() < 5 && rng.percent(self.tendency[slot].forks / 4);
        if forks {
            self.fork(slot, index, rng);
        }
        forks
    }

    fn end(&mut self, slot: usize, index: usize, pid: i32, ending: ProcessEnding, oom: bool) {
        let child = &mut self.children[slot][index];
        child.processes.retain(|process| process.pid != pid);
        child.ended.push(Ended { pid, ending, oom, named: child.main_pids.len() });
        let inc = child.inc;
        if child.watched == pid && child.held {
            self.reports.push_back(KeeperReport::Exited { slot, inc, pid, ending, oom });
        }
    }

    /// Signals the rest of a tree, which the daemon does without the keeper.
    pub(super) fn sweep(&mut self, slot: usize, inc: u32, signal: i32) {
        if let Some(child) = self.child(slot, inc) {
            let main = child.main;
            child.other_got_stop |= signal != 9 && child.processes.iter().any(|process| process.pid != main);
            child.processes.iter_mut().for_each(|process| process.signal(signal));
        }
    }

    /// Deletes the instance: its channels are closed, and processes that an app without `treekill`
    /// left are ignored.
    pub(super) fn forget(&mut self, slot: usize) {
        self.hook_runs.retain(|run| run.slot != slot);
        self.children[slot].retain(|child| child.held);
        for child in &mut self.children[slot] {
            child.processes.clear();
            (child.ready_read, child.taken) = (true, child.main_pids.len());
        }
    }
}
