//! Traps: a test answers the system calls of a program in place of the kernel. Compiled for tests
//! only.
//!
//! The other filter of this folder has a fixed list of calls. This one notifies of all calls, and the
//! test decides for each whether the kernel executes it or it fails.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::calls::CallListener;
use super::filter::CallFilter;

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: once the listener has received a call, only a signal
/// that kills interrupts it. Otherwise a signal would add an `EINTR` that no test asked for.
const WAIT_KILLABLE: libc::c_long = 1 << 5;

/// A system call that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrappedSyscall {
    /// Its id, for [`CallListener::answer`].
    pub id: u64,
    /// Id of the thread that made it.
    pub thread: i32,
    /// Its number on this architecture.
    pub number: i64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// Installs a filter in this thread: all of its calls except these wait for an answer of the
/// listener, also after `execve` and in new processes. The thread stops at its next call, so another
/// process has to copy the listener (`pidfd_getfd`).
///
/// # Errors
/// Returns the errors of `seccomp`.
pub fn trap_own_calls(except: &[i64]) -> Result<OwnedFd, Errno> {
    let numbers: Vec<u32> = except.iter().filter_map(|number| u32::try_from(*number).ok()).collect();
    let filter = CallFilter::of_all_but(&numbers);
    // Without the right to administer the system, the kernel requires this. With the right, programs
    // keep their setuid bits.
    if !rustix::process::geteuid().is_root() {
        // SAFETY: plain prctl without pointers.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    }
    // Linux before 5.19 does not have the flag.
    let number = filter.install(WAIT_KILLABLE).or_else(|_| filter.install(0))?;
    // SAFETY: the call above created the descriptor, and it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

impl CallListener {
    /// Receives any call, or returns `None` if none waits. Never blocks.
    ///
    /// # Errors
    /// Works like [`Self::receive`].
    pub fn receive_syscall(&self) -> Result<Option<TrappedSyscall>, Errno> {
        Ok(self.receive_notification()?.map(|notification| TrappedSyscall {
            id: notification.id,
            thread: notification.pid.cast_signed(),
            number: notification.data.number.into(),
            arguments: notification.data.arguments,
        }))
    }
}
