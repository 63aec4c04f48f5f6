//! The end of an errand: its exit, its timeout, and what it started.

use std::path::Path;

use ostler_core::errand::Outcome;
use ostler_core::time::Now;
use ostler_sys::{Wiped, cgroup};

use super::{Errand, Output, Owner, Report, Stage, key};
use crate::control::Control;
use crate::engine::Work;
use crate::slots::processes::KILL;
use crate::store::Record;

/// Another look after SIGKILL: a process may have forked while it was being killed.
const LOOK_AGAIN_MS: u64 = 20;

impl Control {
    /// Not wanted any more: it is killed, and its owner is told [`Outcome::Cancelled`] when nothing of it is left.
    pub(crate) fn cancel_errand(&mut self, number: u32) {
        self.decide_errand(number, Outcome::Cancelled);
    }

    /// The slot is gone, and its number may be used again: what is left of its errands ends, and nobody is told.
    pub(crate) fn end_errands_of(&mut self, slot: u32) {
        for number in self.errands.all.keys().copied().collect::<Vec<_>>() {
            if let Some(errand) = self.errands.all.get_mut(&number).filter(|errand| errand.spec.slot == slot) {
                errand.owner = Owner::Nobody;
                self.cancel_errand(number);
            }
        }
    }

    /// Everything is to end.
    pub(crate) fn cancel_all_errands(&mut self) {
        for number in self.errands.of(|_| true) {
            self.cancel_errand(number);
        }
    }

    /// When the clock says so.
    pub(crate) fn tick_errands(&mut self, now: Now) {
        let due = |errand: &Errand| errand.due_ms().is_some_and(|due| due <= now.mono_ms);
        let due: Vec<u32> = self.errands.all.iter().filter(|(_, errand)| due(errand)).map(|(number, _)| *number).collect();
        for number in due {
            let Some(errand) = self.errands.all.get(&number) else { continue };
            match errand.stage {
                Stage::Ending { .. } => self.sweep_errand(number),
                Stage::Asked | Stage::Sent | Stage::Runs(_) => self.decide_errand(number, Outcome::TimedOut(errand.spec.timeout_ms)),
            }
        }
    }

    /// We end it, for this reason. The first one counts.
    pub(super) fn decide_errand(&mut self, number: u32, verdict: Outcome) {
        let Some(errand) = self.errands.all.get_mut(&number) else { return };
        if errand.verdict.is_some() || matches!(errand.stage, Stage::Ending { .. }) {
            return;
        }
        errand.verdict = Some(verdict);
        self.ctx.journal.push(&errand.record(number));
        // What was sent but not answered is killed with the answer; what was not sent is not sent.
        if matches!(errand.stage, Stage::Runs(_)) {
            self.kill_errand(number);
        }
    }

    /// SIGKILL to all of it.
    pub(super) fn kill_errand(&mut self, number: u32) {
        let Some(errand) = self.errands.all.get_mut(&number) else { return };
        let Stage::Runs(leader) = errand.stage else { return };
        errand.stage = Stage::Ending { leader, exited: false, due_ms: self.ctx.now.mono_ms };
        self.ctx.keeper.kill(key(number), KILL, true);
        self.sweep_errand(number);
    }

    /// Its main process has ended.
    pub(crate) fn errand_exited(&mut self, number: u32, ending: ostler_sys::Ending) {
        let Some(errand) = self.errands.all.get_mut(&number) else {
            // Told already by a daemon that died before the keeper heard of it.
            return self.ctx.effects.push(Work::Ack(key(number)));
        };
        let (Stage::Runs(leader) | Stage::Ending { leader, .. }) = errand.stage else { return };
        errand.stage = Stage::Ending { leader, exited: true, due_ms: self.ctx.now.mono_ms };
        errand.verdict.get_or_insert(match ending {
            ostler_sys::Ending::Code(code) => Outcome::Code(code),
            ostler_sys::Ending::Signal { signal, .. } => Outcome::Signal(signal),
            ostler_sys::Ending::Unknown => Outcome::Lost,
        });
        self.sweep_errand(number);
    }

    /// Kills what is left; when nothing is, it is over.
    fn sweep_errand(&mut self, number: u32) {
        let Some(errand) = self.errands.all.get(&number) else { return };
        let Stage::Ending { leader, exited, .. } = errand.stage else { return };
        let (group, mark, is_rare) = (errand.group.clone(), errand.mark.clone(), errand.spec.output == Output::Logs);
        let group = group.as_deref().map(Path::new);
        if exited && has_left_nothing_in_its_group(leader.pid) {
            match group {
                Some(group) if cgroup::is_populated(group) => {}
                Some(_) => return self.errand_swept(number),
                // Without cgroups the process table has to be read. Not for each of the many probes: a moment later, for all together.
                None if is_rare => {}
                None => {
                    self.sweeps.add_late(leader.process(), mark, self.ctx.now.mono_ms);
                    return self.errand_swept(number);
                }
            }
        }
        if let Some(group) = group {
            // What could not be killed this way is killed one by one.
            let _ = cgroup::kill(group);
        }
        let left = self.family_of_errand(leader.process(), &mark, group);
        for process in &left {
            // It may have ended by itself meanwhile.
            let _ = process.signal(KILL);
        }
        if exited && left.is_empty() {
            return self.errand_swept(number);
        }
        if let Some(Errand { stage: Stage::Ending { due_ms, .. }, .. }) = self.errands.all.get_mut(&number) {
            *due_ms = self.ctx.now.mono_ms + LOOK_AGAIN_MS;
        }
    }

    /// Nothing of it is left.
    fn errand_swept(&mut self, number: u32) {
        let verdict = self.errands.all.get(&number).and_then(|errand| errand.verdict.clone()).unwrap_or(Outcome::Lost);
        self.errand_over(number, verdict);
        self.ctx.effects.push(Work::Ack(key(number)));
    }

    /// Its owner is told, in the journal write in which it ends.
    pub(super) fn errand_over(&mut self, number: u32, outcome: Outcome) {
        let Some(mut errand) = self.errands.all.remove(&number) else { return };
        if let Some(group) = errand.group.take() {
            self.ctx.groups.remove(group.into_string().into());
        }
        self.ctx.journal.push(&Record::ErrandOver { number });
        let output = errand.capture.take().map_or_else(Wiped::default, |capture| capture.finish(&self.ctx.reactor));
        let last_lines = if outcome.is_success() || outcome == Outcome::Cancelled || errand.spec.output == Output::Nowhere {
            Vec::new()
        } else {
            self.lines_since(errand.spec.slot, errand.log_start)
        };
        let slot = errand.spec.slot;
        self.told_errand(number, &errand.owner, Report { outcome, output, last_lines });
        // Whoever waits until nothing of the slot is left.
        self.look_at_jobs(slot, None);
    }

    fn lines_since(&self, slot: u32, start: (u64, u64)) -> Vec<String> {
        self.ctx.slots.get(slot).map_or_else(Vec::new, |slot| slot.last_lines_from(start))
    }
}

/// The process group that it led is empty.
fn has_left_nothing_in_its_group(pid: i32) -> bool {
    let group = rustix::process::Pid::from_raw(pid);
    group.is_none_or(|group| rustix::process::test_kill_process_group(group) == Err(rustix::io::Errno::SRCH))
}
