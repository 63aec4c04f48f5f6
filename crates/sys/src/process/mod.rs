//! One process, named so that it cannot be mistaken: pid and start time.

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

use crate::played;
use crate::process::child::Ending;

pub use entry::{COMM_BYTES, Entry, ProcRef, Target};
pub(crate) use entry::{Stat, number};
pub(crate) use errno::last_errno;

impl ProcRef {
    /// The process with this pid right now, a zombie included.
    ///
    /// # Errors
    /// `ENOENT`/`ESRCH` when there is none.
    pub fn of(pid: i32) -> Result<Self, Errno> {
        Ok(Self { pid, start_ticks: start_ticks(pid)? })
    }

    /// This process.
    pub fn me() -> Self {
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        Self { pid, start_ticks: start_ticks(pid).unwrap_or(0) }
    }

    /// True if it is still the same process, be it a zombie.
    pub fn exists(&self) -> bool {
        start_ticks(self.pid) == Ok(self.start_ticks)
    }

    /// True if it is still the same process, and no zombie.
    pub fn runs(&self) -> bool {
        stat(self.pid).is_ok_and(|stat| stat.start_ticks == self.start_ticks && !matches!(stat.state, b'Z' | b'X'))
    }

    /// True if it is certainly gone: the kernel says that nobody has this number, or that it is another's. What cannot be seen (no `/proc`, or one that hides
    /// processes) may live.
    pub fn is_gone(&self) -> bool {
        let is_nobody = |pid| {
            // SAFETY: signal 0 to a plain number only asks.
            unsafe { libc::kill(pid, 0) < 0 && last_errno() == Errno::SRCH }
        };
        let nobody = self.pid > 0 && played::ask(|kernel| kernel.entry(self.pid).is_none()).unwrap_or_else(|| is_nobody(self.pid));
        nobody || start_ticks(self.pid).is_ok_and(|start_ticks| start_ticks != self.start_ticks)
    }

    /// A descriptor of exactly this process (CLOEXEC); it becomes readable when the process ends.
    ///
    /// # Errors
    /// `ESRCH` when it is gone, also when its pid is another's by now.
    pub fn open(&self) -> Result<OwnedFd, Errno> {
        if let Some(opened) = played::ask(|kernel| kernel.open(*self)) {
            return opened;
        }
        let pid = Pid::from_raw(self.pid).ok_or(Errno::SRCH)?;
        let fd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        // Checked after opening: from here on the descriptor cannot change its meaning.
        if self.exists() { Ok(fd) } else { Err(Errno::SRCH) }
    }

    /// True for a process and false for a thread of one, alive or a zombie; asked without a descriptor.
    pub fn is_process(&self) -> bool {
        if let Some(entry) = played::ask(|kernel| kernel.entry(self.pid)) {
            return entry.is_some_and(|entry| entry.process() == *self);
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let leader = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse::<i32>().ok());
        leader == Some(self.pid) && self.exists()
    }

    /// True if it has ended, be it reaped or not. What cannot be seen may live.
    pub fn has_ended(&self) -> bool {
        match stat(self.pid) {
            Ok(stat) => stat.start_ticks != self.start_ticks || matches!(stat.state, b'Z' | b'X'),
            Err(_) => self.is_gone(),
        }
    }

    /// Its end, as far as that can be known without a descriptor.
    pub fn ending(&self) -> Ending {
        zombie_ending(*self).unwrap_or(Ending::Unknown)
    }

    /// Sends a signal to exactly this process.
    ///
    /// # Errors
    /// `ESRCH` when it is gone, `EPERM` when it is not ours to signal.
    pub fn signal(&self, signal: i32) -> Result<(), Errno> {
        self.send(signal, Target::Process)
    }

    /// Sends a signal to it or to its group. Where the kernel refuses descriptors of processes it goes by number, after a look whether that is
    /// still the same process: between the two it would have to end and its number to be given anew.
    ///
    /// # Errors
    /// As [`ProcRef::signal`].
    pub fn send(&self, signal: i32, target: Target) -> Result<(), Errno> {
        if let Some(sent) = played::ask(|kernel| kernel.signal(*self, signal, target)) {
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
    /// As [`ProcRef::signal`].
    pub fn signal_group(&self, signal: i32) -> Result<(), Errno> {
        self.send(signal, Target::Group)
    }
}

/// True if the kernel has no such call, or a sandbox refuses it (the seccomp profile of an old container runtime).
pub fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::NOSYS | Errno::PERM)
}

/// Sends a signal to the process of a pidfd, or to its group. Signal 0 only checks.
///
/// # Errors
/// `ESRCH` when it has ended and been reaped, `EPERM` when it is not ours to signal, `EINVAL` for no such signal.
pub fn signal_fd(pidfd: BorrowedFd<'_>, signal: i32, target: Target) -> Result<(), Errno> {
    const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2; // Linux 6.9
    let send = |flags: libc::c_uint| {
        // SAFETY: a live descriptor and plain numbers; a null info means "as kill(2)".
        let sent =
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), flags) };
        if sent < 0 { Err(last_errno()) } else { Ok(()) }
    };
    match target {
        // A refusal of the call looks as one of the signal: by its number the kernel says what it is.
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

/// Signals a group on kernels that cannot do that by pidfd: as long as the process is there, nobody else can have its number.
fn group_by_number(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let pid = pid_of_fd(pidfd).ok_or(Errno::SRCH)?;
    let group = rustix::process::getpgid(Pid::from_raw(pid))?;
    // SAFETY: plain numbers.
    let sent = unsafe { libc::kill(-group.as_raw_nonzero().get(), signal) };
    if sent < 0 { Err(last_errno()) } else { Ok(()) }
}

/// The pid behind a pidfd, `None` when that process is gone (or it is no pidfd).
pub fn pid_of_fd(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let pid: i32 = info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (pid > 0).then_some(pid)
}

/// The end of the process of a pidfd, for a process that is not our child; call it when the descriptor is readable. The kernel tells
/// since 6.15 (`PIDFD_GET_INFO` with `PIDFD_INFO_EXIT`, once its parent has reaped it); before that a zombie's `exit_code` is readable
/// for its own user. Otherwise `Unknown`.
pub fn ending_by_fd(pidfd: BorrowedFd<'_>, process: ProcRef) -> Ending {
    exit_info(pidfd).or_else(|| zombie_ending(process)).or_else(|| exit_info(pidfd)).unwrap_or(Ending::Unknown)
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

fn exit_info(pidfd: BorrowedFd<'_>) -> Option<Ending> {
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    // _IOWR(0xFF, 11, struct pidfd_info), written out because the macro is C.
    const PIDFD_GET_INFO: libc::Ioctl = 0xC000_FF0B_u32 as libc::Ioctl | ((size_of::<PidfdInfo>() as libc::Ioctl) << 16);
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the size of the structure is part of the request number.
    let done = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    (done == 0 && info.mask & PIDFD_INFO_EXIT != 0).then(|| Ending::from_wait_status(info.exit_code))
}

fn zombie_ending(process: ProcRef) -> Option<Ending> {
    let mut buf = [0u8; STAT_BYTES];
    let stat = Stat::parse(read_stat(process.pid, &mut buf).ok()?)?;
    if stat.start_ticks != process.start_ticks || !matches!(stat.state, b'Z' | b'X') {
        return None;
    }
    // The kernel shows 0 to those who may not know: believe 0 only where we may.
    let ours = stat.exit_code != 0 || owner(process.pid) == Some(rustix::process::geteuid().as_raw());
    ours.then(|| Ending::from_wait_status(stat.exit_code))
}

/// Effective uid of a process.
pub fn owner(pid: i32) -> Option<u32> {
    Some(rustix::fs::stat(ProcPath::new(pid, "").as_c_str()).ok()?.st_uid)
}

/// Start time of the process with this pid, in clock ticks since boot.
///
/// # Errors
/// `ENOENT`/`ESRCH` when there is none, `EIO` when the line makes no sense.
pub fn start_ticks(pid: i32) -> Result<u64, Errno> {
    stat(pid).map(|stat| stat.start_ticks)
}

/// [`start_ticks`] with all that is known.
pub(crate) fn stat(pid: i32) -> Result<Stat, Errno> {
    if let Some(entry) = played::ask(|kernel| kernel.entry(pid)) {
        return entry.map(Stat::from).ok_or(Errno::SRCH);
    }
    let mut buf = [0u8; STAT_BYTES];
    Stat::parse(read_stat(pid, &mut buf)?).ok_or(Errno::IO)
}

/// True if a process group has no member at all, be it a zombie.
pub fn is_group_empty(group: i32) -> bool {
    match played::ask(|kernel| kernel.entries()) {
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

/// Reads what the first thread of a process is doing; other threads may do something else.
///
/// # Errors
/// `ENOENT`/`ESRCH` when it is gone, `EIO` when the line makes no sense, `ENOSYS` where the kernel is played: processes do nothing there.
pub fn activity(pid: i32) -> Result<Activity, Errno> {
    if played::ask(|_| ()).is_some() {
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

/// Bytes that are enough for a `stat` line: 52 numbers and a name of at most 64 bytes.
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
