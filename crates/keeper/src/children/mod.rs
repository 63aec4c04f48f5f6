//! Processes that were spawned or adopted: alive, or exited and not yet acknowledged. There is one
//! record per key. The daemon's requests therefore bound the memory, however long the daemon is
//! away.

pub(crate) mod handle;
pub(crate) mod polled;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ostler_sys::process::{Target, signal_fd};
use ostler_sys::{ProcRef, process::child};
use rustix::io::Errno;

use crate::link::message::{Child, Ended};

/// Way in which the keeper notices the exit of a living process.
#[derive(Debug)]
pub(crate) enum Watch {
    /// It is our child: we reap it.
    Reap,
    /// It is not our child: this pidfd becomes readable.
    Pidfd(OwnedFd),
    /// It is not our child and the kernel has no pidfds: the keeper polls it.
    Polled,
}

#[derive(Debug)]
struct Record {
    process: ProcRef,
    state: ChildState,
}

#[derive(Debug)]
enum ChildState {
    Alive(Watch),
    Ended(Ended),
}

/// All processes.
#[derive(Debug, Default)]
pub(crate) struct Children {
    by_key: BTreeMap<u64, Record>,
    /// Keys of the living processes, by pid.
    by_pid: HashMap<i32, u64>,
}

impl Children {
    /// Returns true if no living or unacknowledged process has this key.
    pub(crate) fn is_free(&self, key: u64) -> bool {
        !self.by_key.contains_key(&key)
    }

    /// Returns the number of living processes.
    pub(crate) fn alive_count(&self) -> usize {
        self.by_pid.len()
    }

    pub(crate) fn add(&mut self, key: u64, process: ProcRef, watch: Watch) {
        self.by_pid.insert(process.pid, key);
        self.by_key.insert(key, Record { process, state: ChildState::Alive(watch) });
    }

    /// Returns the process of this key, alive or exited.
    pub(crate) fn process(&self, key: u64) -> Option<ProcRef> {
        self.get(key).map(|(process, _)| process)
    }

    /// Returns the process of this key, with its exit if that is not acknowledged.
    pub(crate) fn get(&self, key: u64) -> Option<(ProcRef, Option<Ended>)> {
        let Record { process, state } = self.by_key.get(&key)?;
        let ended = match state {
            ChildState::Alive(_) => None,
            ChildState::Ended(ended) => Some(*ended),
        };
        Some((*process, ended))
    }

    /// Forgets the process of this key, alive or not. Returns its pidfd, if it had one.
    pub(crate) fn remove(&mut self, key: u64) -> Option<OwnedFd> {
        let Record { process, state } = self.by_key.remove(&key)?;
        let ChildState::Alive(watch) = state else { return None };
        self.by_pid.remove(&process.pid);
        match watch {
            Watch::Reap | Watch::Polled => None,
            Watch::Pidfd(pidfd) => Some(pidfd),
        }
    }

    pub(crate) fn add_ended(&mut self, key: u64, process: ProcRef, ended: Ended) {
        self.by_key.insert(key, Record { process, state: ChildState::Ended(ended) });
    }

    /// Returns key, name and pidfd of the living process with this pid. A child of ours has no
    /// pidfd.
    pub(crate) fn alive(&self, pid: i32) -> Option<(u64, ProcRef, Option<BorrowedFd<'_>>)> {
        let key = *self.by_pid.get(&pid)?;
        let record = self.by_key.get(&key)?;
        let pidfd = match &record.state {
            ChildState::Alive(Watch::Pidfd(fd)) => Some(fd.as_fd()),
            ChildState::Alive(Watch::Reap | Watch::Polled) => None,
            ChildState::Ended(_) => return None,
        };
        Some((key, record.process, pidfd))
    }

    /// Records the exit of the living process with this pid. Returns its key if it is one of ours.
    pub(crate) fn end(&mut self, pid: i32, ended: Ended) -> Option<u64> {
        let key = self.by_pid.remove(&pid)?;
        let record = self.by_key.get_mut(&key)?;
        record.state = ChildState::Ended(ended);
        Some(key)
    }

    /// Forgets an exited process. A living process stays.
    pub(crate) fn acknowledge(&mut self, key: u64) {
        if matches!(self.by_key.get(&key), Some(Record { state: ChildState::Ended(_), .. })) {
            self.by_key.remove(&key);
        }
    }

    /// Signals a living process or its group. An exited process is not signalled, because its pid
    /// may belong to another process by now.
    ///
    /// # Errors
    /// Returns `ESRCH` if the process has exited, otherwise the error of the kernel.
    pub(crate) fn signal(&self, key: u64, signal: i32, target: Target) -> Result<(), Errno> {
        match self.by_key.get(&key) {
            Some(Record { process, state: ChildState::Alive(Watch::Reap) }) => child::signal(process.pid, signal, target),
            Some(Record { state: ChildState::Alive(Watch::Pidfd(fd)), .. }) => signal_fd(fd.as_fd(), signal, target),
            Some(Record { process, state: ChildState::Alive(Watch::Polled) }) => process.send(signal, target),
            Some(Record { state: ChildState::Ended(_), .. }) | None => Err(Errno::SRCH),
        }
    }

    /// Returns the processes that the keeper polls.
    pub(crate) fn polled(&self) -> impl Iterator<Item = ProcRef> {
        self.by_key.values().filter(|record| matches!(record.state, ChildState::Alive(Watch::Polled))).map(|record| record.process)
    }

    /// Returns all processes by key as the inventory lists them, with their pidfds.
    pub(crate) fn list(&self) -> impl Iterator<Item = (Child, Option<BorrowedFd<'_>>)> {
        self.by_key.iter().map(|(&key, Record { process, state })| {
            let (ended, pidfd) = match state {
                ChildState::Alive(Watch::Reap | Watch::Polled) => (None, None),
                ChildState::Alive(Watch::Pidfd(fd)) => (None, Some(fd.as_fd())),
                ChildState::Ended(ended) => (Some(*ended), None),
            };
            (Child { key, pid: process.pid, start_ticks: process.start_ticks, ended }, pidfd)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_sys::{Usage, WaitStatus};

    const ENDED: Ended = Ended { ending: WaitStatus::Code(0), usage: Usage { cpu_us: 0, max_rss_bytes: 0 }, at_boot_ms: 1, at_wall_ms: 2 };

    fn process(pid: i32) -> ProcRef {
        ProcRef { pid, start_ticks: 7 }
    }

    #[test]
    fn exit_is_kept_until_acknowledged_and_frees_the_pid() {
        let mut children = Children::default();
        children.add(1, process(100), Watch::Reap);
        children.acknowledge(1);
        assert!(!children.is_free(1), "a living one is not forgotten");
        assert_eq!(children.end(100, ENDED), Some(1));
        assert_eq!(children.end(100, ENDED), None);
        assert_eq!(children.signal(1, 0, Target::Process), Err(Errno::SRCH));
        // The same pid again, under another key.
        children.add(2, process(100), Watch::Reap);
        assert_eq!(children.list().map(|(c, _)| (c.key, c.ended.is_some())).collect::<Vec<_>>(), [(1, true), (2, false)]);
        children.acknowledge(1);
        children.acknowledge(1);
        assert!(children.is_free(1));
        assert_eq!(children.alive(100).map(|(key, ..)| key), Some(2));
    }
}
