//! A child that borrows our memory until it has become another program: `clone3`, or `clone` where that is not to be had.
//!
//! `clone3` does in one call what else takes many: it starts the child inside a control group, so that not even its first fork can be
//! outside, and it sets signal handlers back to their default. Kernels before 5.7 and some sandboxes lack it.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Process whose child the new one becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parent {
    /// Ours: we reap it.
    #[default]
    Us,
    /// Our parent's (`CLONE_PARENT`): a sibling, reaped by whoever reaps us.
    OurParent,
}

/// Bytes of the child's stack: what it does, unoptimised, fits into a fifth of this. It is a part of our own stack, which nobody uses while we
/// are suspended: a mapping of its own would have to be made and removed for each child.
const STACK_BYTES: usize = 16 * 1024;

#[repr(C, align(16))]
struct Stack([std::mem::MaybeUninit<u8>; STACK_BYTES]);

/// The child's first and last function; it must end the process or become another program. `handlers_reset`: the handlers of
/// signals are reset already.
pub(crate) type Main<P> = unsafe fn(plan: &mut P, handlers_reset: bool) -> !;

/// Everything that both sides of the clone need.
struct Start<'a, P> {
    main: Main<P>,
    plan: &'a mut P,
    handlers_reset: bool,
}

/// Runs `main` in a child on our memory and returns its pid when it has executed a program or ended. A control group that cannot be
/// entered (it vanished, it is not ours to use) is no reason to fail: then the child is where we are.
///
/// # Errors
/// The errno of the clone.
///
/// # Safety
/// All signals are blocked; `main` neither allocates nor locks nor panics.
pub(crate) unsafe fn clone_and_wait<P>(
    main: Main<P>,
    plan: &mut P,
    parent: Parent,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<libc::pid_t, i32> {
    let mut start = Start { main, plan, handlers_reset: true };
    let mut stack = Stack([const { std::mem::MaybeUninit::uninit() }; STACK_BYTES]);
    // SAFETY: stack and start outlive the calls, because we are suspended until the child has left our memory; the rest is the caller's.
    unsafe {
        let mut result = clone3(&mut start, &mut stack, parent, cgroup);
        if cgroup.is_some() && result.is_err() {
            result = clone3(&mut start, &mut stack, parent, None);
        }
        match result {
            Err(libc::ENOSYS | libc::EPERM | libc::EINVAL) => clone(&mut start, &mut stack, parent),
            result => result,
        }
    }
}

/// Whether a process can be born in a control group, and lives: tried with one that only ends.
///
/// # Errors
/// That of the clone: no such system call, no permission, no such group. `EKEYREJECTED` when the kernel killed it at birth.
pub(crate) fn try_birth(cgroup: BorrowedFd<'_>) -> Result<(), i32> {
    unsafe fn end((): &mut (), _: bool) -> ! {
        // SAFETY: ends this process only, without our exit handlers.
        unsafe { libc::_exit(0) }
    }
    let _blocked = crate::process::signal::AllSignalsBlocked::new();
    let mut start = Start { main: end, plan: &mut (), handlers_reset: true };
    let mut stack = Stack([const { std::mem::MaybeUninit::uninit() }; STACK_BYTES]);
    // SAFETY: as in `clone_and_wait`.
    let pid = unsafe { clone3(&mut start, &mut stack, Parent::Us, Some(cgroup)) }?;
    let ending = crate::process::child::reap(pid).map(|reaped| reaped.ending);
    if ending == Some(crate::Ending::Code(0)) { Ok(()) } else { Err(libc::EKEYREJECTED) }
}

extern "C" fn enter<P>(start: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `clone_and_wait` passes its exclusive borrow and is suspended while we run.
    unsafe {
        let start = &mut *start.cast::<Start<'_, P>>();
        (start.main)(start.plan, start.handlers_reset)
    }
}

/// The system call of old: the handlers stay, and a control group has to be entered otherwise.
unsafe fn clone<P>(start: &mut Start<'_, P>, stack: &mut Stack, parent: Parent) -> Result<libc::pid_t, i32> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD | if parent == Parent::OurParent { libc::CLONE_PARENT } else { 0 };
    start.handlers_reset = false;
    // SAFETY: one past the end of the stack, which is aligned to 16 bytes; see `clone_and_wait` for the rest.
    let pid = unsafe { libc::clone(enter::<P>, stack.0.as_mut_ptr().add(STACK_BYTES).cast(), flags, ptr::from_mut(start).cast()) };
    if pid < 0 { Err(crate::process::last_errno().raw_os_error()) } else { Ok(pid) }
}

/// `struct clone_args` of `linux/sched.h`, third version (88 bytes).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
unsafe fn clone3<P>(
    start: &mut Start<'_, P>,
    stack: &mut Stack,
    parent: Parent,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<libc::pid_t, i32> {
    const CLEAR_SIGHAND: u64 = 1 << 32;
    const INTO_CGROUP: u64 = 1 << 33;
    let (parent_flag, exit_signal) = match parent {
        Parent::Us => (0, libc::SIGCHLD as u64),
        // A sibling signals our parent as we do: a signal of its own is refused.
        Parent::OurParent => (libc::CLONE_PARENT as u64, 0),
    };
    let args = CloneArgs {
        flags: (libc::CLONE_VM | libc::CLONE_VFORK) as u64 | CLEAR_SIGHAND | parent_flag | if cgroup.is_some() { INTO_CGROUP } else { 0 },
        exit_signal,
        stack: stack.0.as_mut_ptr() as u64,
        stack_size: STACK_BYTES as u64,
        cgroup: cgroup.map_or(0, |fd| u64::from(fd.as_raw_fd().cast_unsigned())),
        ..CloneArgs::default()
    };
    let result: isize;
    // The child cannot return from here, because its stack is empty: it calls `enter`, which never comes back.
    // SAFETY: see `clone_and_wait`; the kernel keeps all registers but those named, in parent and child alike.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r8",
            "call r9",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 as isize => result,
            in("rdi") &raw const args,
            in("rsi") size_of::<CloneArgs>(),
            in("r8") ptr::from_mut(start),
            in("r9") enter::<P> as extern "C" fn(*mut libc::c_void) -> libc::c_int,
            lateout("rcx") _,
            lateout("r11") _,
        );
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x3",
            "blr x4",
            "brk #1",
            "2:",
            inlateout("x0") &raw const args => result,
            in("x1") size_of::<CloneArgs>(),
            in("x3") ptr::from_mut(start),
            in("x4") enter::<P> as extern "C" fn(*mut libc::c_void) -> libc::c_int,
            in("x8") libc::SYS_clone3,
        );
    }
    if result < 0 { Err(i32::try_from(-result).unwrap_or(libc::EINVAL)) } else { Ok(result as libc::pid_t) }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone3<P>(_: &mut Start<'_, P>, _: &mut Stack, _: Parent, _: Option<BorrowedFd<'_>>) -> Result<libc::pid_t, i32> {
    Err(libc::ENOSYS)
}
