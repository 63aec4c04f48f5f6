//! CPU and memory of an instance's whole tree.
//!
//! A reading is taken only on request. CPU use is the difference of two readings at least
//! [`SETTLED_MS`] apart, so that two requests in quick succession give the same result instead of 0
//! and 100.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use ostler_core::time::Now;
use ostler_proto::control::Monit;
use ostler_sys::process::ProcessEntry;
use ostler_sys::{ProcRef, ProcTable, process::sample};

/// Shortest time between two readings that are compared.
const SETTLED_MS: u64 = 500;
/// Shortest time since its start over which a process is measured.
const BOOT_MS: u64 = 100;
/// Age from which a reading is too old for the present CPU use.
const STALE_MS: u64 = 20_000;
/// Age below which a process is measured from its start.
const YOUNG_MS: u64 = 3_000;

/// Most processes of a tree that are read; the others are estimated from these.
pub(crate) const MOST_READ: usize = 2000;

/// Reading of a tree.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// CPU time used so far.
    pub cpu_ns: u64,
    /// Resident memory.
    pub memory_bytes: u64,
    /// Number of processes.
    pub processes: u32,
    /// Reading of the main process alone.
    pub leader: Leader,
}

/// Last reading of a main process. If its own CPU time is unchanged, it has not run since. It has
/// then neither started a process nor waited for one, and its line in the process table need not be
/// read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leader {
    own_cpu_ns: u64,
    children_ticks: u64,
    /// True if a scan of the process table found no other process in its tree, and it had not run
    /// for some time before that.
    alone: bool,
}

/// CPU time of a tree at an instant.
#[derive(Clone, Copy, Debug)]
struct CpuReading {
    at_ms: u64,
    cpu_ns: u64,
}

/// Readings that are compared.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuHistory {
    pid: i32,
    base: Option<CpuReading>,
    last: Option<CpuReading>,
    /// CPU time of the newest reading.
    used_ns: u64,
    monit: Monit,
    leader: Leader,
}

impl CpuHistory {
    /// Returns the last reading of this main process.
    pub(crate) fn leader(&self, pid: i32) -> Option<Leader> {
        (self.pid == pid && self.leader.own_cpu_ns > 0).then_some(self.leader)
    }

    /// Takes a reading. Returns false if there is no earlier one to compare it with.
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
        let used = CpuReading { at_ms: at, cpu_ns: reading.cpu_ns };
        let is_settled = |since: CpuReading| at.saturating_sub(since.at_ms) >= SETTLED_MS;
        if self.last.is_some_and(is_settled) {
            self.base = self.last;
        }
        if self.base.is_some_and(|base| at.saturating_sub(base.at_ms) > STALE_MS) {
            self.base = None;
        }
        let base = self.base.or_else(|| {
            let start = started?.mono_ms;
            // The CPU use while a process loads is spread over a moment. Otherwise it would read as
            // several hundred percent.
            (at.saturating_sub(start) < YOUNG_MS).then_some(CpuReading { at_ms: start.min(at.saturating_sub(BOOT_MS)), cpu_ns: 0 })
        });
        match base {
            Some(base) => {
                let used_ms = used.cpu_ns.saturating_sub(base.cpu_ns) as f64 / 1e6;
                let window_ms = at.saturating_sub(base.at_ms).max(1);
                self.monit.cpu_pct = (used_ms / window_ms as f64 * 1000.0).round() / 10.0;
                if self.last.is_none_or(is_settled) {
                    self.last = Some(used);
                }
                true
            }
            None => {
                self.base = Some(used);
                self.last = Some(used);
                false
            }
        }
    }

    /// Returns the CPU time that was used until the last reading.
    pub(crate) fn used_ns(&self) -> u64 {
        self.used_ns
    }

    /// Returns the result of the last reading.
    pub(crate) fn monit(&self) -> Monit {
        self.monit
    }
}

/// Reader of many trees with one scan of the process table.
#[derive(Debug)]
pub(crate) struct Sampler {
    table: ProcTable,
    /// Main processes that have not run since their last reading: their CPU time was just compared.
    asleep: HashMap<i32, Leader>,
    /// True if a process may have lost its parents.
    orphans: bool,
}

impl Sampler {
    /// Scans the process table, except for main processes that have slept since their last reading.
    /// There is no scan if only such processes are requested and each was alone.
    pub(crate) fn new(leaders: impl Iterator<Item = (ProcRef, Option<Leader>)>) -> Self {
        let (mut known, mut asleep, mut all_alone) = (HashMap::new(), HashMap::new(), true);
        for (ProcRef { pid, start_ticks }, leader) in leaders {
            let Some(leader) = leader.filter(|leader| sample::cpu_ns(pid) == Some(leader.own_cpu_ns)) else {
                all_alone = false;
                continue;
            };
            // It leads the group and session in which it was started; its parent does not matter
            // here.
            let children_ticks = leader.children_ticks;
            known.insert(
                pid,
                ProcessEntry { pid, pgid: pid, sid: pid, start_ticks, state: b'S', children_ticks, ..ProcessEntry::default() },
            );
            asleep.insert(pid, leader);
            all_alone &= leader.alone;
        }
        let table = if all_alone { ProcTable::default() } else { ProcTable::scan_but(&known) };
        Self { table, asleep, orphans: !all_alone }
    }

    /// Skips the cgroups if the keeper has only known children, because there are no orphans then.
    #[must_use]
    pub(crate) fn knowing_children(mut self, keeper: i32, known: impl Iterator<Item = i32>) -> Self {
        if self.orphans {
            let known: HashSet<i32> = known.collect();
            self.orphans = self.table.children_of(keeper).any(|child| !known.contains(&child.pid) && !child.is_zombie());
        }
        self
    }

    /// Reads the tree of a main process: its descendants, and the other processes in its session or
    /// its cgroup.
    pub(crate) fn read(&self, process: ProcRef, group: Option<&Path>) -> Reading {
        if let Some(leader) = self.asleep.get(&process.pid).filter(|leader| leader.alone) {
            return alone(process.pid, *leader);
        }
        let mut sum = Reading::default();
        let mut family = self.table.live_tree(process);
        if let Some(group) = group.filter(|_| self.orphans) {
            let known: HashSet<i32> = family.iter().map(|member| member.pid).collect();
            family.extend(self.table.in_cgroup(group).into_iter().filter(|member| !known.contains(&member.pid)));
        }
        let many = family.len();
        let alone = many == 1 && !self.orphans && self.asleep.contains_key(&process.pid);
        family.truncate(MOST_READ);
        for entry in family {
            // A process that exited since the scan no longer counts.
            let cpu_ns = || self.asleep.get(&entry.pid).map(|leader| leader.own_cpu_ns).or_else(|| sample::cpu_ns(entry.pid));
            let (Ok(memory), Some(own_cpu_ns)) = (sample::memory(entry.pid), cpu_ns()) else { continue };
            sum.cpu_ns += own_cpu_ns.saturating_add(sample::children_cpu_ns(entry.children_ticks));
            sum.memory_bytes += memory;
            sum.processes += 1;
            if entry.pid == process.pid {
                sum.leader = Leader { own_cpu_ns, children_ticks: entry.children_ticks, alone };
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

/// Returns the reading of a process that was alone and has not run since: only its memory may have
/// changed.
fn alone(pid: i32, leader: Leader) -> Reading {
    let cpu_ns = leader.own_cpu_ns.saturating_add(sample::children_cpu_ns(leader.children_ticks));
    // A process that exited since the scan no longer counts.
    sample::memory(pid).map_or_else(|_| Reading::default(), |memory_bytes| Reading { cpu_ns, memory_bytes, processes: 1, leader })
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
    fn busy_loop_is_100_percent_at_every_call() {
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
    fn cpu_time_of_long_ago_does_not_count() {
        let mut history = CpuHistory::default();
        let start = Some(Now::at(0));
        assert!(!history.take(process(7), start, Now::at(100_000), |_| reading(50_000)), "nothing to compare with");
        assert!(history.take(process(7), start, Now::at(100_025), |_| reading(50_000)));
        assert_eq!(history.monit().cpu_pct, 0.0);
    }

    #[test]
    fn another_process_resets_the_cpu_history() {
        let mut history = CpuHistory::default();
        history.take(process(7), Some(Now::at(0)), Now::at(1_000), |_| reading(1_000));
        assert!(history.take(process(8), Some(Now::at(2_000)), Now::at(2_100), |_| reading(0)));
        assert_eq!(history.monit().cpu_pct, 0.0);
    }

    #[test]
    fn sleeping_process_is_sampled_without_a_process_scan() {
        let words = ["-c", "read line; sleep 100 & read line; kill $!; read line"];
        let mut shell = std::process::Command::new("sh").args(words).stdin(std::process::Stdio::piped()).spawn().unwrap();
        let process = ProcRef::of(i32::try_from(shell.id()).unwrap()).unwrap();
        let look = |leader: Option<Leader>| {
            let sampler = Sampler::new([(process, leader)].into_iter()).knowing_children(i32::MAX, std::iter::empty());
            (sampler.read(process, None), sampler.table.entries().is_empty())
        };
        let until = |from: Option<Leader>, done: &dyn Fn(&Reading, bool) -> bool| {
            let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
            let mut seen = look(from);
            while !done(&seen.0, seen.1) {
                assert!(std::time::Instant::now() < end, "{seen:?}");
                std::thread::sleep(std::time::Duration::from_millis(5));
                seen = look(Some(seen.0.leader));
            }
            seen.0
        };
        let asleep = until(None, &|reading, without_table| reading.leader.alone && without_table);
        assert_eq!(asleep.processes, 1);
        assert_eq!(look(Some(asleep.leader)).0.cpu_ns, asleep.cpu_ns);
        let report = |shell: &mut std::process::Child| std::io::Write::write_all(shell.stdin.as_mut().unwrap(), b"go on\n").unwrap();
        report(&mut shell);
        let two = until(Some(asleep.leader), &|reading, _| reading.processes == 2);
        assert!(!two.leader.alone, "it has a child");
        report(&mut shell);
        let again = until(Some(two.leader), &|reading, without_table| reading.leader.alone && without_table);
        assert!(again.processes == 1 && again.cpu_ns > asleep.cpu_ns);
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert_eq!(look(Some(again.leader)).0.processes, 0, "nobody is believed who is gone");
    }
}
