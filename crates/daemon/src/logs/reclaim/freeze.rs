//! Freeze: stops all processes that may write to a file, for a few milliseconds.
//!
//! It uses SIGSTOP, which works everywhere and outlives the daemon: a stopped process stays stopped
//! until the next daemon continues it, and writes nothing until then. Parents are stopped before
//! their children and continued after them, so a shell that waits for its children never sees a
//! stopped one.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use ostler_sys::process::ProcessEntry;
use ostler_sys::process::descriptors::{has_open_for_writing, is_stopped};
use ostler_sys::process::signal::{CONT, STOP};
use ostler_sys::{ProcRef, ProcTable};
use rustix::io::Errno;

use super::{Copied, FileKey, ReclaimFailure};

/// Longest wait for a process to stop; after that the process is left alone.
const WITHIN: Duration = Duration::from_millis(250);
/// Checks without a pause.
const AT_ONCE: u32 = 20;
/// Pause between two checks. The kernel does not report when a process that is not our child has
/// stopped.
const PAUSE: Duration = Duration::from_micros(100);

/// Processes that may write to a file.
pub(crate) struct Writers<'a> {
    /// Process trees of all instances that write this log, parents before their children.
    pub trees: &'a dyn Fn(&ProcTable) -> Vec<ProcessEntry>,
    /// Processes that are never stopped: the daemon and the keeper.
    pub never: [i32; 2],
}

/// Stopped processes, in the order in which they were stopped.
#[derive(Debug, Default)]
pub(super) struct Frozen {
    pub stopped: Vec<ProcRef>,
    /// Time when the first process was stopped.
    pub since: Option<Instant>,
    /// Processes that another program had stopped, or that need no second check.
    passed: HashSet<ProcRef>,
}

/// Inputs that stay the same during the freeze.
pub(super) struct FreezeInput<'a> {
    pub writers: &'a Writers<'a>,
    pub file: FileKey,
    pub copied: &'a Copied,
}

impl Frozen {
    /// Stops all writers. `note` gets the processes before they are stopped. Even after an error,
    /// [`Frozen::thaw`] must follow.
    pub(super) fn freeze(
        &mut self,
        scene: &FreezeInput<'_>,
        note: &mut dyn FnMut(&[ProcRef]) -> Result<(), ReclaimFailure>,
    ) -> Result<(), ReclaimFailure> {
        let until = Instant::now() + WITHIN;
        let mut looked_at: HashSet<ProcRef> = scene.copied.processes.iter().copied().collect();
        let mut table = ProcTable::scan();
        // While the processes are stopped, only new processes are inspected again: that takes a
        // tenth of the time.
        let known: HashMap<i32, ProcessEntry> = table.entries().iter().map(|entry| (entry.pid, *entry)).collect();
        loop {
            let more = self.more(&table, scene, &looked_at);
            if more.is_empty() {
                return Ok(());
            }
            // One inspection per process is enough. During the first scan, no process is stopped
            // yet.
            looked_at.extend(table.entries().iter().map(ProcessEntry::process));
            let before = self.stopped.len();
            self.stopped.extend(more);
            note(&self.stopped)?;
            self.since.get_or_insert_with(Instant::now);
            for process in &self.stopped[before..] {
                match process.signal(STOP) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(_) => return Err(ReclaimFailure::NotStopped(process.pid)),
                }
            }
            self.wait(until)?;
            // A process may have forked before it stopped.
            table = ProcTable::scan_but(&known);
        }
    }

    /// Returns the processes that must be stopped and are not stopped yet.
    fn more(&mut self, table: &ProcTable, scene: &FreezeInput<'_>, looked_at: &HashSet<ProcRef>) -> Vec<ProcRef> {
        let mut more = Vec::new();
        let trees = (scene.writers.trees)(table);
        let writers = scene.copied.writers.iter().filter_map(|process| table.get(process.pid).filter(|entry| entry.process() == *process));
        let strangers = table.entries().iter().filter(|entry| !looked_at.contains(&entry.process()));
        let strangers = strangers.filter(|entry| has_open_for_writing(entry.pid, scene.file).unwrap_or(false));
        for entry in trees.iter().chain(writers).chain(strangers) {
            let process = entry.process();
            if entry.is_zombie() || scene.writers.never.contains(&entry.pid) || !self.passed.insert(process) {
                continue;
            }
            // Its user has stopped this process, so it stays stopped.
            if entry.state != b'T' {
                more.push(process);
            }
        }
        more
    }

    fn wait(&self, until: Instant) -> Result<(), ReclaimFailure> {
        for process in &self.stopped {
            let mut looks = 0;
            while !is_stopped(process.pid) && process.exists() {
                if Instant::now() >= until {
                    return Err(ReclaimFailure::NotStopped(process.pid));
                }
                // Most processes stop at once, and a sleep may take longer than requested.
                if looks < AT_ONCE {
                    std::thread::yield_now();
                } else {
                    std::thread::sleep(PAUSE);
                }
                looks += 1;
            }
        }
        Ok(())
    }

    /// Returns true if no process could write.
    pub(super) fn is_empty(&self) -> bool {
        self.passed.is_empty()
    }

    /// Continues all stopped processes.
    pub(super) fn thaw(&self) {
        thaw(&self.stopped);
    }
}

/// Continues processes, last stopped first.
pub(super) fn thaw(stopped: &[ProcRef]) {
    for process in stopped.iter().rev() {
        // The process may have been killed in the meantime.
        let _ = process.signal(CONT);
    }
}
