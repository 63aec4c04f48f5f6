//! Scheduling policy of this process.

use rustix::io::Errno;

/// Sets whether the kernel schedules this process as a batch job. When a batch process wakes up, it
/// does not preempt the process that woke it; it gets another CPU or waits. The function only
/// switches between the default policy and batch; any other policy stays. Child processes inherit
/// the policy.
///
/// # Errors
/// Returns `EPERM` or `ENOSYS` in some sandboxes.
pub fn set_batch(batch: bool) -> Result<(), Errno> {
    let (from, to) = if batch { (libc::SCHED_OTHER, libc::SCHED_BATCH) } else { (libc::SCHED_BATCH, libc::SCHED_OTHER) };
    if policy()? != from {
        return Ok(());
    }
    // The only field of the kernel's `struct sched_param`: these policies have no priority.
    let priority: libc::c_int = 0;
    // SAFETY: 0 is this process, and the number lives during the call. A direct system call,
    // because musl's function only returns ENOSYS.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, to, &raw const priority) };
    answer(result).map(drop)
}

fn policy() -> Result<libc::c_int, Errno> {
    // SAFETY: no requirements; 0 is this process.
    let policy = answer(unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) })?;
    // The policy may include a flag that keeps children from inheriting it.
    Ok((policy & !libc::c_long::from(libc::SCHED_RESET_ON_FORK)) as libc::c_int)
}

fn answer(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result >= 0 { Ok(result) } else { Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_scheduling_can_be_set_and_reset() {
        // The policy belongs to the thread, so other tests are not affected.
        assert_eq!(policy(), Ok(libc::SCHED_OTHER));
        set_batch(false).unwrap();
        assert_eq!(policy(), Ok(libc::SCHED_OTHER));
        set_batch(true).unwrap();
        assert_eq!(policy(), Ok(libc::SCHED_BATCH));
        set_batch(true).unwrap();
        set_batch(false).unwrap();
        assert_eq!(policy(), Ok(libc::SCHED_OTHER));
    }
}
