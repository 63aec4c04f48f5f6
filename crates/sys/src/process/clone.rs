//! Creation of a child that borrows our memory until it executes another program: with `clone3`, or
//! with `clone` if that is unavailable.
//!
//! `clone3` combines several steps in one call. It starts the child inside a control group, so not
//! even its first fork can escape the group. It also resets signal handlers to their default.
//! Kernels before 5.7 and some sandboxes lack it.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Process that becomes the parent of the child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parent {
    /// This process, which reaps the child.
    #[default]
    Us,
    /// Our parent (`CLONE_PARENT`): the child becomes our sibling, and our parent reaps it.
    OurParent,
}

/// Size of the child's stack. Even unoptimised, the child needs less than a fifth of it. The stack
/// is a part of our own, which is unused while we are suspended. A separate mapping would have to
/// be created and removed for each child.
const STACK_BYTES: usize = 16 * 1024;

#[repr(C, align(16))]
struct Stack([std::mem::MaybeUninit<u8>; STACK_BYTES]);

/// The child's only function. It must exit the process or execute another program. `handlers_reset`
/// means that the signal handlers are already reset. It is unsafe because it runs on its parent's
/// memory: it must not allocate, lock or panic.
pub(crate) type ChildMain<P> = unsafe fn(plan: &mut P, handlers_reset: bool) -> !;

/// Data that both sides of the clone need.
struct Start<'a, P> {
    main: ChildMain<P>,
    plan: &'a mut P,
    handlers_reset: bool,
}

/// Runs `main` in a child on our memory. Returns its pid when it has executed a program or exited.
/// If a control group cannot be entered (it vanished, or we may not use it), this is not an error:
/// the child then starts in our group.
///
/// # Errors
/// Returns the errno of the clone.
///
/// # Safety
/// All signals must be blocked; `main` must not allocate, lock or panic.
pub(crate) unsafe fn clone_and_wait<P>(
    main: ChildMain<P>,
    plan: &mut P,
    parent: Parent,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<libc::pid_t, i32> {
    let mut start = Start { main, plan, handlers_reset: true };
    let mut stack = Stack([const { std::mem::MaybeUninit::uninit() }; STACK_BYTES]);
    // SAFETY: stack and start outlive the calls, because we are suspended until the child has left
    // our memory. The caller guarantees the rest.
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

/// Checks whether a process can start in a control group and survive. It starts a process that
/// exits immediately.
///
/// # Errors
/// Returns the error of the clone: no such system call, no permission, no such group. Returns
/// `EKEYREJECTED` if the kernel killed the process at birth.
pub(crate) fn try_birth(cgroup: BorrowedFd<'_>) -> Result<(), i32> {
    /// # Safety
    /// Only a child may call it: it exits the process.
    unsafe fn end((): &mut (), _: bool) -> ! {
        // SAFETY: exits this process only, without our exit handlers.
        unsafe { libc::_exit(0) }
    }
    let _blocked = crate::process::signal::AllSignalsBlocked::new();
    let mut start = Start { main: end, plan: &mut (), handlers_reset: true };
    let mut stack = Stack([const { std::mem::MaybeUninit::uninit() }; STACK_BYTES]);
    // SAFETY: as in `clone_and_wait`.
    let pid = unsafe { clone3(&mut start, &mut stack, Parent::Us, Some(cgroup)) }?;
    let ending = crate::process::child::reap(pid).map(|reaped| reaped.ending);
    if ending == Some(crate::WaitStatus::Code(0)) { Ok(()) } else { Err(libc::EKEYREJECTED) }
}

extern "C" fn enter<P>(start: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `clone_and_wait` passes its exclusive borrow and is suspended while we run.
    unsafe {
        let start = &mut *start.cast::<Start<'_, P>>();
        (start.main)(start.plan, start.handlers_reset)
    }
}

/// Uses the old system call: it keeps the signal handlers, and the child has to enter a control
/// group by itself.
///
/// # Safety
/// As for `clone_and_wait`. Stack and start must outlive the child's stay on our memory.
unsafe fn clone<P>(start: &mut Start<'_, P>, stack: &mut Stack, parent: Parent) -> Result<libc::pid_t, i32> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD | if parent == Parent::OurParent { libc::CLONE_PARENT } else { 0 };
    start.handlers_reset = false;
    // SAFETY: one past the end of the stack, which is aligned to 16 bytes; see `clone_and_wait` for
    // the rest.
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

/// Uses the new system call, which resets the signal handlers and enters the control group.
///
/// # Safety
/// As for `clone`.
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
        // A sibling signals our parent with our own exit signal; the kernel rejects a separate one.
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
    // The child's stack is empty, so it cannot return from here: it calls `enter`, which never
    // returns.
    // SAFETY: see `clone_and_wait`; the kernel preserves all registers except those listed, in
    // parent and child alike.
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

/// Reports that this machine has no assembly for the call; `clone` is used instead.
///
/// # Safety
/// It does nothing.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone3<P>(_: &mut Start<'_, P>, _: &mut Stack, _: Parent, _: Option<BorrowedFd<'_>>) -> Result<libc::pid_t, i32> {
    Err(libc::ENOSYS)
}
