//! Scheduling policy of this process.

use rustix::io::Errno;

/// Sets whether this process is a batch job to the kernel: one that is woken does not take the processor from whoever woke it, but gets another one
/// or its turn. Only in place of the usual policy, and back: one that somebody chose stays. Inherited by what it starts.
///
/// # Errors
/// `EPERM`, `ENOSYS` in some sandboxes.
pub fn set_batch(batch: bool) -> Result<(), Errno> {
    let (from, to) = if batch { (libc::SCHED_OTHER, libc::SCHED_BATCH) } else { (libc::SCHED_BATCH, libc::SCHED_OTHER) };
    if policy()? != from {
        return Ok(());
    }
    // The one field of `struct sched_param` of the kernel: these policies have no priority.
    let priority: libc::c_int = 0;
    // SAFETY: 0 is this process, and the number lives during the call. A system call, because that is what musl's function does not do.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, to, &raw const priority) };
    answer(result).map(drop)
}

fn policy() -> Result<libc::c_int, Errno> {
    // SAFETY: no requirements; 0 is this process.
    let policy = answer(unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) })?;
    // It may come with a flag that says that children do not inherit it.
    Ok((policy & !libc::c_long::from(libc::SCHED_RESET_ON_FORK)) as libc::c_int)
}

fn answer(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result >= 0 { Ok(result) } else { Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_but_only_from_the_usual_one() {
        // The policy is the thread's, so other tests do not notice.
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
