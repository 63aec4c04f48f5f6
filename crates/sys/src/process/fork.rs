//! `fork`, for a child that has to share the memory of this process instead of executing another
//! program.

use rustix::io::Errno;

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
/// Returns `EBUSY` if this process has more than one thread, because locks that other threads hold
/// during the copy would never be released. Returns `EAGAIN` or `ENOMEM` if processes or memory are
/// short.
pub fn fork() -> Result<ForkSide, Errno> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(Errno::BUSY);
    }
    // SAFETY: this is the only thread, so the copy is a complete process that may do anything.
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
