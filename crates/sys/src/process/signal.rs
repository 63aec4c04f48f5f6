//! Signals: names and numbers, and receiving them by a descriptor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

/// Asks a program to end, or to read its configuration again.
pub const HUP: i32 = libc::SIGHUP;
/// Asks a program to end, from a terminal.
pub const INT: i32 = libc::SIGINT;
/// Asks a program to end and to leave a core.
pub const QUIT: i32 = libc::SIGQUIT;
/// Ends a program without asking.
pub const KILL: i32 = libc::SIGKILL;
/// Has the meaning that a program gives it.
pub const USR1: i32 = libc::SIGUSR1;
/// Has the meaning that a program gives it.
pub const USR2: i32 = libc::SIGUSR2;
/// Asks a program to end.
pub const TERM: i32 = libc::SIGTERM;
/// Tells a parent that a child ended.
pub const CHLD: i32 = libc::SIGCHLD;
/// Lets what was stopped go on.
pub const CONT: i32 = libc::SIGCONT;
/// Stops a program without asking.
pub const STOP: i32 = libc::SIGSTOP;
/// Tells that a descriptor is ready.
pub const IO: i32 = libc::SIGIO;
/// Tells that the machine loses its power.
pub const PWR: i32 = libc::SIGPWR;
/// Tells that something urgent came over a socket; ignored where nobody asks for it.
pub const URG: i32 = libc::SIGURG;
/// Asks a program to stop for a while, from a terminal.
pub const TSTP: i32 = libc::SIGTSTP;
/// Tells that the terminal has another size.
pub const WINCH: i32 = libc::SIGWINCH;

/// Standard signals of this platform; where a number has two names the first is the one shown.
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

/// Number of a signal given as people do: `SIGINT`, `INT`, `sigint`, `2`, `SIGRTMIN+1`, `RTMAX-2`. `None` = no such signal.
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

/// Name of a signal with its `SIG`: `SIGINT`, `SIGRTMIN+1`; the bare number for one without a name.
pub fn name(signal: i32) -> String {
    match NAMES.iter().find(|&&(_, number)| number == signal) {
        Some((name, _)) => format!("SIG{name}"),
        None if signal == libc::SIGRTMIN() => "SIGRTMIN".into(),
        None if (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&signal) => format!("SIGRTMIN+{}", signal - libc::SIGRTMIN()),
        None => signal.to_string(),
    }
}

/// Signals that arrive at a descriptor instead of a handler. They stay blocked in this thread for good, also after this is dropped
/// (and in an image that replaces this process).
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

/// One signal received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub signal: i32,
    /// Pid of the sender, 0 = the kernel.
    pub pid: i32,
    /// Real uid of the sender.
    pub uid: u32,
}

impl SignalFd {
    /// Blocks the signals in this thread and receives them from now on (nonblocking, CLOEXEC). Call it before other threads start.
    ///
    /// # Errors
    /// `EMFILE`/`ENFILE`.
    pub fn new(signals: &[i32]) -> Result<Self, Errno> {
        let set = block(signals);
        // SAFETY: a valid set.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(crate::process::last_errno());
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The next signal, `None` when there is none now. Several of one kind may have been merged into one.
    pub fn next(&self) -> Option<Received> {
        const BYTES: usize = size_of::<libc::signalfd_siginfo>();
        let mut info = std::mem::MaybeUninit::<libc::signalfd_siginfo>::uninit();
        loop {
            // SAFETY: the buffer has room for one record; the kernel writes whole records only.
            let n = unsafe { libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), BYTES) };
            if n == BYTES as isize {
                // SAFETY: just filled.
                let info = unsafe { info.assume_init() };
                return Some(Received {
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

/// Signals that this process may be ignoring, a bit each: asked once, since then kept by [`ignore`], because nobody else here changes a
/// disposition. A bit too many costs [`crate::spawn()`] one call; asking each time costs it sixty-four.
static IGNORED: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new((1..=64).filter(|&s| is_ignored(s)).map(bit).sum()));

fn bit(signal: i32) -> u64 {
    u32::try_from(signal - 1).ok().and_then(|n| 1u64.checked_shl(n)).unwrap_or(0)
}

/// Asks the kernel itself: glibc does not tell of the two signals that it keeps for itself.
fn is_ignored(signal: i32) -> bool {
    const SIGSET_BYTES: usize = 8;
    // The handler is the first word of the kernel's `struct sigaction` on the architectures that we know; elsewhere handlers and
    // ignored signals are reset one by one anyway.
    let mut action = [0usize; 16];
    // SAFETY: the buffer is larger than what the kernel writes.
    let asked = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, std::ptr::null::<usize>(), action.as_mut_ptr(), SIGSET_BYTES) };
    asked == 0 && action[0] == libc::SIG_IGN
}

/// Signals that programs started by us have to have reset.
pub(crate) fn ignored() -> u64 {
    IGNORED.load(Ordering::Relaxed)
}

/// Ignores a signal in this process. Programs started by [`crate::spawn()`] have it at its default nevertheless.
pub fn ignore(signal: i32) {
    IGNORED.fetch_or(bit(signal), Ordering::Relaxed);
    // SAFETY: setting a disposition without a handler.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Gives a signal its default disposition; one that our parent ignored is ignored otherwise.
pub fn reset(signal: i32) {
    // SAFETY: setting a disposition without a handler.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Stops this process as Ctrl-Z does, also where that signal is blocked ([`SignalFd`]), until it is let go on. Where nobody could let it go on (no shell with
/// jobs), nothing happens: the kernel sees to that.
pub fn stop_self() {
    reset(TSTP);
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set; the signal goes to this thread, which is stopped with all others when it is unblocked.
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
    // SAFETY: `sigemptyset` initialises the set; unknown numbers are refused without harm.
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
        // SAFETY: both sets have the size the kernel is told.
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
    fn names_and_numbers() {
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
    fn every_number_survives_the_way_back() {
        for number in (1..=31).chain(libc::SIGRTMIN()..=libc::SIGRTMAX()) {
            assert_eq!(by_name(&name(number)), Some(number), "{}", name(number));
        }
        assert_eq!(name(libc::SIGABRT), "SIGABRT");
        assert_eq!(name(200), "200");
    }
}
