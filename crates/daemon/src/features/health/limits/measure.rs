//! Measurement of trees: each second while an app has a memory limit, less often for CPU alone.
//!
//! The members of a tree are read from its cgroup, at a cost that grows with the tree. Without a
//! cgroup they are read from the process table. In a tree with very many processes only some are
//! read, and the rest is estimated from them. A tree that forks all the time thus costs no more,
//! and does not escape.

use std::path::Path;

use ostler_core::health::RemedyCause;
use ostler_core::health::limits::{CpuLimit, MemoryAmount};
use ostler_core::health::limits::{CpuVerdict, CpuWatch, INTERVAL_MS, MemoryVerdict};
use ostler_core::health::safeguards::Safeguards;
use ostler_core::text::units::size_text;
use ostler_sys::{cgroup, machine, process::sample};

use super::{Limits, emit_exceeded};
use crate::engine::{Ctx, FeatureRequest, clock};
use crate::platform::sample::MOST_READ;

/// Largest share of the time that measurements may take: one part in this many.
const SHARE: u64 = 20;
/// Time between two reads of the machine's capacity.
const MACHINE_MS: u64 = 60_000;

/// Capacity of the machine.
#[derive(Debug, Default)]
pub(super) struct Machine {
    memory: Option<(u64, u64)>,
}

impl Machine {
    /// Returns the memory in bytes.
    pub(super) fn memory_bytes(&mut self, now_ms: u64) -> u64 {
        match self.memory {
            Some((at, bytes)) if now_ms.saturating_sub(at) < MACHINE_MS => bytes,
            _ => self.memory.insert((now_ms, machine::memory_bytes())).1,
        }
    }
}

/// Resource usage of a tree.
#[derive(Clone, Copy, Debug, Default)]
struct TreeUsage {
    memory_bytes: u64,
    cpu_ns: u64,
}

/// Returns the usage of everything in a cgroup; `None` if it cannot be read.
fn use_of(group: &Path, wants_cpu: bool) -> Option<TreeUsage> {
    let pids = cgroup::members(group);
    let read: Vec<u64> = pids.iter().take(MOST_READ).filter_map(|pid| sample::memory(*pid).ok()).collect();
    let sum: u64 = read.iter().sum();
    let memory_bytes = match pids.len() {
        many if many > MOST_READ => (u128::from(sum) * many as u128 / read.len().max(1) as u128) as u64,
        _ => sum,
    };
    let cpu_ns = if wants_cpu { cgroup::cpu_ns(group)? } else { 0 };
    (!read.is_empty()).then_some(TreeUsage { memory_bytes, cpu_ns })
}

impl Limits {
    /// Measures every process that has limits.
    pub(super) fn measure(&mut self, ctx: &mut Ctx) {
        let began_ms = clock().mono_ms;
        let limited =
            |id: &u32| Some((*id, ctx.state.slots.get(*id)?.spec().safeguards.clone().filter(|safeguards| safeguards.measures())?));
        let limited: Vec<(u32, Box<Safeguards>)> = self.watched.keys().filter_map(limited).collect();
        let uses = uses(ctx, &limited);
        let mut next: Option<u64> = None;
        for ((id, safeguards), used) in limited.iter().zip(uses) {
            let due = self.judge_use(ctx, *id, safeguards, used);
            next = Some(next.map_or(due, |next: u64| next.min(due)));
        }
        self.count_errors(ctx);
        // The clock is read, because no time passes within a turn.
        let took = clock().mono_ms.saturating_sub(began_ms);
        let soonest = ctx.now.mono_ms.saturating_add(took.saturating_mul(SHARE));
        ctx.outbox.timers.set(Self::MEASURE, next.map(|due| due.max(soonest)));
    }

    /// Acts on the usage of a process. Returns the time of its next measurement.
    fn judge_use(&mut self, ctx: &mut Ctx, id: u32, safeguards: &Safeguards, used: Option<TreeUsage>) -> u64 {
        let due = ctx.now.mono_ms.saturating_add(match (safeguards.memory, safeguards.cpu) {
            (None, Some(limit)) if safeguards.errors.is_none() => CpuWatch::interval_ms(&limit),
            _ => INTERVAL_MS,
        });
        let Some(used) = used else { return due };
        // If two limits are exceeded in the same measurement, the first counts.
        let confirm_ms = safeguards.memory.and_then(|limit| self.judge_memory(ctx, id, limit, used.memory_bytes));
        if let Some(limit) = safeguards.cpu {
            self.judge_cpu(ctx, id, &limit, used.cpu_ns);
        }
        confirm_ms.map_or(due, |at_ms| due.min(at_ms))
    }

    /// Compares memory with its limit. Returns the time of the next measurement, if it should come
    /// soon.
    fn judge_memory(&mut self, ctx: &mut Ctx, id: u32, limit: MemoryAmount, bytes: u64) -> Option<u64> {
        let total = if matches!(limit, MemoryAmount::Share(_)) { self.machine.memory_bytes(ctx.now.mono_ms) } else { 0 };
        let limit = limit.bytes(total);
        let watched = self.watched.get_mut(&id)?;
        match watched.memory.take(limit, bytes, ctx.now.mono_ms) {
            MemoryVerdict::Confirm { at_ms } => return Some(at_ms),
            MemoryVerdict::Exceeded => {
                watched.excess = Some((limit, bytes));
                let why = format!("uses {} (max_memory_restart: {})", size_text(bytes), size_text(limit));
                self.ask_for_remedy(ctx, id, RemedyCause::Memory, why);
            }
            MemoryVerdict::Within => {
                if watched.excess.take().is_some() {
                    ctx.request(FeatureRequest::NoRemedy { id, cause: RemedyCause::Memory });
                }
            }
        }
        None
    }

    fn judge_cpu(&mut self, ctx: &mut Ctx, id: u32, limit: &CpuLimit, cpu_ns: u64) {
        let Some(watched) = self.watched.get_mut(&id) else { return };
        let Some(verdict) = watched.cpu.take(limit, limit.of_one(cpus()), ctx.now.mono_ms, cpu_ns) else { return };
        let unit = if limit.of_machine { "the machine" } else { "a core" };
        let (CpuVerdict::Warn { percent } | CpuVerdict::Exceeded { percent }) = verdict;
        let allowed = format!("(max_cpu: {} % of {unit})", limit.percent);
        let why = format!("used {percent:.0} % of a core {allowed}");
        match verdict {
            CpuVerdict::Warn { .. } => {
                ctx.note(id, format!("has used {percent:.0} % of a core for a while {allowed}"));
                emit_exceeded(ctx, id, RemedyCause::Cpu, true, why);
            }
            CpuVerdict::Exceeded { .. } => self.ask_for_remedy(ctx, id, RemedyCause::Cpu, why),
        }
    }
}

/// Returns the usage of each process, in the same order.
fn uses(ctx: &mut Ctx, limited: &[(u32, Box<Safeguards>)]) -> Vec<Option<TreeUsage>> {
    let needed = |safeguards: &Safeguards| safeguards.memory.is_some() || safeguards.cpu.is_some();
    let group = |id: u32| ctx.state.slots.get(id).and_then(|slot| slot.durable.group.as_deref()).map(Path::new);
    let mut uses: Vec<Option<TreeUsage>> = limited
        .iter()
        .map(|(id, safeguards)| needed(safeguards).then(|| group(*id)).flatten().and_then(|group| use_of(group, safeguards.cpu.is_some())))
        .collect();
    let rest: Vec<u32> =
        limited.iter().zip(&uses).filter(|((_, safeguards), used)| needed(safeguards) && used.is_none()).map(|((id, _), _)| *id).collect();
    if !rest.is_empty() {
        ctx.read_usage(Some(&rest));
        for ((id, _), used) in limited.iter().zip(&mut uses).filter(|((id, _), _)| rest.contains(id)) {
            let cpu = ctx.state.slots.get(*id).map(|slot| &slot.live.cpu);
            *used = cpu.map(|cpu| TreeUsage { memory_bytes: cpu.monit().memory_bytes, cpu_ns: cpu.used_ns() });
        }
    }
    uses
}

/// Returns the number of the machine's processors that the daemon may use.
fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX))
}
