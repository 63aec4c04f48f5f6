//! Reads the kernel's numbers.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Returns a program on `PATH` or in one of these folders.
pub(crate) fn installed(name: &str, folders: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(folders.iter().map(PathBuf::from)).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// CPU time.
pub(crate) type Cpu = Duration;

/// Returns CLOCK_MONOTONIC in nanoseconds, as the apps write it.
pub(crate) fn now() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Runs a program to its end: returns its exit code, and the CPU time of it and its waited-for
/// children.
pub(crate) fn run(command: &mut Command) -> Result<(Option<i32>, Cpu)> {
    let child = command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let pid = i32::try_from(child.id())?;
    let reaped = ostler_sys::process::child::reap(pid).context("the child was reaped by somebody else")?;
    let code = match reaped.ending {
        ostler_sys::WaitStatus::Code(code) => Some(code),
        _ => None,
    };
    Ok((code, Duration::from_micros(reaped.usage.cpu_us)))
}

/// Returns the CPU time of live processes, including all their threads.
pub(crate) fn cpu(pids: &[i32]) -> Cpu {
    pids.iter().filter_map(|pid| ostler_sys::process::sample::cpu_ns(*pid)).map(Duration::from_nanos).sum()
}

/// A process with the mark.
pub(crate) struct Marked {
    pub(crate) pid: i32,
    /// Command line; each word ends with NUL.
    pub(crate) command: String,
}

/// Returns all processes whose `HOME` is this folder.
pub(crate) fn marked(folder: &Path) -> Result<Vec<Marked>> {
    let mark = format!("HOME={}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may exit between any two of these reads; it then does not count.
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        if environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(Marked { pid, command: String::from_utf8_lossy(&command).into_owned() });
        }
    }
    Ok(found)
}

/// Kills all marked processes, including parents that start new ones.
pub(crate) fn kill_marked(folder: &Path) {
    for _ in 0..100 {
        let left = marked(folder).unwrap_or_default();
        if left.is_empty() {
            return;
        }
        for process in left {
            if let Some(pid) = Pid::from_raw(process.pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Removes the control groups that this floor left.
pub(crate) fn remove_groups(floor: u32) {
    if let Some(own) = ostler_sys::cgroup::own() {
        let _ = ostler_sys::cgroup::remove(&own.join(format!("floor-{floor}")));
    }
}

/// Returns true if the process exists and is not a zombie.
pub(crate) fn alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").starts_with(" Z"))
}

/// Memory of processes in bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Memory with shared pages counted in proportion.
    pub(crate) pss: u64,
    /// Pages that no other process shares.
    pub(crate) private: u64,
}

/// Returns the memory of all these processes together.
pub(crate) fn memory(pids: &[i32]) -> Memory {
    let mut sum = Memory::default();
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (key, kib) = (words.next().unwrap_or(""), words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0));
            match key {
                "Pss:" => sum.pss += kib * 1024,
                "Private_Clean:" | "Private_Dirty:" => sum.private += kib * 1024,
                _ => {}
            }
        }
    }
    sum
}

/// Returns the open descriptors of all these processes together.
pub(crate) fn descriptors(pids: &[i32]) -> usize {
    pids.iter().map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)).sum()
}

/// Returns how often these processes gave up the CPU voluntarily, all threads together. It includes
/// each wake-up at rest.
pub(crate) fn sleeps(pids: &[i32]) -> u64 {
    let mut sum = 0;
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            sum += line.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0);
        }
    }
    sum
}

/// Waits for a condition and checks it every half millisecond; returns false at the timeout.
pub(crate) fn wait(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_micros(500));
    }
}
