//! Freeze: stops everybody who may write to a file, for a few milliseconds.
//!
//! SIGSTOP, because it works everywhere and outlives us: what is stopped stays so until the next daemon continues it, and nothing is written
//! meanwhile. Parents are stopped before their children and continued after them, so that a shell that waits for its children never sees
//! a stopped one.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use ostler_sys::process::Entry;
use ostler_sys::process::descriptors::{has_open_for_writing, stands_still};
use ostler_sys::process::signal::{CONT, STOP};
use ostler_sys::{ProcRef, ProcTable};
use rustix::io::Errno;

use super::{Copied, Failure, FileKey};

/// Longest wait for a process to stop; after it the process is left alone.
const WITHIN: Duration = Duration::from_millis(250);
/// Checks without a pause.
const AT_ONCE: u32 = 20;
/// Pause between two checks; nothing reports when a process that is not our child has stopped.
const PAUSE: Duration = Duration::from_micros(100);

/// Processes that may write to a file.
pub(crate) struct Writers<'a> {
    /// The trees of all instances whose log it is, parents before their children.
    pub trees: &'a dyn Fn(&ProcTable) -> Vec<Entry>,
    /// Never stopped: ourselves and the keeper.
    pub never: [i32; 2],
}

/// Stopped processes, in the order in which they were stopped.
#[derive(Debug, Default)]
pub(super) struct Frozen {
    pub stopped: Vec<ProcRef>,
    /// Time when the first of them was stopped.
    pub since: Option<Instant>,
    /// Processes that somebody else had stopped, or that need no second check.
    passed: HashSet<ProcRef>,
}

/// Inputs that stay the same all the time.
pub(super) struct Scene<'a> {
    pub writers: &'a Writers<'a>,
    pub file: FileKey,
    pub copied: &'a Copied,
}

impl Frozen {
    /// Stops everybody. `note` gets who will be stopped, before it happens. Whatever the result, [`Frozen::thaw`] must follow.
    pub(super) fn freeze(&mut self, scene: &Scene<'_>, note: &mut dyn FnMut(&[ProcRef]) -> Result<(), Failure>) -> Result<(), Failure> {
        let until = Instant::now() + WITHIN;
        let mut looked_at: HashSet<ProcRef> = scene.copied.looked_at.iter().copied().collect();
        let mut table = ProcTable::scan();
        // Looked at again while they stand still is only who is new: that takes a tenth of the time.
        let known: HashMap<i32, Entry> = table.entries().iter().map(|entry| (entry.pid, *entry)).collect();
        loop {
            let more = self.more(&table, scene, &looked_at);
            if more.is_empty() {
                return Ok(());
            }
            // Once is enough, and at first nobody stands still yet.
            looked_at.extend(table.entries().iter().map(Entry::process));
            let before = self.stopped.len();
            self.stopped.extend(more);
            note(&self.stopped)?;
            self.since.get_or_insert_with(Instant::now);
            for process in &self.stopped[before..] {
                match process.signal(STOP) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(_) => return Err(Failure::NotStopped(process.pid)),
                }
            }
            self.wait(until)?;
            // One of them may have made a child before it stopped.
            table = ProcTable::scan_but(&known);
        }
    }

    /// Processes that have to be stopped, and are not yet.
    fn more(&mut self, table: &ProcTable, scene: &Scene<'_>, looked_at: &HashSet<ProcRef>) -> Vec<ProcRef> {
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
            // Stopped by its user: that is how it stays.
            if entry.state != b'T' {
                more.push(process);
            }
        }
        more
    }

    fn wait(&self, until: Instant) -> Result<(), Failure> {
        for process in &self.stopped {
            let mut looks = 0;
            while !stands_still(process.pid) && process.exists() {
                if Instant::now() >= until {
                    return Err(Failure::NotStopped(process.pid));
                }
                // Most stop at once; a pause may become a long one.
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

    /// True if nobody is there who could write.
    pub(super) fn is_nobody(&self) -> bool {
        self.passed.is_empty()
    }

    /// Continues everybody.
    pub(super) fn thaw(&self) {
        thaw(&self.stopped);
    }
}

/// Continues processes, in the order opposite to that in which they were stopped.
pub(super) fn thaw(stopped: &[ProcRef]) {
    for process in stopped.iter().rev() {
        // It may have been killed meanwhile.
        let _ = process.signal(CONT);
    }
}
