//! Sweeps: search for the rest of a process tree, and its removal (`crate::state::slots::trees`).
//!
//! # Theory of operation
//!
//! An instance that stops is down only when its whole tree is gone. Processes that are left after
//! the exit of the main process are orphans. They are signalled or killed, watched, and searched
//! again until none is found. One read of the process table serves all instances that wait at the
//! same time. It comes last in the turn, when the signals of the turn were decided.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use ostler_core::lifecycle::stop::{self, SweptProcess};
use ostler_core::lifecycle::{AfterStop, DesiredState, Event, ExitRecord, InstanceState};
use ostler_sys::process::signal::KILL;
use ostler_sys::{ProcRef, cgroup};

use crate::engine::{Ctx, FeatureRequest, InstanceStep, Key, ShutdownKind};
use crate::platform::reactor::Source;
use crate::state::slots::processes::{INC_MARK, inc_mark};

/// Delay of the search for processes that crashed incarnations left outside their groups.
const LATE_MS: u64 = 200;
/// Age from which a former daemon has already handled an exit.
const RECENT_MS: u64 = 60_000;
/// Time in which leftovers of instances that exit one after the other are collected for one search.
const COLLECT_MS: u64 = 2;

/// Search of one instance's tree.
#[derive(Debug)]
struct Sweep {
    slot: u32,
    inc: u32,
    /// Stop signal, sent once to each process; `None` = SIGKILL.
    signal: Option<i32>,
    /// Processes that got the stop signal.
    signalled: Vec<ProcRef>,
    /// Time of the next search; `None` = when one of its processes exits.
    due_ms: Option<u64>,
}

/// Sweeps in progress.
#[derive(Debug, Default)]
pub(crate) struct Sweeps {
    all: Vec<Sweep>,
    /// Crashed incarnations and their marks. One search finds the leftovers of all of them.
    late: Vec<(ProcRef, String)>,
    late_ms: Option<u64>,
    /// Orphans whose exit is awaited: pid → descriptor and the slot that waits.
    watched: BTreeMap<u64, (OwnedFd, u32)>,
}

impl Sweeps {
    /// Repeats the late sweeps. A former daemon may have died before it did them, and no other
    /// process knew of them.
    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        let now_ms = ctx.now.mono_ms;
        let is_recent = |exit: &&ExitRecord| exit.pid > 0 && now_ms.saturating_sub(exit.ended.mono_ms) < RECENT_MS;
        for slot in ctx.state.slots.iter().filter(|slot| slot.live.policy.owns_tree()) {
            for exit in slot.durable.instance.exits.iter().filter(is_recent) {
                // The start time is no longer known. Processes with its mark started after it in
                // any case.
                self.add_late(now_ms, ProcRef { pid: exit.pid, start_ticks: 0 }, inc_mark(&slot.durable.unique_id, exit.inc));
            }
        }
    }

    /// Completes an exit without leftovers at once: in the same step, and so with the same write of
    /// the journal.
    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        if let Event::Exited { inc, .. } = *step.event
            && (self.has_left_nothing_in_its_group(ctx, step.id, inc) || has_left_nothing(ctx, step.id, inc))
        {
            ctx.event(step.id, Event::TreeGone { inc });
        }
    }

    pub(crate) fn on_request(&mut self, ctx: &mut Ctx, request: FeatureRequest) -> Option<FeatureRequest> {
        match request {
            FeatureRequest::Sweep { id, inc, .. } if stopping(ctx, id).is_none_or(|(stopping, _)| stopping != inc) => {}
            FeatureRequest::Sweep { id, inc, signal } => self.add(ctx.now.mono_ms, id, inc, signal),
            FeatureRequest::EndLeftovers { leader, mark } => self.add_late(ctx.now.mono_ms, leader, mark),
            request => return Some(request),
        }
        None
    }

    pub(crate) fn on_idle(&mut self, ctx: &mut Ctx) {
        if self.next_ms().is_some_and(|due| due <= ctx.now.mono_ms) {
            self.sweep(ctx);
        }
    }

    /// Handles the exit of an orphan: the slot that waited for it searches again.
    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, key: u64, _writable: bool) {
        let Some((fd, slot)) = self.watched.remove(&key) else { return };
        ctx.io.reactor.remove(&fd);
        for sweep in self.all.iter_mut().filter(|sweep| sweep.slot == slot) {
            sweep.due_ms = Some(ctx.now.mono_ms);
        }
    }

    pub(crate) fn on_forgotten(&mut self, _ctx: &mut Ctx, id: u32) {
        self.all.retain(|sweep| sweep.slot != id);
    }

    /// Sweeps once in a turn, so that many instances that stop together share one search.
    pub(crate) fn on_settled(&mut self, ctx: &mut Ctx) {
        ctx.outbox.timers.set(Self::LOOK, self.next_ms());
    }

    /// Does the late sweeps before everything stops.
    pub(crate) fn on_leave(&mut self, ctx: &mut Ctx, ending: ShutdownKind) {
        if ending == ShutdownKind::Everything && !self.late.is_empty() {
            self.sweep_late(ctx);
        }
    }
}

impl Sweeps {
    pub(crate) const NAME: &str = "sweeps";
    /// Timer of the next sweep, which runs when no other work is left.
    const LOOK: Key = (Self::NAME, 0);

    fn next_ms(&self) -> Option<u64> {
        self.all.iter().filter_map(|sweep| sweep.due_ms).chain(self.late_ms).min()
    }

    /// Adds a later search for the leftovers of an exited incarnation outside its process group.
    fn add_late(&mut self, now_ms: u64, leader: ProcRef, mark: String) {
        self.late.push((leader, mark));
        self.late_ms.get_or_insert(now_ms + LATE_MS);
    }

    /// Adds a sweep. It replaces a former sweep for the same process.
    fn add(&mut self, now_ms: u64, slot: u32, inc: u32, signal: Option<i32>) {
        let former = self.all.iter().position(|sweep| sweep.slot == slot).map(|index| self.all.swap_remove(index));
        let got_signal = former.filter(|former| former.inc == inc).map(|former| former.signalled).unwrap_or_default();
        let due_ms = Some(now_ms + if self.all.len() > 2 { COLLECT_MS } else { 0 });
        self.all.push(Sweep { slot, inc, signal, signalled: got_signal, due_ms });
    }

    /// Searches the trees that are due for leftover processes.
    fn sweep(&mut self, ctx: &mut Ctx) {
        let now_ms = ctx.now.mono_ms;
        let is_due = |sweep: &Sweep| sweep.due_ms.is_some_and(|due| due <= now_ms);
        let (due, later) = std::mem::take(&mut self.all).into_iter().partition::<Vec<_>, _>(is_due);
        self.all = later;
        if self.late_ms.is_some_and(|due| due <= now_ms) {
            self.sweep_late(ctx);
        }
        for sweep in due {
            self.sweep_one(ctx, sweep);
        }
        ctx.forget_processes();
    }

    /// Returns true if the process group and the cgroup of a crashed process are empty. Between a
    /// crash and the next process there is no time to read the process table, so this is enough.
    /// Without cgroups, a process that left the group (a double fork with its own session) is found
    /// by its mark a moment later.
    fn has_left_nothing_in_its_group(&mut self, ctx: &Ctx, id: u32, ended: u32) -> bool {
        // After a handover, leftovers may also be in the group of the former main process.
        let Some(slot) = ctx.state.slots.get(id).filter(|slot| slot.durable.former_leaders.is_empty()) else { return false };
        let InstanceState::Stopping { inc, pid, leader_gone: true, next: AfterStop::Restart { .. }, .. } = slot.durable.instance.state
        else {
            return false;
        };
        if inc != ended {
            return false;
        }
        if !ostler_sys::process::is_group_empty(pid) {
            return false;
        }
        match &slot.durable.group {
            Some(cgroup) if cgroup::is_populated(Path::new(&**cgroup)) => return false,
            _ => {}
        }
        self.add_late(ctx.now.mono_ms, ProcRef { pid, start_ticks: slot.durable.start_ticks }, inc_mark(&slot.durable.unique_id, inc));
        true
    }

    /// Kills with SIGKILL the processes that crashed incarnations left outside their groups.
    fn sweep_late(&mut self, ctx: &mut Ctx) {
        self.late_ms = None;
        let keeper = ctx.io.keeper.pid();
        let mut late = std::mem::take(&mut self.late);
        late.retain(|(leader, _)| !ctx.is_without_orphans_since(leader.start_ticks));
        if late.is_empty() {
            return ctx.forget_processes();
        }
        let table = ctx.process_table();
        for (leader, mark) in late {
            for member in table.tree(leader, INC_MARK, mark.as_bytes(), keeper) {
                // It may have exited by itself since the table was read.
                let _ = member.process().signal(KILL);
            }
        }
        ctx.forget_processes();
    }

    fn sweep_one(&mut self, ctx: &mut Ctx, mut sweep: Sweep) {
        let Some((inc, pid)) = stopping(ctx, sweep.slot).filter(|(inc, _)| *inc == sweep.inc) else { return };
        let left = ctx.family(sweep.slot, pid);
        if left.is_empty() {
            return ctx.event(sweep.slot, Event::TreeGone { inc });
        }
        if let (None, Some(slot)) = (sweep.signal, ctx.state.slots.get_mut(sweep.slot)) {
            slot.kill_group();
        }
        let mut met = Vec::with_capacity(left.len());
        for member in left {
            let process = member.process();
            match sweep.signal {
                None => _ = process.signal(KILL),
                Some(signal) if !sweep.signalled.contains(&process) => {
                    let _ = process.signal(signal);
                    sweep.signalled.push(process);
                }
                Some(_) => {}
            }
            met.push(self.watch(ctx, process, sweep.slot));
        }
        sweep.due_ms = stop::next_scan(sweep.signal.is_none(), &met, ctx.now.mono_ms);
        self.all.push(sweep);
    }

    fn watch(&mut self, ctx: &Ctx, process: ProcRef, slot: u32) -> SweptProcess {
        let key = u64::from(process.pid.cast_unsigned());
        if let Some((_, waits)) = self.watched.get(&key) {
            return if *waits == slot { SweptProcess::Watched } else { SweptProcess::Unwatched };
        }
        match process.open() {
            Ok(fd) if ctx.io.reactor.add(&fd, Source::Feature(Self::NAME, key)).is_ok() => {
                self.watched.insert(key, (fd, slot));
                SweptProcess::Watched
            }
            Err(rustix::io::Errno::SRCH) => SweptProcess::Gone,
            Ok(_) | Err(_) => SweptProcess::Unwatched,
        }
    }
}

/// Returns true if the kernel shows that an instance that comes to rest has left nothing. The
/// keeper then has no orphan as its child, and the cgroup can be removed, which fails while a
/// process is in it. The cgroup must be removed anyway, and that costs less than a read of its
/// members.
fn has_left_nothing(ctx: &mut Ctx, id: u32, ended: u32) -> bool {
    let Some(slot) = ctx.state.slots.get(id) else { return false };
    let InstanceState::Stopping { inc, leader_gone: true, next, .. } = slot.durable.instance.state else { return false };
    let comes_to_rest = match next {
        AfterStop::Settle { .. } => slot.durable.instance.wanted != DesiredState::Up,
        AfterStop::GiveUp { .. } => true,
        AfterStop::Judge | AfterStop::Failed | AfterStop::Restart { .. } => false,
    };
    let Some(group) = slot.durable.group.clone().filter(|_| inc == ended && comes_to_rest) else { return false };
    if !ctx.can_only_be_in_its_group(id) || cgroup::remove(Path::new(&*group)).is_err() {
        return false;
    }
    if let Some(slot) = ctx.state.slots.get_mut(id) {
        (slot.durable.group, slot.live.group_fresh) = (None, true);
    }
    true
}

/// Returns the incarnation and pid of an instance that is being stopped.
fn stopping(ctx: &Ctx, id: u32) -> Option<(u32, i32)> {
    match ctx.state.slots.get(id)?.durable.instance.state {
        InstanceState::Stopping { inc, pid, .. } => Some((inc, pid)),
        _ => None,
    }
}
