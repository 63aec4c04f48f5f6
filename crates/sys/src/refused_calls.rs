//! System calls that a sandbox refuses, and the consequences. Old container runtimes answer EPERM
//! to unknown calls, although the kernel would have answered ENOSYS.

use rustix::io::Errno;

use crate::process::{ProcRef, is_refusal, last_errno};

/// A call that is refused here, and its replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedCall {
    /// Name of the call.
    pub call: &'static str,
    /// The kernel's errno.
    pub errno: Errno,
    /// The drawback of the replacement.
    pub cost: &'static str,
}

impl std::fmt::Display for RefusedCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { call, errno, cost } = self;
        write!(
            f,
            "the system call {call} is not permitted here ({}), for example by an old container runtime: {cost}",
            std::io::Error::from(*errno)
        )
    }
}

/// Tries each call in a way that has no effect.
pub fn refused() -> Vec<RefusedCall> {
    let mut found = Vec::new();
    let me = ProcRef::me();
    match me.open() {
        Err(errno) if is_refusal(errno) => found.push(RefusedCall {
            call: "pidfd_open",
            errno,
            cost: "signals are sent by pid after a check, adopted processes are polled twice a second, and their sockets cannot be rescued",
        }),
        Ok(pidfd) => {
            // Signalling by number works in any case, so test only the call itself.
            if let Err(errno) = try_pidfd_send_signal(&pidfd) {
                found.push(RefusedCall { call: "pidfd_send_signal", errno, cost: "signals are sent by pid after a check" });
            }
        }
        Err(_) => {}
    }
    if let Some(errno) = clone3_refused() {
        found.push(RefusedCall { call: "clone3", errno, cost: "a program enters its cgroup a moment after its start" });
    }
    found
}

fn try_pidfd_send_signal(pidfd: &std::os::fd::OwnedFd) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    // SAFETY: a live descriptor, signal 0 and no info.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), 0, std::ptr::null::<libc::siginfo_t>(), 0) };
    if sent < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Returns the errno if `clone3` is refused. Without arguments, `clone3` creates nothing and
/// returns `EINVAL` if it is permitted.
fn clone3_refused() -> Option<Errno> {
    // SAFETY: a null pointer with size zero: the kernel reads nothing and does nothing.
    let made = unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<u8>(), 0usize) };
    (made < 0).then(last_errno).filter(|&errno| is_refusal(errno))
}
