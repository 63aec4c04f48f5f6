//! Signals: names and numbers, and receiving them through a descriptor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

/// Request to exit, or to reload the configuration.
pub const HUP: i32 = libc::SIGHUP;
/// Request to exit, from a terminal.
pub const INT: i32 = libc::SIGINT;
/// Request to exit and to dump core.
pub const QUIT: i32 = libc::SIGQUIT;
/// Unconditional kill.
pub const KILL: i32 = libc::SIGKILL;
/// Signal with a meaning that each program defines.
pub const USR1: i32 = libc::SIGUSR1;
/// Signal with a meaning that each program defines.
pub const USR2: i32 = libc::SIGUSR2;
/// Request to exit.
pub const TERM: i32 = libc::SIGTERM;
/// Notification of a parent that a child exited.
pub const CHLD: i32 = libc::SIGCHLD;
/// Continuation of a stopped process.
pub const CONT: i32 = libc::SIGCONT;
/// Unconditional stop.
pub const STOP: i32 = libc::SIGSTOP;
/// Notification that a descriptor is ready.
pub const IO: i32 = libc::SIGIO;
/// Notification that the machine loses power.
pub const PWR: i32 = libc::SIGPWR;
/// Notification of urgent data on a socket; ignored by default.
pub const URG: i32 = libc::SIGURG;
/// Request to stop temporarily, from a terminal.
pub const TSTP: i32 = libc::SIGTSTP;
/// Notification that the terminal was resized.
pub const WINCH: i32 = libc::SIGWINCH;

/// Standard signals of this platform. If a number has two names, the first is shown.
const NAMES: [(&str, i32); 34] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// Returns the number of a signal in any usual notation: `SIGINT`, `INT`, `sigint`, `2`,
/// `SIGRTMIN+1`, `RTMAX-2`. `None` means that the signal does not exist.
pub fn by_name(text: &str) -> Option<i32> {
    let upper = text.trim().to_ascii_uppercase();
    if upper.bytes().all(|b| b.is_ascii_digit()) {
        return upper.parse().ok().filter(|n| (1..=libc::SIGRTMAX()).contains(n));
    }
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(&(_, number)) = NAMES.iter().find(|(n, _)| *n == name) {
        return Some(number);
    }
    let real_time = if let Some(offset) = name.strip_prefix("RTMIN") {
        libc::SIGRTMIN() + real_time_offset(offset, '+')?
    } else {
        libc::SIGRTMAX() - real_time_offset(name.strip_prefix("RTMAX")?, '-')?
    };
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&real_time).then_some(real_time)
}

fn real_time_offset(text: &str, sign: char) -> Option<i32> {
    if text.is_empty() {
        return Some(0);
    }
    text.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from)
}

/// Returns the name of a signal with its `SIG` prefix (`SIGINT`, `SIGRTMIN+1`), or the number if it
/// has no name.
pub fn name(signal: i32) -> String {
    match NAMES.iter().find(|&&(_, number)| number == signal) {
        Some((name, _)) => format!("SIG{name}"),
        None if signal == libc::SIGRTMIN() => "SIGRTMIN".into(),
        None if (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&signal) => format!("SIGRTMIN+{}", signal - libc::SIGRTMIN()),
        None => signal.to_string(),
    }
}

/// Signals that arrive on a descriptor instead of in a handler. They stay blocked in this thread
/// permanently, even after this is dropped (and in an image that replaces this process).
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

/// A received signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedSignal {
    /// Its number.
    pub signal: i32,
    /// Pid of the sender, 0 = the kernel.
    pub pid: i32,
    /// Real uid of the sender.
    pub uid: u32,
}

impl SignalFd {
    /// Blocks the signals in this thread and receives them from now on (nonblocking, CLOEXEC). Call
    /// it before other threads start.
    ///
    /// # Errors
    /// Returns `EMFILE` or `ENFILE`.
    pub fn new(signals: &[i32]) -> Result<Self, Errno> {
        let set = block(signals);
        // SAFETY: a valid set.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(crate::process::last_errno());
        }
        // SAFETY: a new descriptor that has no other owner.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Returns the next signal, or `None` if none is pending. The kernel may have merged several
    /// signals of one kind.
    pub fn next(&self) -> Option<ReceivedSignal> {
        const BYTES: usize = size_of::<libc::signalfd_siginfo>();
        let mut info = std::mem::MaybeUninit::<libc::signalfd_siginfo>::uninit();
        loop {
            // SAFETY: the buffer has room for one record; the kernel writes whole records only.
            let n = unsafe { libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), BYTES) };
            if n == BYTES as isize {
                // SAFETY: just filled.
                let info = unsafe { info.assume_init() };
                return Some(ReceivedSignal {
                    signal: i32::try_from(info.ssi_signo).unwrap_or(0),
                    pid: i32::try_from(info.ssi_pid).unwrap_or(0),
                    uid: info.ssi_uid,
                });
            }
            if n >= 0 || crate::process::last_errno() != Errno::INTR {
                return None;
            }
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Signals that this process may be ignoring, one bit each. The kernel is asked once; afterwards
/// [`ignore`] maintains the set, because no other code here changes a disposition. A superfluous
/// bit costs [`crate::spawn()`] one call; asking each time would cost sixty-four.
static IGNORED: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new((1..=64).filter(|&s| is_ignored(s)).map(bit).sum()));

fn bit(signal: i32) -> u64 {
    u32::try_from(signal - 1).ok().and_then(|n| 1u64.checked_shl(n)).unwrap_or(0)
}

/// Asks the kernel directly: glibc hides the two signals that it reserves for itself.
fn is_ignored(signal: i32) -> bool {
    const SIGSET_BYTES: usize = 8;
    // On the architectures that we know, the handler is the first word of the kernel's
    // `struct sigaction`. On others, handlers and ignored signals are reset one by one anyway.
    let mut action = [0usize; 16];
    // SAFETY: the buffer is larger than the structure that the kernel writes.
    let result = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, std::ptr::null::<usize>(), action.as_mut_ptr(), SIGSET_BYTES) };
    result == 0 && action[0] == libc::SIG_IGN
}

/// Returns the signals that programs started by us need to have reset.
pub(crate) fn ignored() -> u64 {
    IGNORED.load(Ordering::Relaxed)
}

/// Ignores a signal in this process. Programs started by [`crate::spawn()`] still get its default
/// disposition.
pub fn ignore(signal: i32) {
    IGNORED.fetch_or(bit(signal), Ordering::Relaxed);
    // SAFETY: setting a disposition without a handler.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Resets a signal to its default disposition. Otherwise, a signal that our parent ignored stays
/// ignored.
pub fn reset(signal: i32) {
    // SAFETY: setting a disposition without a handler.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Stops this process as Ctrl-Z does, until it is resumed, even if that signal is blocked
/// ([`SignalFd`]). Without a shell that could resume it, the kernel ignores the stop.
pub fn stop_self() {
    reset(TSTP);
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set; the signal goes to this thread, which is stopped
    // with all others when it is unblocked.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        let mut set = set.assume_init();
        libc::sigaddset(&raw mut set, TSTP);
        libc::raise(TSTP);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

fn block(signals: &[i32]) -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set; unknown numbers are rejected without harm.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        let mut set = set.assume_init();
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        set
    }
}

/// Bytes of the kernel's signal set (64 signals).
pub(crate) const SIGSET_BYTES: usize = 8;

/// Blocks *all* signals, glibc's internal ones included, until dropped.
pub(crate) struct AllSignalsBlocked(u64);

impl AllSignalsBlocked {
    pub(crate) fn new() -> Self {
        let (all, mut old) = (u64::MAX, 0u64);
        // SAFETY: both sets have the size that the kernel gets.
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const all, &raw mut old, SIGSET_BYTES) };
        Self(old)
    }
}

impl Drop for AllSignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: as in `new`.
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut::<u64>(), SIGSET_BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_names_map_to_numbers() {
        for (text, number) in [
            ("SIGINT", Some(2)),
            ("INT", Some(2)),
            ("sigint", Some(2)),
            (" 2 ", Some(2)),
            ("USR2", Some(libc::SIGUSR2)),
            ("SIGIOT", Some(libc::SIGABRT)),
            ("SIGRTMIN", Some(libc::SIGRTMIN())),
            ("SIGRTMIN+1", Some(libc::SIGRTMIN() + 1)),
            ("RTMAX-2", Some(libc::SIGRTMAX() - 2)),
            ("64", Some(64)),
            ("0", None),
            ("65", None),
            ("-9", None),
            ("", None),
            ("SIG", None),
            ("SIGNOPE", None),
            ("RTMIN-1", None),
            ("RTMIN+99", None),
            ("RTMIN+", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(by_name(text), number, "{text:?}");
        }
    }

    #[test]
    fn every_signal_number_round_trips() {
        for number in (1..=31).chain(libc::SIGRTMIN()..=libc::SIGRTMAX()) {
            assert_eq!(by_name(&name(number)), Some(number), "{}", name(number));
        }
        assert_eq!(name(libc::SIGABRT), "SIGABRT");
        assert_eq!(name(200), "200");
    }
}
