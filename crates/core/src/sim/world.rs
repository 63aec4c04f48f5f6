//! The truth: processes, the kernel's part, and the keeper that holds them. It knows nothing of the state machine.

use std::collections::VecDeque;

use super::rng::Rng;
use crate::lifecycle::{Ending, Scope};

/// How the programs of one instance tend to behave, in percent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tendency {
    pub(super) spawn_fails: u8,
    pub(super) crashes: u8,
    pub(super) obeys: u8,
    pub(super) says_ready: u8,
    pub(super) forks: u8,
    /// Takes long to die even of SIGKILL.
    pub(super) hangs: u8,
}

impl Tendency {
    pub(super) fn random(rng: &mut Rng) -> Self {
        Self {
            spawn_fails: rng.pick(&[0, 0, 5, 30, 100]),
            crashes: rng.pick(&[0, 5, 30, 100]),
            obeys: rng.pick(&[0, 50, 100, 100]),
            says_ready: rng.pick(&[0, 50, 100, 100]),
            forks: rng.pick(&[0, 0, 30, 80]),
            hangs: rng.pick(&[0, 0, 50]),
        }
    }

    /// Does what one hopes for.
    pub(super) const GOOD: Self = Self { spawn_fails: 0, crashes: 0, obeys: 100, says_ready: 100, forks: 0, hangs: 0 };
}

/// Any one process of a tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    asked: bool,
    killed: bool,
    obeys: bool,
    hangs: bool,
}

impl Process {
    fn new(tendency: Tendency, rng: &mut Rng) -> Self {
        Self { asked: false, killed: false, obeys: rng.percent(tendency.obeys), hangs: rng.percent(tendency.hangs) }
    }

    fn signal(&mut self, signal: i32) {
        self.asked = true;
        self.killed |= signal == 9;
    }

    /// It has been told so that it will end, sooner or later.
    fn is_ending(self) -> bool {
        self.killed || (self.asked && self.obeys)
    }
}

/// One incarnation: its main process and what that started.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) inc: u32,
    pub(super) pid: i32,
    /// Position in the order of all spawns.
    pub(super) seq: u64,
    leader: Option<Process>,
    stragglers: Vec<Process>,
    /// How the main process ended.
    pub(super) ending: Option<(Ending, bool)>,
    /// The keeper holds it: alive, or ended and not acked.
    pub(super) held: bool,
    /// It got SIGKILL without having been asked before.
    pub(super) killed_unasked: bool,
    /// A keeper died in its time, perhaps with the polite request unread.
    lost_a_keeper: bool,
    /// Its end is in the journal.
    pub(super) recorded: bool,
    will_be_ready: bool,
    /// When it said so.
    pub(super) ready_at: Option<u64>,
    /// The daemon of that moment read it.
    pub(super) ready_read: bool,
}

impl Child {
    pub(super) fn leader_alive(&self) -> bool {
        self.leader.is_some()
    }

    pub(super) fn tree_alive(&self) -> bool {
        self.leader.is_some() || !self.stragglers.is_empty()
    }
}

/// Daemon to keeper.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Spawn { slot: usize, inc: u32 },
    Signal { slot: usize, inc: u32, signal: i32, scope: Scope },
    Ack { slot: usize, inc: u32 },
}

/// Keeper to daemon.
#[derive(Clone, Copy, Debug)]
pub(super) enum Report {
    Spawned { slot: usize, inc: u32, pid: i32 },
    SpawnFailed { slot: usize, inc: u32 },
    Exited { slot: usize, inc: u32, ending: Ending, oom: bool },
}

/// An exit that the keeper has forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forgotten {
    pub(super) slot: usize,
    pub(super) inc: u32,
    /// The journal knows of it.
    pub(super) recorded: bool,
}

/// Everything outside the daemon.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: u64,
    /// Counts spawns and whatever else needs an order.
    pub(super) seq: u64,
    /// Every process there ever was, per instance, oldest first.
    pub(super) children: Vec<Vec<Child>>,
    pub(super) tendency: Vec<Tendency>,
    orders: VecDeque<Order>,
    pub(super) reports: VecDeque<Report>,
}

impl World {
    pub(super) fn new(slots: usize, rng: &mut Rng) -> Self {
        Self {
            now: 1_000,
            seq: 0,
            children: vec![Vec::new(); slots],
            tendency: (0..slots).map(|_| Tendency::random(rng)).collect(),
            orders: VecDeque::new(),
            reports: VecDeque::new(),
        }
    }

    pub(super) fn child(&mut self, slot: usize, inc: u32) -> Option<&mut Child> {
        self.children[slot].iter_mut().rev().find(|child| child.inc == inc)
    }

    pub(super) fn order(&mut self, order: Order) {
        self.orders.push_back(order);
    }

    pub(super) fn keeper_is_idle(&self) -> bool {
        self.orders.is_empty()
    }

    /// The keeper takes one order. Says which exit it has forgotten, and whether that was journaled.
    pub(super) fn keeper_turn(&mut self, rng: &mut Rng) -> Option<Forgotten> {
        match self.orders.pop_front()? {
            Order::Spawn { slot, inc } => self.spawn(slot, inc, rng),
            Order::Signal { slot, inc, signal, scope } => {
                if let Some(child) = self.child(slot, inc).filter(|child| child.held && child.leader_alive()) {
                    if let Some(leader) = &mut child.leader {
                        child.killed_unasked |= signal == 9 && !leader.asked && !child.lost_a_keeper;
                        leader.signal(signal);
                    }
                    if scope == Scope::Tree {
                        child.stragglers.iter_mut().for_each(|process| process.signal(signal));
                    }
                }
            }
            Order::Ack { slot, inc } => {
                if let Some(child) = self.child(slot, inc).filter(|child| child.held && !child.leader_alive()) {
                    child.held = false;
                    return Some(Forgotten { slot, inc, recorded: child.recorded });
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
            self.reports.push_back(Report::SpawnFailed { slot, inc });
            return;
        }
        self.seq += 1;
        let pid = i32::try_from(self.seq).unwrap_or(i32::MAX);
        self.children[slot].push(Child {
            inc,
            pid,
            seq: self.seq,
            leader: Some(Process::new(tendency, rng)),
            stragglers: Vec::new(),
            ending: None,
            held: true,
            killed_unasked: false,
            lost_a_keeper: false,
            recorded: false,
            will_be_ready: rng.percent(tendency.says_ready),
            ready_at: None,
            ready_read: false,
        });
        self.reports.push_back(Report::Spawned { slot, inc, pid });
    }

    /// The keeper is killed: what was under way and the exits it kept are lost, the processes are not.
    pub(super) fn keeper_dies(&mut self) {
        self.orders.clear();
        self.reports.clear();
        for child in self.children.iter_mut().flatten() {
            child.held &= child.leader_alive();
            child.lost_a_keeper = true;
        }
    }

    /// What the processes of one instance do next. Says whether anything happened.
    pub(super) fn app_turn(&mut self, slot: usize, rng: &mut Rng) -> bool {
        let tendency = self.tendency[slot];
        let Some(index) = self.children[slot].iter().rposition(Child::tree_alive) else { return false };
        let child = &mut self.children[slot][index];
        match child.leader {
            Some(leader) if child.stragglers.is_empty() || rng.percent(50) => self.leader_turn(slot, index, leader, rng),
            _ => straggler_turn(child, tendency, rng),
        }
    }

    fn leader_turn(&mut self, slot: usize, index: usize, leader: Process, rng: &mut Rng) -> bool {
        let (tendency, now) = (self.tendency[slot], self.now);
        let child = &mut self.children[slot][index];
        if leader.killed {
            let ends = !(leader.hangs && rng.percent(95));
            if ends {
                self.end(slot, index, Ending::Signal { signal: 9, core: false }, false);
            }
            return ends;
        }
        if leader.is_ending() {
            let ending = rng.pick(&[Ending::Code(0), Ending::Code(1), Ending::Signal { signal: 2, core: false }]);
            self.end(slot, index, ending, false);
        } else if child.will_be_ready && child.ready_at.is_none() && rng.percent(50) {
            child.ready_at = Some(now);
        } else if rng.percent(tendency.forks) && child.stragglers.len() < 4 {
            child.stragglers.push(Process::new(tendency, rng));
        } else if rng.percent(tendency.crashes) {
            let crash = Ending::Signal { signal: 11, core: true };
            let ending = rng.pick(&[Ending::Code(0), Ending::Code(1), Ending::Code(7), crash, Ending::Signal { signal: 9, core: false }]);
            let oom = matches!(ending, Ending::Signal { signal: 9, .. }) && rng.percent(50);
            self.end(slot, index, ending, oom);
        } else {
            return false;
        }
        true
    }

    fn end(&mut self, slot: usize, index: usize, ending: Ending, oom: bool) {
        let child = &mut self.children[slot][index];
        child.leader = None;
        child.ending = Some((ending, oom));
        let inc = child.inc;
        self.reports.push_back(Report::Exited { slot, inc, ending, oom });
    }

    /// What the daemon does by itself, without the keeper: signal the rest of a tree.
    pub(super) fn sweep(&mut self, slot: usize, inc: u32, signal: i32) {
        if let Some(child) = self.child(slot, inc) {
            child.stragglers.iter_mut().for_each(|process| process.signal(signal));
        }
    }

    /// The instance is deleted: its channels are closed, and what an app without `treekill` left is nobody's business.
    pub(super) fn forget(&mut self, slot: usize) {
        self.children[slot].retain(|child| child.held);
        for child in &mut self.children[slot] {
            child.stragglers.clear();
            child.ready_read = true;
        }
    }
}

fn straggler_turn(child: &mut Child, tendency: Tendency, rng: &mut Rng) -> bool {
    let at = rng.below(child.stragglers.len());
    let process = child.stragglers[at];
    if process.is_ending() && !(process.hangs && rng.percent(95)) {
        child.stragglers.swap_remove(at);
        return true;
    }
    let forks = !process.killed && child.stragglers.len() < 4 && rng.percent(tendency.forks / 4);
    if forks {
        child.stragglers.push(Process::new(tendency, rng));
    }
    forks
}
