//! Going on as two processes: for one that has to share the memory of this one instead of becoming a program of its own.

use rustix::io::Errno;

/// The process in which a call of [`fork`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that called, with the pid of the other.
    Parent(i32),
    /// The new one: a copy of everything, descriptors included.
    Child,
}

/// Goes on as two processes. The child is our child, has our blocked signals and none of our pending ones, and shares our memory until one
/// of us writes.
///
/// # Errors
/// `EBUSY` when this process has more than one thread: what others hold in the moment of the copy would stay taken for ever. `EAGAIN`,
/// `ENOMEM`: no process or memory to be had.
pub fn fork() -> Result<Side, Errno> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(Errno::BUSY);
    }
    // SAFETY: this is the only thread, so the copy is a whole process that may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(crate::process::last_errno()),
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent(pid)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_copied() {
        // The test harness runs this in a thread.
        assert_eq!(fork(), Err(Errno::BUSY));
    }
}
