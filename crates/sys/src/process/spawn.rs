//! Starting a program with `clone(CLONE_VM | CLONE_VFORK)` and `execve`; a failure names its step.
//!
//! Theory of operation. `fork` copies page tables, and `posix_spawn` can neither change users nor
//! report which step failed. So we do the same as `posix_spawn` does internally. The child borrows
//! our memory on a separate stack while the calling thread is suspended, and performs its steps
//! with plain system calls. It then either becomes the program, or writes step and errno into our
//! memory and exits. The code below therefore follows these rules:
//!
//! - Everything is allocated before the clone. The child never allocates, locks or panics
//!   (iterators, no indexing).
//! - All signals are blocked around the clone, and the child resets every handler before it
//!   unblocks them. One of *our* handlers must never run in the child, on our memory.
//! - Raw system calls change the ids: glibc's wrappers would try to change them in all our threads.
//! - When the child changes its uid, the kernel marks the shared memory as not dumpable. That would
//!   make `/proc/<us>` unreadable for our own other processes, so we set it back.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use crate::confine::Confining;
use crate::confine::apply::ConfinementPlan;
use crate::confine::denial::DenialFilter;
use crate::process::clone::clone_and_wait;
use crate::process::cstrings::{CStrings, PidTexts};
use crate::process::rlimit::Rlimit;
use crate::process::signal::{self, AllSignalsBlocked, SIGSET_BYTES};
use crate::process::{self, ProcRef};
use crate::seccomp::filter::CallFilter;
use crate::users::user::Credentials;

pub use crate::process::clone::Parent;
pub use crate::process::step::SpawnStep;

/// Everything about a program to start, except its descriptors. Paths are used as they are, without
/// a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpawnSpec {
    /// Path of the file to execute; no search in `PATH`.
    pub program: CString,
    /// All arguments, `argv[0]` included.
    pub argv: CStrings,
    /// The whole environment as `NAME=value`; nothing is inherited. If a value is
    /// [`crate::process::cstrings::OWN_PID`], the program gets its pid there.
    pub envp: CStrings,
    /// Working directory, entered after the change of user, so that the app's permissions apply.
    /// Empty = ours.
    pub cwd: CString,
    /// User to run as; `None` = our own.
    pub user: Option<Credentials>,
    /// Resource limits to set.
    pub rlimits: Vec<Rlimit>,
    /// Nice value, -20..=19; `None` = inherited.
    pub nice: Option<i32>,
    /// File mode creation mask; `None` = inherited.
    pub umask: Option<u32>,
    /// Out-of-memory score, -1000..=1000; `None` = inherited.
    pub oom_score_adj: Option<i32>,
}

/// A started program whose `execve` has succeeded.
pub type Spawned = ProcRef;

/// Failed start of a program; no process remains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step} failed: {}", std::io::Error::from_raw_os_error(*.errno))]
pub struct SpawnError {
    /// The failing step.
    pub step: SpawnStep,
    /// Its errno.
    pub errno: i32,
}

/// Parent and cgroup of a new process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Placement<'a> {
    /// Its parent.
    pub parent: Parent,
    /// Folder of the version 2 cgroup in which the process starts. If that fails (it vanished, we
    /// may not use it, the kernel is too old), the process starts in our own cgroup.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Socket to which the process sends the listener for its calls of `bind` and `listen`, see
    /// [`crate::seccomp`].
    pub call_reports: Option<BorrowedFd<'a>>,
    /// Restrictions of the process; `None` = none.
    pub confining: Option<Confining<'a>>,
}

/// Starts a program as our child, leader of a new session and process group, with exactly the given
/// descriptors. `fds` are pairs (our descriptor, number in the child) in any order, and may
/// overlap. Missing descriptors among 0, 1 and 2 are `/dev/null`. All signals are unblocked and at
/// their default.
///
/// # Errors
/// Returns the failing step with its errno. The incomplete child has already been reaped.
pub fn spawn(spec: &SpawnSpec, fds: &[(BorrowedFd<'_>, RawFd)]) -> Result<Spawned, SpawnError> {
    spawn_at(spec, fds, Placement::default())
}

/// Works like [`spawn`] with another parent or cgroup.
///
/// # Errors
/// Returns the errors of [`spawn`].
pub fn spawn_at(spec: &SpawnSpec, fds: &[(BorrowedFd<'_>, RawFd)], placement: Placement<'_>) -> Result<Spawned, SpawnError> {
    let argv = spec.argv.pointers();
    let (envp, pid_texts) = spec.envp.environment();
    let oom = spec.oom_score_adj.map(|adj| adj.to_string());
    let mut moves: Vec<FdMove> = fds.iter().map(|&(fd, target)| FdMove { source: fd.as_raw_fd(), target }).collect();
    let beyond = |moves: &[FdMove]| moves.iter().map(|m| m.target).max().unwrap_or(2).max(2).saturating_add(1);
    let interception = placement.call_reports.map(|socket| {
        let target = beyond(&moves);
        moves.push(FdMove { source: socket.as_raw_fd(), target });
        Interception { filter: CallFilter::new(), reports: target }
    });
    let confinement = placement.confining.map(|Confining { confinement, ruleset }| {
        let ruleset = ruleset.map(|ruleset| {
            let target = beyond(&moves);
            moves.push(FdMove { source: ruleset.as_raw_fd(), target });
            target
        });
        ConfinementPlan { confinement, ruleset, filter: DenialFilter::of(confinement) }
    });
    // SAFETY: these read our own ids and cannot fail.
    let ours = unsafe { (libc::geteuid(), libc::getegid()) };
    let mut plan = ChildPlan {
        spec,
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        pid_texts,
        spare: beyond(&moves),
        moves: &mut moves,
        oom: oom.as_deref().unwrap_or("").as_bytes(),
        ignored: signal::ignored(),
        already_that_user: spec.user.as_ref().is_some_and(|user| (user.uid, user.gid) == ours),
        interception,
        confinement,
        failure: None,
    };
    let dumpable = spec.user.is_some() && prctl_get_dumpable() == 1;
    let cloned = run_in_child(&mut plan, placement);
    if dumpable {
        // SAFETY: plain prctl without pointers.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    }
    let pid = cloned.map_err(|errno| SpawnError { step: SpawnStep::Clone, errno })?;
    if let Some(failure) = plan.failure {
        if placement.parent == Parent::Us {
            crate::process::child::reap_failed(pid);
        }
        return Err(failure);
    }
    // A child that exited immediately still exists as a zombie; only a sibling can already be gone.
    let start_ticks = process::start_ticks(pid).unwrap_or(0);
    Ok(ProcRef { pid, start_ticks })
}

/// Plan of the child's work, prepared completely.
struct ChildPlan<'a> {
    spec: &'a SpawnSpec,
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
    pid_texts: PidTexts,
    moves: &'a mut [FdMove],
    /// First number above all targets. Sources move to numbers from here on before a target
    /// overwrites them.
    spare: RawFd,
    oom: &'a [u8],
    /// Signals that we ignore, one bit each.
    ignored: u64,
    already_that_user: bool,
    interception: Option<Interception>,
    confinement: Option<ConfinementPlan<'a>>,
    failure: Option<SpawnError>,
}

/// Interception of the program's calls.
struct Interception {
    filter: CallFilter,
    /// Number of the socket for the listener.
    reports: RawFd,
}

struct FdMove {
    source: RawFd,
    target: RawFd,
}

fn prctl_get_dumpable() -> i32 {
    // SAFETY: plain prctl without pointers.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) }
}

fn errno() -> i32 {
    // SAFETY: the location of this thread's errno is always valid. In the child it is the suspended
    // parent's: harmless.
    unsafe { *libc::__errno_location() }
}

/// Runs the plan in a child. Returns when the child has executed the program or exited.
fn run_in_child(plan: &mut ChildPlan<'_>, placement: Placement<'_>) -> Result<libc::pid_t, i32> {
    let _blocked = AllSignalsBlocked::new();
    // SAFETY: all signals are blocked, and `run` fulfils the conditions in the module
    // documentation.
    unsafe { clone_and_wait(run, plan, placement.parent, placement.cgroup) }
}

/// The child's only function.
///
/// # Safety
/// Only the child of `clone_and_wait` may call it: it exits the process.
unsafe fn run(plan: &mut ChildPlan<'_>, handlers_reset: bool) -> ! {
    // SAFETY: we are the child; `_exit` exits this process only, without our parent's exit
    // handlers.
    unsafe {
        plan.failure = Some(become_program(plan, handlers_reset));
        libc::_exit(127)
    }
}

/// Performs all steps in order; returns only if one failed.
///
/// # Safety
/// As for `run`. The pointers of the plan must be those of live, terminated arrays.
unsafe fn become_program(plan: &mut ChildPlan<'_>, handlers_reset: bool) -> SpawnError {
    // SAFETY: all pointers come from live objects of the suspended parent; no step allocates.
    let step = unsafe {
        'steps: {
            if libc::setsid() < 0 {
                break 'steps SpawnStep::Session;
            }
            if !place_descriptors(plan.moves, plan.spare) {
                break 'steps SpawnStep::Descriptors;
            }
            reset_signals(plan.ignored, handlers_reset);
            if !plan.oom.is_empty() && !write_oom_score(plan.oom) {
                break 'steps SpawnStep::OomScore;
            }
            if plan.spec.nice.is_some_and(|nice| libc::setpriority(libc::PRIO_PROCESS, 0, nice) < 0) {
                break 'steps SpawnStep::Nice;
            }
            if !plan.spec.rlimits.iter().all(Rlimit::set_for_this_process) {
                break 'steps SpawnStep::Rlimit;
            }
            if let Some(mask) = plan.spec.umask {
                libc::umask(mask as libc::mode_t);
            }
            // Before the change of user: root may install a filter without further restrictions.
            if let Some(interception) = &plan.interception {
                if !interception.filter.install_and_report(interception.reports) {
                    break 'steps SpawnStep::Filter;
                }
                libc::close(interception.reports);
            }
            let changes_user = plan.spec.user.is_some() && !plan.already_that_user;
            if let Some(confinement) = &plan.confinement
                && let Err(step) = confinement.before_user(changes_user)
            {
                break 'steps step;
            }
            if let Some(user) = &plan.spec.user
                && let Err(step) = become_user(user, plan.already_that_user)
            {
                break 'steps step;
            }
            if !plan.spec.cwd.is_empty() && libc::chdir(plan.spec.cwd.as_ptr()) < 0 {
                break 'steps SpawnStep::Chdir;
            }
            if let Some(confinement) = &plan.confinement {
                if let Err(step) = confinement.after_user() {
                    break 'steps step;
                }
                if let Some(ruleset) = confinement.ruleset {
                    libc::close(ruleset);
                }
            }
            plan.pid_texts.fill(libc::getpid().unsigned_abs());
            libc::execve(plan.spec.program.as_ptr(), plan.argv, plan.envp);
            SpawnStep::Exec
        }
    };
    SpawnError { step, errno: errno() }
}

/// Moves each descriptor to its number; all others close at `execve`. Returns false on an error,
/// with the errno set.
///
/// # Safety
/// The caller must own its table of descriptors alone: numbers are closed and overwritten.
unsafe fn place_descriptors(moves: &mut [FdMove], spare: RawFd) -> bool {
    // SAFETY: our descriptor table is a copy; no other process uses it.
    unsafe {
        // Our own descriptors are CLOEXEC anyway; this covers descriptors that our parent may have
        // left open. Kernels before 5.11 and some sandboxes lack the call; these descriptors then
        // stay open.
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        for m in moves.iter_mut().filter(|m| m.source < spare && m.source != m.target) {
            m.source = libc::fcntl(m.source, libc::F_DUPFD_CLOEXEC, spare);
            if m.source < 0 {
                return false;
            }
        }
        for m in moves.iter() {
            let placed = if m.source == m.target { libc::fcntl(m.target, libc::F_SETFD, 0) } else { libc::dup2(m.source, m.target) };
            if placed < 0 {
                return false;
            }
        }
        for fd in 0..=2 {
            if moves.iter().any(|m| m.target == fd) {
                continue;
            }
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            if null < 0 || (null != fd && (libc::dup2(null, fd) < 0 || libc::close(null) < 0)) {
                return false;
            }
        }
        true
    }
}

/// Sets every signal to its default, then unblocks all. If the clone has reset the handlers, only
/// the ignored signals remain to be reset.
///
/// # Safety
/// Only the child may call it: it drops the handlers of the whole process.
unsafe fn reset_signals(ignored: u64, handlers_reset: bool) {
    // All zero is SIG_DFL without flags in every architecture's layout of `struct sigaction` of the
    // kernel.
    let default = [0u64; 8];
    let none = 0u64;
    // SAFETY: the buffers are at least as large as the kernel reads. KILL and STOP are rejected,
    // which is harmless.
    unsafe {
        for signal in (1..=64).filter(|signal| !handlers_reset || ignored >> (signal - 1) & 1 == 1) {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null_mut::<u64>(), SIGSET_BYTES);
        }
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, ptr::null_mut::<u64>(), SIGSET_BYTES);
    }
}

/// Writes the score of this process; returns false on an error, with the errno set.
///
/// # Safety
/// Only the child may call it: the score is that of the whole process.
unsafe fn write_oom_score(text: &[u8]) -> bool {
    const PATH: &CStr = c"/proc/self/oom_score_adj";
    // SAFETY: constant path, live buffer.
    unsafe {
        let fd = libc::open(PATH.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        fd >= 0 && libc::write(fd, text.as_ptr().cast(), text.len()) >= 0
    }
}

/// Changes groups and user; returns the step that failed, with the errno set.
///
/// # Safety
/// Only the child may call it: a raw call changes only the calling thread, so other threads of a
/// process would keep their rights.
unsafe fn become_user(user: &Credentials, already: bool) -> Result<(), SpawnStep> {
    // SAFETY: raw calls with plain numbers and a live slice.
    unsafe {
        let groups = libc::syscall(libc::SYS_setgroups, user.groups.len(), user.groups.as_ptr());
        // Without privileges, no process may set groups. But a request to run as the current user
        // is not an error.
        if groups < 0 && !(already && errno() == libc::EPERM) {
            return Err(SpawnStep::Groups);
        }
        if libc::syscall(libc::SYS_setresgid, user.gid, user.gid, user.gid) < 0 {
            return Err(SpawnStep::Gid);
        }
        if libc::syscall(libc::SYS_setresuid, user.uid, user.uid, user.uid) < 0 {
            return Err(SpawnStep::Uid);
        }
    }
    Ok(())
}
