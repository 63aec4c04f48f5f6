//! What trees use: measured each second while an app has a limit of memory, more rarely for CPU alone.
//!
//! The members of a tree are read from its cgroup, which costs as much as the tree is large; where there is none, from the process table.
//! Of a tree with very many processes only so many are read and the rest is taken for their like: a tree that forks all the time costs no
//! more than that, and does not escape.

use std::path::Path;

use ostler_core::care::{Amount, Care};
use ostler_core::health::Cause;
use ostler_core::limits::{CpuVerdict, CpuWatch, INTERVAL_MS, MemoryVerdict};
use ostler_core::time::Now;
use ostler_sys::{cgroup, machine, sample};

use crate::control::Control;
use crate::engine::clock;
use crate::sample::MOST_READ;

/// A measurement may take so much of the time: one part in this.
const SHARE: u64 = 20;
/// What the machine has is looked up so often.
const MACHINE_MS: u64 = 60_000;

/// What the machine has.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    memory: Option<(u64, u64)>,
}

impl Machine {
    /// Memory in bytes.
    pub(crate) fn memory_bytes(&mut self, now_ms: u64) -> u64 {
        match self.memory {
            Some((at, bytes)) if now_ms.saturating_sub(at) < MACHINE_MS => bytes,
            _ => self.memory.insert((now_ms, machine::memory_bytes())).1,
        }
    }
}

/// What a tree uses.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    memory_bytes: u64,
    cpu_ns: u64,
}

/// Of everything in a cgroup; none where nothing can be read.
fn use_of(group: &Path, wants_cpu: bool) -> Option<Use> {
    let pids = cgroup::members(group);
    let read: Vec<u64> = pids.iter().take(MOST_READ).filter_map(|pid| sample::memory(*pid).ok()).collect();
    let sum: u64 = read.iter().sum();
    let memory_bytes = match pids.len() {
        many if many > MOST_READ => (u128::from(sum) * many as u128 / read.len().max(1) as u128) as u64,
        _ => sum,
    };
    let cpu_ns = if wants_cpu { cgroup::cpu_ns(group)? } else { 0 };
    (!read.is_empty()).then_some(Use { memory_bytes, cpu_ns })
}

impl Control {
    /// Somebody has to be measured from now on.
    pub(super) fn measure_soon(&mut self, now_ms: u64) {
        let at = now_ms.saturating_add(INTERVAL_MS);
        self.care.measure_ms = Some(self.care.measure_ms.map_or(at, |due| due.min(at)));
    }

    /// Measures all that has limits, when it is time.
    pub(super) fn measure(&mut self, now: Now) {
        if self.care.measure_ms.is_none_or(|due| due > now.mono_ms) {
            return;
        }
        let began_ms = clock().mono_ms;
        let limited = |id: &u32| Some((*id, self.ctx.slots.get(*id)?.spec().care.clone().filter(|care| care.measures())?));
        let limited: Vec<(u32, Box<Care>)> = self.care.watched.keys().filter_map(limited).collect();
        let uses = self.uses(&limited);
        let mut next: Option<u64> = None;
        for ((id, care), used) in limited.iter().zip(uses) {
            let due = self.judge_use(*id, care, used, now);
            next = Some(next.map_or(due, |next: u64| next.min(due)));
        }
        self.count_errors(now.mono_ms);
        // By the clock: within a turn no time passes.
        let took = clock().mono_ms.saturating_sub(began_ms);
        self.care.measure_ms = next.map(|due| due.max(now.mono_ms.saturating_add(took.saturating_mul(SHARE))));
    }

    /// In the order of the slots.
    fn uses(&mut self, limited: &[(u32, Box<Care>)]) -> Vec<Option<Use>> {
        let needed = |care: &Care| care.memory.is_some() || care.cpu.is_some();
        let group = |id: u32| self.ctx.slots.get(id).and_then(|slot| slot.group.as_deref()).map(Path::new);
        let mut uses: Vec<Option<Use>> = limited
            .iter()
            .map(|(id, care)| needed(care).then(|| group(*id)).flatten().and_then(|group| use_of(group, care.cpu.is_some())))
            .collect();
        let rest: Vec<u32> =
            limited.iter().zip(&uses).filter(|((_, care), used)| needed(care) && used.is_none()).map(|((id, _), _)| *id).collect();
        if !rest.is_empty() {
            self.ctx.read_usage(Some(&rest));
            for ((id, _), used) in limited.iter().zip(&mut uses).filter(|((id, _), _)| rest.contains(id)) {
                let cpu = self.ctx.slots.get(*id).map(|slot| &slot.cpu);
                *used = cpu.map(|cpu| Use { memory_bytes: cpu.monit().memory_bytes, cpu_ns: cpu.used_ns() });
            }
        }
        uses
    }

    /// Acts on what one uses. Gives the time of its next measurement.
    fn judge_use(&mut self, id: u32, care: &Care, used: Option<Use>, now: Now) -> u64 {
        let mut due = now.mono_ms.saturating_add(match (care.memory, care.cpu) {
            (None, Some(limit)) if care.errors.is_none() => CpuWatch::interval_ms(&limit),
            _ => INTERVAL_MS,
        });
        let Some(used) = used else { return due };
        let total = if matches!(care.memory, Some(Amount::Share(_))) { self.care.machine.memory_bytes(now.mono_ms) } else { 0 };
        let Some(watched) = self.care.watched.get_mut(&id) else { return due };
        watched.memory_bytes = used.memory_bytes;
        let cpu = care.cpu.and_then(|limit| watched.cpu.take(&limit, limit.of_one(cpus()), now.mono_ms, used.cpu_ns));
        let memory = care.memory.map(|limit| limit.bytes(total));
        match memory.map(|limit| (limit, watched.memory.take(limit, used.memory_bytes, now.mono_ms))) {
            Some((_, MemoryVerdict::Confirm { at_ms })) => due = due.min(at_ms),
            Some((limit, MemoryVerdict::Over)) => self.over_memory(id, limit, used.memory_bytes),
            Some((_, MemoryVerdict::Within)) => self.care.mending.is_within(id, Cause::Memory),
            None => {}
        }
        let allowed = care.cpu.map_or(0, |limit| limit.percent);
        let unit = if care.cpu.is_some_and(|limit| limit.of_machine) { "the machine" } else { "a core" };
        match cpu {
            Some(CpuVerdict::Warn { percent }) => {
                self.note(id, format!("has used {percent:.0} % of a core for a while (max_cpu: {allowed} % of {unit})"));
                let why = format!("used {percent:.0} % of a core (max_cpu: {allowed} % of {unit})");
                self.tell_limit(id, Cause::Cpu, true, why);
            }
            Some(CpuVerdict::Over { percent }) => {
                let why = format!("used {percent:.0} % of a core (max_cpu: {allowed} % of {unit})");
                if self.want_mending(id, Cause::Cpu, why.clone()) {
                    self.note(id, why.clone());
                    self.tell_limit(id, Cause::Cpu, false, why);
                }
            }
            None => {}
        }
        due
    }

    fn over_memory(&mut self, id: u32, limit: u64, bytes: u64) {
        let why = format!("uses {bytes} bytes (max_memory_restart: {limit})");
        if self.want_mending(id, Cause::Memory, why.clone()) {
            // PM2's words, which scripts look for.
            let pm_id = self.ctx.slots.get(id).map_or(0, |slot| slot.pm_id);
            self.ctx.log.line(format_args!(
                "[PM2][WORKER] Process {pm_id} restarted because it exceeds --max-memory-restart value (current_memory={bytes} \
                 max_memory_limit={limit} [octets])"
            ));
            self.note(id, why.clone());
            self.tell_limit(id, Cause::Memory, false, why);
        }
    }
}

/// Processors of the machine that we may use.
fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX))
}
