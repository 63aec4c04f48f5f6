//! Finding and ending what is left of a process tree.
//!
//! A process belongs to an instance when it is in the session or the group of its main process, descends from it, or carries the
//! instance's mark in its environment and has the keeper (our subreaper) or init as parent: that is where the children of a double
//! fork end up. Whatever it did, it is still in the instance's cgroup, where there are any. One look at the process table serves all instances that wait in the same turn of the loop.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use ostler_core::lifecycle::{AfterStop, Event, State};
use ostler_core::stop::{self, Met};
use ostler_sys::signal::KILL;
use ostler_sys::tree::Entry;
use ostler_sys::{ProcRef, ProcTable, cgroup};

use crate::control::Control;
use crate::reactor::Source;
use crate::slots::Slot;
use crate::slots::processes::{INC_MARK, inc_mark};
use crate::slots::trees::family_in;

/// When to look for what crashed incarnations left outside their groups.
const LATE_MS: u64 = 200;
/// While many instances end one after the other, their leftovers are looked for together.
const COLLECT_MS: u64 = 2;

/// One instance whose tree is looked for.
#[derive(Debug)]
struct Sweep {
    slot: u32,
    inc: u32,
    /// Polite signal, sent once to each process; none = SIGKILL.
    signal: Option<i32>,
    /// Processes that had the polite signal.
    asked: Vec<ProcRef>,
    /// None = when one of its processes ends.
    due_ms: Option<u64>,
}

/// All sweeps.
#[derive(Debug, Default)]
pub(crate) struct Sweeps {
    all: Vec<Sweep>,
    /// Crashed incarnations and their marks; what they left is looked for together.
    late: Vec<(ProcRef, String)>,
    late_ms: Option<u64>,
    /// Stragglers whose end we wait for: pid → descriptor and the slots that wait.
    watched: BTreeMap<u32, (OwnedFd, u32)>,
    /// The process table; read anew in each turn of the loop that needs it.
    table: Option<ProcTable>,
}

impl Sweeps {
    /// Looks later for what an ended incarnation left outside its process group.
    pub(crate) fn add_late(&mut self, leader: ProcRef, mark: String, now_ms: u64) {
        self.late.push((leader, mark));
        self.late_ms.get_or_insert(now_ms + LATE_MS);
    }

    /// Asks for a sweep; one for the same process replaces the former.
    pub(crate) fn add(&mut self, slot: u32, inc: u32, signal: Option<i32>, now_ms: u64) {
        let former = self.all.iter().position(|sweep| sweep.slot == slot).map(|index| self.all.swap_remove(index));
        let asked = former.filter(|former| former.inc == inc).map(|former| former.asked).unwrap_or_default();
        let due_ms = Some(now_ms + if self.all.len() > 2 { COLLECT_MS } else { 0 });
        self.all.push(Sweep { slot, inc, signal, asked, due_ms });
    }

    /// The slot is gone.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.all.retain(|sweep| sweep.slot != slot);
    }

    /// When [`Control::sweep`] has something to do.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.all.iter().filter_map(|sweep| sweep.due_ms).chain(self.late_ms).min()
    }

    /// Everything of one tree, in the table of this turn.
    fn family(&self, slot: &Slot, pid: i32, reaper: i32) -> Vec<Entry> {
        self.table.as_ref().map_or_else(Vec::new, |table| family_in(table, slot, pid, reaper))
    }
}

/// What is outside of the group of a main process.
#[derive(Debug)]
pub(super) struct Outside {
    /// Processes of its tree that are not in a group led by it.
    pub processes: Vec<ProcRef>,
    /// It leads one: the process that was started does, one that it handed over to may be in the group of the former.
    pub leads_group: bool,
    /// The process table of this turn has it as a living process.
    pub main_was_seen: bool,
}

impl Default for Outside {
    fn default() -> Self {
        Self { processes: Vec::new(), leads_group: true, main_was_seen: false }
    }
}

impl Control {
    /// Looks for what is left of the trees that are due. True when that gave new events.
    pub(crate) fn sweep(&mut self) -> bool {
        let now = self.ctx.now.mono_ms;
        let (due, later) =
            std::mem::take(&mut self.sweeps.all).into_iter().partition::<Vec<_>, _>(|sweep| sweep.due_ms.is_some_and(|due| due <= now));
        self.sweeps.all = later;
        // What was seen before the signals of this turn says nothing about now.
        self.sweeps.table = None;
        if self.sweeps.late_ms.is_some_and(|due| due <= now) {
            self.sweep_late();
        }
        if due.is_empty() {
            return false;
        }
        let (crashed, due): (Vec<_>, Vec<_>) = due.into_iter().partition(|sweep| self.has_left_nothing_in_its_group(sweep));
        for sweep in &crashed {
            self.feed(sweep.slot, Event::TreeGone { inc: sweep.inc });
        }
        if due.is_empty() {
            return true;
        }
        self.look_at_processes();
        let mut events = !crashed.is_empty();
        for sweep in due {
            events |= self.sweep_one(sweep, now);
        }
        self.sweeps.table = None;
        events
    }

    /// On the way from a crash to the next process there is no time to read the process table: that its process group and its cgroup are
    /// empty is enough. Where there are no cgroups, what left the process group (a double fork with a session of its own) is found by its
    /// mark a moment later.
    fn has_left_nothing_in_its_group(&mut self, sweep: &Sweep) -> bool {
        // One that handed over to another process leaves more than the group of that.
        let Some(slot) = self.ctx.slots.get(sweep.slot).filter(|slot| slot.kin.is_empty()) else { return false };
        let State::Stopping { inc, pid, leader_gone: true, next: AfterStop::Restart { .. }, .. } = slot.instance.state else {
            return false;
        };
        let Some(group) = rustix::process::Pid::from_raw(pid).filter(|_| inc == sweep.inc) else { return false };
        if rustix::process::test_kill_process_group(group) != Err(rustix::io::Errno::SRCH) {
            return false;
        }
        match &slot.group {
            Some(cgroup) if cgroup::is_populated(Path::new(&**cgroup)) => return false,
            _ => {}
        }
        self.sweeps.add_late(ProcRef { pid, start_ticks: slot.start_ticks }, inc_mark(&slot.unique_id, inc), self.ctx.now.mono_ms);
        true
    }

    /// The daemon ends and everything with it: what was to be looked for later is looked for now.
    pub(crate) fn finish_sweeps(&mut self) {
        if !self.sweeps.late.is_empty() {
            self.sweep_late();
        }
    }

    /// SIGKILL for what crashed incarnations left outside their groups.
    fn sweep_late(&mut self) {
        self.sweeps.late_ms = None;
        let crashed = std::mem::take(&mut self.sweeps.late);
        self.look_at_processes();
        let Some(table) = &self.sweeps.table else { return };
        for (leader, mark) in crashed {
            for member in table.tree(leader, INC_MARK, mark.as_bytes(), self.ctx.keeper.pid()) {
                // It may have ended by itself meanwhile.
                let _ = member.process().signal(KILL);
            }
        }
        self.sweeps.table = None;
    }

    /// Reads the process table, unless that was done in this turn already. Nobody needs to look whose children our own are.
    fn look_at_processes(&mut self) {
        if self.sweeps.table.is_none() {
            self.sweeps.table = Some(ProcTable::scan().knowing(self.ctx.own_children()));
        }
    }

    /// What a signal to the group of a live main process does not reach.
    pub(super) fn outside_group(&mut self, id: u32) -> Outside {
        self.look_at_processes();
        let Some(slot) = self.ctx.slots.get(id) else { return Outside::default() };
        let Some(pid) = slot.instance.pid() else { return Outside::default() };
        let family = self.sweeps.family(slot, pid, self.ctx.keeper.pid());
        let main = family.iter().find(|member| member.pid == pid);
        Outside {
            processes: family.iter().filter(|member| member.pid != pid && member.pgid != pid).map(Entry::process).collect(),
            leads_group: main.is_none_or(|main| main.pgid == pid),
            main_was_seen: main.is_some_and(|main| main.start_ticks == slot.start_ticks),
        }
    }

    fn sweep_one(&mut self, mut sweep: Sweep, now: u64) -> bool {
        let Some(slot) = self.ctx.slots.get(sweep.slot) else { return false };
        let State::Stopping { inc, pid, .. } = slot.instance.state else { return false };
        if inc != sweep.inc {
            return false;
        }
        let left = self.sweeps.family(slot, pid, self.ctx.keeper.pid());
        if left.is_empty() {
            self.feed(sweep.slot, Event::TreeGone { inc: sweep.inc });
            return true;
        }
        if sweep.signal.is_none() {
            self.kill_group(sweep.slot);
        }
        let mut met = Vec::with_capacity(left.len());
        for member in left {
            let process = member.process();
            match sweep.signal {
                None => _ = process.signal(KILL),
                Some(signal) if !sweep.asked.contains(&process) => {
                    let _ = process.signal(signal);
                    sweep.asked.push(process);
                }
                Some(_) => {}
            }
            met.push(self.watch_straggler(process, sweep.slot));
        }
        sweep.due_ms = stop::next_look(sweep.signal.is_none(), &met, now);
        self.sweeps.all.push(sweep);
        false
    }

    fn watch_straggler(&mut self, process: ProcRef, slot: u32) -> Met {
        let pid = process.pid.cast_unsigned();
        if let Some((_, waits)) = self.sweeps.watched.get(&pid) {
            return if *waits == slot { Met::Watched } else { Met::Unwatched };
        }
        match process.open() {
            Ok(fd) if self.ctx.reactor.add(&fd, Source::Straggler(pid)).is_ok() => {
                self.sweeps.watched.insert(pid, (fd, slot));
                Met::Watched
            }
            Err(rustix::io::Errno::SRCH) => Met::Gone,
            Ok(_) | Err(_) => Met::Unwatched,
        }
    }

    /// A straggler ended: who waited for it looks again.
    pub(crate) fn straggler_ended(&mut self, pid: u32) {
        if let Some((fd, slot)) = self.sweeps.watched.remove(&pid) {
            self.ctx.reactor.remove(&fd);
            self.look_again(slot);
        }
    }

    fn look_again(&mut self, slot: u32) {
        let now = self.ctx.now.mono_ms;
        for sweep in self.sweeps.all.iter_mut().filter(|sweep| sweep.slot == slot) {
            sweep.due_ms = Some(now);
        }
    }
}
