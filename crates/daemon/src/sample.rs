//! CPU and memory of an instance's whole tree.
//!
//! A reading is taken only when somebody asks. CPU use is the difference of two readings at least [`SETTLED_MS`] apart, so that two
//! questions in quick succession give the same answer instead of 0 and 100.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use ostler_core::time::Now;
use ostler_proto::control::Monit;
use ostler_sys::tree::Entry;
use ostler_sys::{ProcRef, ProcTable, sample};

/// A shorter time between two readings says little.
const SETTLED_MS: u64 = 500;
/// A process is measured over at least this time since its start.
const BOOT_MS: u64 = 100;
/// A reading older than this is no base for "now".
const STALE_MS: u64 = 20_000;
/// A process younger than this is measured from its start.
const YOUNG_MS: u64 = 3_000;

/// Of a tree with more processes only so many are read; the others are taken for their like.
pub(crate) const MOST_READ: usize = 2000;

/// One reading of a tree.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// CPU time used so far.
    pub cpu_ns: u64,
    /// Resident memory.
    pub memory_bytes: u64,
    /// Processes.
    pub processes: u32,
    /// The main process alone.
    pub leader: Leader,
}

/// What is known of a main process. While its own CPU time stays the same it has not run, so it has not waited for a child either, and
/// its line in the process table need not be read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leader {
    own_cpu_ns: u64,
    children_ticks: u64,
}

/// The readings that are compared.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuHistory {
    pid: i32,
    base: Option<(u64, Reading)>,
    last: Option<(u64, Reading)>,
    /// CPU time of the newest reading.
    used_ns: u64,
    monit: Monit,
    leader: Leader,
}

impl CpuHistory {
    /// What the last reading saw of this main process.
    pub(crate) fn leader(&self, pid: i32) -> Option<Leader> {
        (self.pid == pid && self.leader.own_cpu_ns > 0).then_some(self.leader)
    }

    /// Takes a reading. False when there is nothing to compare it with.
    pub(crate) fn take(&mut self, process: ProcRef, started: Option<Now>, now: Now, read: impl FnOnce(ProcRef) -> Reading) -> bool {
        let pid = process.pid;
        if self.pid != pid {
            *self = Self { pid, ..Self::default() };
        }
        let at = now.mono_ms;
        let reading = read(process);
        self.monit.memory_bytes = reading.memory_bytes;
        self.monit.processes = reading.processes;
        self.leader = reading.leader;
        self.used_ns = reading.cpu_ns;
        if self.last.is_some_and(|(last, _)| at.saturating_sub(last) >= SETTLED_MS) {
            self.base = self.last;
        }
        if self.base.is_some_and(|(base, _)| at.saturating_sub(base) > STALE_MS) {
            self.base = None;
        }
        let base = self.base.or_else(|| {
            let start = started?.mono_ms;
            // What a process does while it loads, spread over a moment: else it reads as several hundred percent.
            (at.saturating_sub(start) < YOUNG_MS).then_some((start.min(at.saturating_sub(BOOT_MS)), Reading::default()))
        });
        match base {
            Some((since, base)) => {
                let used = reading.cpu_ns.saturating_sub(base.cpu_ns) as f64 / 1e6;
                let window = at.saturating_sub(since).max(1);
                self.monit.cpu_pct = (used / window as f64 * 1000.0).round() / 10.0;
                if self.last.is_none_or(|(last, _)| at.saturating_sub(last) >= SETTLED_MS) {
                    self.last = Some((at, reading));
                }
                true
            }
            None => {
                self.base = Some((at, reading));
                self.last = Some((at, reading));
                false
            }
        }
    }

    /// CPU time that was used until the last reading.
    pub(crate) fn used_ns(&self) -> u64 {
        self.used_ns
    }

    /// What the last reading gave.
    pub(crate) fn monit(&self) -> Monit {
        self.monit
    }
}

/// Reads many trees with one look at the process table.
#[derive(Debug)]
pub(crate) struct Sampler {
    table: ProcTable,
    /// Main processes that have not run since they were last read, and their CPU time: it was looked at a moment ago, for just that.
    asleep: HashMap<i32, u64>,
    /// Some process may have lost its parents.
    orphans: bool,
}

impl Sampler {
    /// Looks at the process table, past the main processes that have slept since they were last read.
    pub(crate) fn new(leaders: impl Iterator<Item = (ProcRef, Leader)>) -> Self {
        let (mut known, mut asleep) = (HashMap::new(), HashMap::new());
        for (ProcRef { pid, start_ticks }, Leader { own_cpu_ns, children_ticks }) in leaders {
            if sample::cpu_ns(pid) == Some(own_cpu_ns) {
                // It leads the group and session that it was started in; whose child it is does not matter here.
                known.insert(pid, Entry { pid, pgid: pid, sid: pid, start_ticks, state: b'S', children_ticks, ..Entry::default() });
                asleep.insert(pid, own_cpu_ns);
            }
        }
        Self { table: ProcTable::scan_but(&known), asleep, orphans: true }
    }

    /// Where the keeper has no children but the known ones there are no orphans, and no cgroup has to be read.
    #[must_use]
    pub(crate) fn knowing_children(mut self, keeper: i32, known: &HashSet<i32>) -> Self {
        self.orphans = self.table.children_of(keeper).any(|child| !known.contains(&child.pid) && !child.is_zombie());
        self
    }

    /// Reads the tree of a main process: what descends from it, and what is still in its session or in its cgroup.
    pub(crate) fn read(&self, process: ProcRef, group: Option<&Path>) -> Reading {
        let mut sum = Reading::default();
        let mut family = self.table.live_tree(process);
        if let Some(group) = group.filter(|_| self.orphans) {
            let known: HashSet<i32> = family.iter().map(|member| member.pid).collect();
            family.extend(self.table.in_cgroup(group).into_iter().filter(|member| !known.contains(&member.pid)));
        }
        let many = family.len();
        family.truncate(MOST_READ);
        for entry in family {
            // A process that ended since the look counts no more.
            let cpu_ns = || self.asleep.get(&entry.pid).copied().or_else(|| sample::cpu_ns(entry.pid));
            let (Ok(memory), Some(own_cpu_ns)) = (sample::memory(entry.pid), cpu_ns()) else { continue };
            sum.cpu_ns += own_cpu_ns.saturating_add(sample::children_cpu_ns(&entry));
            sum.memory_bytes += memory;
            sum.processes += 1;
            if entry.pid == process.pid {
                sum.leader = Leader { own_cpu_ns, children_ticks: entry.children_ticks };
            }
        }
        if let Some(more) = many.checked_sub(MOST_READ).filter(|more| *more > 0) {
            let all = |read: u64| (u128::from(read) * many as u128 / MOST_READ as u128) as u64;
            (sum.memory_bytes, sum.cpu_ns) = (all(sum.memory_bytes), all(sum.cpu_ns));
            sum.processes = sum.processes.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32) -> ProcRef {
        ProcRef { pid, start_ticks: 1 }
    }

    fn reading(cpu_ms: u64) -> Reading {
        Reading { cpu_ns: cpu_ms * 1_000_000, memory_bytes: 1, processes: 1, leader: Leader::default() }
    }

    #[test]
    fn a_busy_loop_is_100_percent_at_every_call() {
        let mut history = CpuHistory::default();
        let start = Some(Now::at(1_000));
        for at in [1_100, 1_101, 1_300, 2_000, 2_001, 2_002, 9_000, 60_000, 60_030] {
            if history.take(process(7), start, Now::at(at), |_| reading(at - 1_000)) {
                assert!((history.monit().cpu_pct - 100.0).abs() < 0.11, "at {at}: {}", history.monit().cpu_pct);
            } else {
                assert_eq!(at, 60_000, "only after a long silence a second reading is needed");
            }
        }
    }

    #[test]
    fn what_was_used_long_ago_does_not_count() {
        let mut history = CpuHistory::default();
        let start = Some(Now::at(0));
        assert!(!history.take(process(7), start, Now::at(100_000), |_| reading(50_000)), "nothing to compare with");
        assert!(history.take(process(7), start, Now::at(100_025), |_| reading(50_000)));
        assert_eq!(history.monit().cpu_pct, 0.0);
    }

    #[test]
    fn another_process_starts_anew() {
        let mut history = CpuHistory::default();
        history.take(process(7), Some(Now::at(0)), Now::at(1_000), |_| reading(1_000));
        assert!(history.take(process(8), Some(Now::at(2_000)), Now::at(2_100), |_| reading(0)));
        assert_eq!(history.monit().cpu_pct, 0.0);
    }
}
