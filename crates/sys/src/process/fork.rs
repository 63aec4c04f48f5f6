//! `fork`, for a child that has to share the memory of this process instead of executing another
//! program.

use rustix::io::Errno;

use crate::seccomp::inspection::copying_threads;

/// Number of times to wait for threads that exit.
const TRIES: usize = 1000;

/// The process in which a call of [`fork`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForkSide {
    /// The caller, with the pid of the child.
    Parent(i32),
    /// The new process: a copy of everything, descriptors included.
    Child,
}

/// Forks this process. The new process is our child and inherits our blocked signals, but none of
/// the pending ones. It shares our memory until either process writes.
///
/// # Errors
/// Returns `EBUSY` if this process has another thread, because locks that it holds during the copy
/// would never be released. Threads that inspect processes ([`crate::seccomp::inspection`]) hold
/// none except those of the C library, of which `fork` takes care. Returns `EAGAIN` or `ENOMEM` if
/// processes or memory are short.
pub fn fork() -> Result<ForkSide, Errno> {
    let others = || std::fs::read_dir("/proc/self/task").map_or(0, |threads| threads.count().saturating_sub(1));
    // A thread that has finished its work may need a moment to exit.
    let mut tries = 0..TRIES;
    while others() > copying_threads() {
        tries.next().ok_or(Errno::BUSY)?;
        rustix::thread::sched_yield();
    }
    // SAFETY: no other thread holds a lock, so the copy is a complete process that may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(crate::process::last_errno()),
        0 => Ok(ForkSide::Child),
        pid => Ok(ForkSide::Parent(pid)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fork_fails_in_a_process_with_threads() {
        // The test harness runs this in a thread.
        assert_eq!(fork(), Err(Errno::BUSY));
    }
}
