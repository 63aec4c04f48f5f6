//! Children and the way they exited.

use std::mem::MaybeUninit;

use rustix::io::Errno;

use crate::process::Target;

/// Way in which a process exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitStatus {
    /// It called `exit` with this code.
    Code(i32),
    /// This signal killed it.
    Signal {
        /// Signal number.
        signal: i32,
        /// Whether it dumped core.
        core: bool,
    },
    /// It is gone for an unknown reason (it was not our child).
    Unknown,
}

impl WaitStatus {
    /// Converts the status word of `wait`. A status that means neither exited nor signaled is
    /// `Unknown`.
    pub fn from_wait_status(status: i32) -> Self {
        if libc::WIFEXITED(status) {
            Self::Code(libc::WEXITSTATUS(status))
        } else if libc::WIFSIGNALED(status) {
            Self::Signal { signal: libc::WTERMSIG(status), core: libc::WCOREDUMP(status) }
        } else {
            Self::Unknown
        }
    }
}

/// Resources that a process and its waited-for children used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in microseconds.
    pub cpu_us: u64,
    /// Largest resident set of one process in bytes.
    pub max_rss_bytes: u64,
}

/// A reaped child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// Its pid, free for reuse from now on.
    pub pid: i32,
    /// How it exited.
    pub ending: WaitStatus,
    /// Resources that it used.
    pub usage: Usage,
}

/// Reaps any one exited child, or returns `None` if no child has exited. Never blocks.
pub fn reap_any() -> Option<Reaped> {
    wait(-1, libc::WNOHANG)
}

/// Returns true if the process is our child, running or not yet reaped.
pub fn is_own_child(pid: i32) -> bool {
    let Ok(id) = libc::id_t::try_from(pid) else { return false };
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the pointer is valid for writes; nothing is reaped.
    unsafe { libc::waitid(libc::P_PID, id, info.as_mut_ptr(), libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL) == 0 }
}

/// Waits until this child exits and reaps it, or returns `None` if it is not our child. Blocks.
pub fn reap(pid: i32) -> Option<Reaped> {
    wait(pid, 0)
}

/// Reaps a child that could not execute its program and therefore has already exited.
pub(crate) fn reap_failed(pid: i32) {
    reap(pid);
}

fn wait(pid: i32, flags: i32) -> Option<Reaped> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let reaped = loop {
        // SAFETY: both pointers are valid for writes.
        let got = unsafe { libc::wait4(pid, &raw mut status, flags | libc::__WALL, usage.as_mut_ptr()) };
        if got < 0 && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted {
            continue;
        }
        if got > 0 && libc::WIFSTOPPED(status) {
            release(got, libc::WSTOPSIG(status));
            continue;
        }
        break got;
    };
    if reaped <= 0 {
        return None;
    }
    // SAFETY: zeroed is a valid rusage, and the kernel filled it.
    let usage = unsafe { usage.assume_init() };
    Some(Reaped { pid: reaped, ending: WaitStatus::from_wait_status(status), usage: Usage::from(&usage) })
}

/// Continues a child that requested its parent as its tracer (`PTRACE_TRACEME`) and has stopped. The
/// kernel reports such stops in any case. Without an answer, the child would never continue.
fn release(pid: i32, signal: i32) {
    // An executed program stops by SIGTRAP, which nothing has sent.
    let signal = if signal == libc::SIGTRAP { 0 } else { signal };
    // SAFETY: the kernel reads no memory of ours. It fails if another thread is the tracer.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0usize, libc::c_long::from(signal)) };
}

impl From<&libc::rusage> for Usage {
    fn from(usage: &libc::rusage) -> Self {
        let us = |t: &libc::timeval| u64::try_from(t.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(t.tv_usec).unwrap_or(0);
        Self {
            cpu_us: us(&usage.ru_utime) + us(&usage.ru_stime),
            max_rss_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024),
        }
    }
}

/// Signals a child, or its process group, by number. Use it only for a child that has not been
/// reaped: until then its pid cannot belong to another process. Signal 0 only checks.
///
/// # Errors
/// Returns `ESRCH` if there is no such process (a group can be empty), `EPERM` if it changed its
/// user, and `EINVAL` if the signal does not exist.
pub fn signal(pid: i32, signal: i32, target: Target) -> Result<(), Errno> {
    if pid <= 1 {
        // 0, -1 and other negative numbers address whole sets of processes.
        return Err(Errno::SRCH);
    }
    let to = if target == Target::Group { -pid } else { pid };
    // SAFETY: plain numbers.
    if unsafe { libc::kill(to, signal) } < 0 { Err(crate::process::last_errno()) } else { Ok(()) }
}
