//! A process identified beyond doubt: by pid and start time.

pub mod child;
pub(crate) mod clone;
pub mod cstrings;
pub mod descriptors;
mod entry;
mod errno;
pub mod exec;
pub mod fork;
pub mod oom;
pub mod rlimit;
pub mod sample;
pub mod scheduling;
pub mod signal;
pub mod spawn;
pub mod threads;
pub mod title;
pub mod tree;
#[cfg(no_tables)]
pub(crate) mod unwinding;

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use crate::process::child::WaitStatus;
use crate::simulated;

pub use entry::{COMM_BYTES, ProcRef, ProcessEntry, Target};
pub(crate) use entry::{Stat, number};
pub(crate) use errno::last_errno;

impl ProcRef {
    /// Returns the current process with this pid, which may be a zombie.
    ///
    /// # Errors
    /// Returns `ENOENT` or `ESRCH` if it does not exist.
    pub fn of(pid: i32) -> Result<Self, Errno> {
        Ok(Self { pid, start_ticks: start_ticks(pid)? })
    }

    /// Returns this process.
    pub fn me() -> Self {
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        Self { pid, start_ticks: start_ticks(pid).unwrap_or(0) }
    }

    /// Returns true if it is still the same process, even a zombie.
    pub fn exists(&self) -> bool {
        start_ticks(self.pid) == Ok(self.start_ticks)
    }

    /// Returns true if it is still the same process and not a zombie.
    pub fn runs(&self) -> bool {
        stat(self.pid).is_ok_and(|stat| stat.start_ticks == self.start_ticks && !matches!(stat.state, b'Z' | b'X'))
    }

    /// Returns true if the process is certainly gone: the kernel reports that the pid is free, or
    /// that another process has it. A process that `/proc` does not show may be alive.
    pub fn is_gone(&self) -> bool {
        let is_nobody = |pid| {
            // SAFETY: signal 0 to a plain number only checks.
            unsafe { libc::kill(pid, 0) < 0 && last_errno() == Errno::SRCH }
        };
        let is_missing = self.pid > 0 && simulated::ask(|kernel| kernel.entry(self.pid).is_none()).unwrap_or_else(|| is_nobody(self.pid));
        is_missing || start_ticks(self.pid).is_ok_and(|start_ticks| start_ticks != self.start_ticks)
    }

    /// Opens a descriptor of exactly this process (CLOEXEC). It becomes readable when the process
    /// exits.
    ///
    /// # Errors
    /// Returns `ESRCH` if the process is gone, even if another process has its pid by now. Any other
    /// error means that it may be alive.
    pub fn open(&self) -> Result<OwnedFd, Errno> {
        if let Some(opened) = simulated::ask(|kernel| kernel.open(*self)) {
            return opened;
        }
        let pid = Pid::from_raw(self.pid).ok_or(Errno::SRCH)?;
        let fd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        // Check after opening: from here on, the descriptor cannot refer to another process.
        match start_ticks(self.pid) {
            Ok(start_ticks) if start_ticks == self.start_ticks => Ok(fd),
            Err(errno) if !matches!(errno, Errno::NOENT | Errno::SRCH) => Err(errno),
            _ => Err(Errno::SRCH),
        }
    }

    /// Returns true for a process, alive or zombie, and false for a thread. The check needs no
    /// descriptor.
    pub fn is_process(&self) -> bool {
        if let Some(entry) = simulated::ask(|kernel| kernel.entry(self.pid)) {
            return entry.is_some_and(|entry| entry.process() == *self);
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let leader = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse::<i32>().ok());
        leader == Some(self.pid) && self.exists()
    }

    /// Returns true if the process has exited, reaped or not. A process that cannot be seen may be
    /// alive.
    pub fn has_ended(&self) -> bool {
        match stat(self.pid) {
            Ok(stat) => stat.start_ticks != self.start_ticks || matches!(stat.state, b'Z' | b'X'),
            Err(_) => self.is_gone(),
        }
    }

    /// Returns how the process exited, as far as that can be known without a descriptor.
    pub fn ending(&self) -> WaitStatus {
        zombie_ending(*self).unwrap_or(WaitStatus::Unknown)
    }

    /// Sends a signal to exactly this process.
    ///
    /// # Errors
    /// Returns `ESRCH` if it is gone, and `EPERM` if we may not signal it.
    pub fn signal(&self, signal: i32) -> Result<(), Errno> {
        self.send(signal, Target::Process)
    }

    /// Sends a signal to the process or to its group. If the kernel refuses pidfds, it checks that
    /// the process is still the same and then signals by number. That could hit another process
    /// only if this one exited and its pid were reused in between.
    ///
    /// # Errors
    /// Returns the errors of [`ProcRef::signal`].
    pub fn send(&self, signal: i32, target: Target) -> Result<(), Errno> {
        if let Some(sent) = simulated::ask(|kernel| kernel.signal(*self, signal, target)) {
            return sent;
        }
        match self.open() {
            Ok(pidfd) => signal_fd(pidfd.as_fd(), signal, target),
            Err(errno) if is_refusal(errno) => match target {
                _ if !self.exists() => Err(Errno::SRCH),
                Target::Process => crate::process::child::signal(self.pid, signal, target),
                Target::Group => {
                    let group = rustix::process::getpgid(Pid::from_raw(self.pid))?;
                    crate::process::child::signal(group.as_raw_nonzero().get(), signal, target)
                }
            },
            Err(errno) => Err(errno),
        }
    }

    /// Sends a signal to every member of the process group that this process leads or belongs to.
    ///
    /// # Errors
    /// Returns the errors of [`ProcRef::signal`].
    pub fn signal_group(&self, signal: i32) -> Result<(), Errno> {
        self.send(signal, Target::Group)
    }
}

/// Returns true if the kernel lacks the call, or if a sandbox refuses it (the seccomp profile of an
/// old container runtime).
pub fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::NOSYS | Errno::PERM)
}

/// Sends a signal to the process of a pidfd, or to its group. Signal 0 only checks.
///
/// # Errors
/// Returns `ESRCH` if it has exited and been reaped, `EPERM` if we may not signal it, and `EINVAL`
/// if the signal does not exist.
pub fn signal_fd(pidfd: BorrowedFd<'_>, signal: i32, target: Target) -> Result<(), Errno> {
    const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2; // Linux 6.9
    let send = |flags: libc::c_uint| {
        // SAFETY: a live descriptor and plain numbers; a null info means "as kill(2)".
        let sent =
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), flags) };
        if sent < 0 { Err(last_errno()) } else { Ok(()) }
    };
    match target {
        // A refused call and a refused signal give the same errno. Signal 0 by number shows which
        // of the two it is.
        Target::Process => match send(0) {
            Err(errno) if is_refusal(errno) => {
                let pid = pid_of_fd(pidfd).ok_or(Errno::SRCH)?;
                crate::process::child::signal(pid, signal, target)
            }
            sent => sent,
        },
        Target::Group => match send(PIDFD_SIGNAL_PROCESS_GROUP) {
            Err(errno) if errno == Errno::INVAL || is_refusal(errno) => group_by_number(pidfd, signal),
            sent => sent,
        },
    }
}

/// Signals a group on kernels that cannot do that by pidfd. As long as the process exists, no other
/// process can have its number.
fn group_by_number(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let pid = pid_of_fd(pidfd).ok_or(Errno::SRCH)?;
    let group = rustix::process::getpgid(Pid::from_raw(pid))?;
    // SAFETY: plain numbers.
    let sent = unsafe { libc::kill(-group.as_raw_nonzero().get(), signal) };
    if sent < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Returns the pid behind a pidfd, or `None` if that process is gone (or the descriptor is not a
/// pidfd).
pub fn pid_of_fd(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let pid: i32 = info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (pid > 0).then_some(pid)
}

/// Returns how the process of a pidfd exited, for a process that is not our child. Call it when the
/// descriptor is readable. Since 6.15, the kernel reports this (`PIDFD_GET_INFO` with
/// `PIDFD_INFO_EXIT`) once the parent has reaped the process. Before that, a zombie's `exit_code`
/// is readable for its own user. Otherwise the result is `Unknown`.
pub fn ending_by_fd(pidfd: BorrowedFd<'_>, process: ProcRef) -> WaitStatus {
    exit_info(pidfd).or_else(|| zombie_ending(process)).or_else(|| exit_info(pidfd)).unwrap_or(WaitStatus::Unknown)
}

/// `struct pidfd_info` of `linux/pidfd.h`, first version (64 bytes).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

fn exit_info(pidfd: BorrowedFd<'_>) -> Option<WaitStatus> {
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    // _IOWR(0xFF, 11, struct pidfd_info), written out because the macro is C.
    const PIDFD_GET_INFO: libc::Ioctl = 0xC000_FF0B_u32 as libc::Ioctl | ((size_of::<PidfdInfo>() as libc::Ioctl) << 16);
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the size of the structure is part of the request number.
    let done = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    (done == 0 && info.mask & PIDFD_INFO_EXIT != 0).then(|| WaitStatus::from_wait_status(info.exit_code))
}

fn zombie_ending(process: ProcRef) -> Option<WaitStatus> {
    let mut buf = [0u8; STAT_BYTES];
    let stat = Stat::parse(read_stat(process.pid, &mut buf).ok()?)?;
    if stat.start_ticks != process.start_ticks || !matches!(stat.state, b'Z' | b'X') {
        return None;
    }
    // The kernel shows 0 to readers that may not know the code: trust 0 only if we may know it.
    let ours = stat.exit_code != 0 || owner(process.pid) == Some(rustix::process::geteuid().as_raw());
    ours.then(|| WaitStatus::from_wait_status(stat.exit_code))
}

/// Returns the effective uid of a process.
pub fn owner(pid: i32) -> Option<u32> {
    Some(rustix::fs::stat(ProcPath::new(pid, "").as_c_str()).ok()?.st_uid)
}

/// Returns the start time of the process with this pid, in clock ticks since boot.
///
/// # Errors
/// Returns `ENOENT` or `ESRCH` if it does not exist, and `EIO` if the line is invalid.
pub fn start_ticks(pid: i32) -> Result<u64, Errno> {
    stat(pid).map(|stat| stat.start_ticks)
}

/// Returns all parsed fields, as [`start_ticks`] returns the start time.
pub(crate) fn stat(pid: i32) -> Result<Stat, Errno> {
    if let Some(entry) = simulated::ask(|kernel| kernel.entry(pid)) {
        return entry.map(Stat::from).ok_or(Errno::SRCH);
    }
    let mut buf = [0u8; STAT_BYTES];
    Stat::parse(read_stat(pid, &mut buf)?).ok_or(Errno::IO)
}

/// Returns true if a process group has no member at all, not even a zombie.
pub fn is_group_empty(group: i32) -> bool {
    match simulated::ask(|kernel| kernel.entries()) {
        Some(entries) => entries.iter().all(|entry| entry.pgid != group),
        None => Pid::from_raw(group).is_some_and(|group| rustix::process::test_kill_process_group(group) == Err(Errno::SRCH)),
    }
}

/// Activity of the first thread of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// State letter of `proc_pid_stat(5)`.
    pub state: u8,
    /// CPU time that this thread has used, in milliseconds (resolution: one clock tick).
    pub cpu_ms: u64,
}

/// Reads the activity of a process's first thread; other threads may do something else.
///
/// # Errors
/// Returns `ENOENT` or `ESRCH` if the process is gone, and `EIO` if the line is invalid. Returns
/// `ENOSYS` if the kernel is simulated: its processes do nothing.
pub fn activity(pid: i32) -> Result<Activity, Errno> {
    if simulated::ask(|_| ()).is_some() {
        return Err(Errno::NOSYS);
    }
    let path = format!("/proc/{pid}/task/{pid}/stat");
    let fd = rustix::fs::open(path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buf = [0u8; STAT_BYTES];
    let n = rustix::io::read(fd, &mut buf)?;
    let stat = Stat::parse(buf.get(..n).unwrap_or_default()).ok_or(Errno::IO)?;
    let cpu_ms = stat.own_ticks.saturating_mul(1000) / crate::time::clock::ticks_per_second().max(1);
    Ok(Activity { state: stat.state, cpu_ms })
}

/// Buffer size that is enough for a `stat` line: 52 numbers and a name of at most 64 bytes.
pub(crate) const STAT_BYTES: usize = 1536;

fn read_stat(pid: i32, buf: &mut [u8]) -> Result<&[u8], Errno> {
    let fd = rustix::fs::open(ProcPath::new(pid, "/stat").as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let n = rustix::io::read(fd, &mut *buf)?;
    Ok(buf.get(..n).unwrap_or_default())
}

/// `/proc/<pid><tail>` on the stack.
pub(crate) struct ProcPath([u8; 48]);

impl ProcPath {
    pub(crate) fn new(pid: i32, tail: &str) -> Self {
        let mut bytes = [0; 48];
        // The longest is "/proc/-2147483648/oom_score_adj"; the last byte stays zero in any case.
        let fitted = write!(&mut bytes[..47], "/proc/{pid}{tail}");
        debug_assert!(fitted.is_ok());
        Self(bytes)
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}
