//! Table of the matrix: errors, calls, phases, and the cells that are left out, with the reason.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use ostler_testkit::{CallFault, Part, Pattern, call_number};
use rustix::io::Errno;

/// Errors, with the calls that each makes fail. A kernel never repeats `EINTR` and `EAGAIN` without
/// end: a signal interrupts a call once, and a shortage that is reported as temporary ends. So every
/// second call fails with them, and a part that retries succeeds.
pub(crate) const ERRORS: [(&str, Errno, Pattern); 8] = [
    ("ENOSYS", Errno::NOSYS, Pattern::Always),
    ("EPERM", Errno::PERM, Pattern::Always),
    ("EINTR", Errno::INTR, Pattern::Alternating),
    ("EAGAIN", Errno::AGAIN, Pattern::Alternating),
    ("ENOMEM", Errno::NOMEM, Pattern::Always),
    ("EMFILE", Errno::MFILE, Pattern::Always),
    ("ENOSPC", Errno::NOSPC, Pattern::Always),
    ("EIO", Errno::IO, Pattern::Always),
];

/// Calls without cells. The kernel cannot refuse them, or only the C library and the language's
/// runtime make them, and treat each error as a fault of the program.
pub(crate) const LEFT_OUT: &[(&str, &str)] = &[
    ("arch_prctl", "the dynamic linker"),
    ("brk", "the kernel reports a failure by another result than an error"),
    ("close", "Linux closes the descriptor even if it reports an error; the runtime asserts that"),
    ("exit", "never returns"),
    ("exit_group", "never returns"),
    ("futex", "locks of the runtime; an error means a fault of the program"),
    ("getegid", "cannot fail"),
    ("geteuid", "cannot fail"),
    ("getgid", "cannot fail"),
    ("getpid", "cannot fail"),
    ("getppid", "cannot fail"),
    ("gettid", "cannot fail"),
    ("getuid", "cannot fail"),
    ("rseq", "the C library, at the start of a thread"),
    ("rt_sigaction", "fails only for an invalid signal"),
    ("rt_sigprocmask", "fails only for an invalid argument; libraries assert that"),
    ("rt_sigreturn", "never returns"),
    ("sched_yield", "cannot fail"),
    ("set_robust_list", "the C library, at the start of a thread"),
    ("set_tid_address", "cannot fail"),
    ("sigaltstack", "the runtime, at the start and the end of a thread; it panics on any error"),
    ("umask", "cannot fail"),
];

/// Errors without cells for a call, because Linux never returns them from it and the language's runtime or a
/// library asserts that.
pub(crate) const IMPOSSIBLE: &[(&str, &[&str], &str)] = &[
    (
        "getrandom",
        &["ENOMEM", "EMFILE", "ENOSPC", "EIO"],
        "the runtime has a fallback for a refused call, and asserts that no other error exists",
    ),
    (
        "wait4",
        &["ENOSYS", "EPERM", "EAGAIN", "ENOMEM", "EMFILE", "ENOSPC", "EIO"],
        "each process of Unix needs it; only an interruption is possible",
    ),
    ("epoll_pwait", &["ENOMEM", "EMFILE", "ENOSPC", "EIO", "EAGAIN"], "only an interruption and a refusal are possible"),
    ("epoll_wait", &["ENOMEM", "EMFILE", "ENOSPC", "EIO", "EAGAIN"], "only an interruption and a refusal are possible"),
    ("mmap", &["ENOSYS", "EINTR", "EMFILE", "ENOSPC", "EIO"], "no program starts without it; memory can only be short or locked"),
    ("munmap", &["ENOSYS", "EPERM", "EINTR", "EAGAIN", "EMFILE", "ENOSPC", "EIO"], "memory can only be short"),
    ("mprotect", &["ENOSYS", "EPERM", "EINTR", "EAGAIN", "EMFILE", "ENOSPC", "EIO"], "memory can only be short"),
];

/// Moment at which the fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// While the process already runs, with apps.
    Steady,
    /// From the beginning of a process that replaces a killed one, with running apps.
    Replaced,
    /// From the beginning of the first process in a new home.
    First,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Steady => "steady",
            Self::Replaced => "replaced",
            Self::First => "first",
        })
    }
}

/// Returns the phases of a part.
pub(crate) fn phases(part: Part) -> &'static [Phase] {
    match part {
        // A command has no steady state.
        Part::Command => &[Phase::Steady, Phase::First],
        Part::Child => &[Phase::Steady],
        Part::Dashboard => &[Phase::Steady, Phase::Replaced],
        // A standby is a copy of a running keeper.
        Part::Standby => &[Phase::Steady, Phase::Replaced],
        _ => &[Phase::Steady, Phase::Replaced, Phase::First],
    }
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) part: Part,
    pub(crate) phase: Phase,
    pub(crate) call: String,
    pub(crate) error: &'static str,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.part, self.phase, self.call, self.error)
    }
}

impl Cell {
    pub(crate) fn fault(&self) -> CallFault {
        let (_, errno, pattern) = *ERRORS.iter().find(|(name, ..)| *name == self.error).unwrap();
        CallFault { part: self.part, call: call_number(&self.call).unwrap(), errno, pattern }
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/faults")
}

/// File with the calls of each part: one line `part call`.
pub(crate) fn calls_file() -> PathBuf {
    folder().join("calls.txt")
}

/// Returns the lines of a file without comments.
fn lines(file: &str) -> Vec<String> {
    let text = fs::read_to_string(folder().join(file)).unwrap_or_default();
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// Returns true if the call has cells.
pub(crate) fn has_cells(call: &str) -> bool {
    !LEFT_OUT.iter().any(|(name, _)| *name == call)
}

fn is_possible(call: &str, error: &str) -> bool {
    !IMPOSSIBLE.iter().any(|(name, errors, _)| *name == call && errors.contains(&error))
}

/// Returns the recorded calls of a part.
pub(crate) fn calls(part: Part) -> Vec<String> {
    let name = part.to_string();
    lines("calls.txt").into_iter().filter_map(|line| Some(line.strip_prefix(&name)?.strip_prefix(' ')?.to_owned())).collect()
}

/// Returns all cells of a part, in the order of the table.
pub(crate) fn cells(part: Part) -> Vec<Cell> {
    let mut cells = Vec::new();
    for call in calls(part).into_iter().filter(|call| has_cells(call) && call_number(call).is_some()) {
        for phase in phases(part) {
            let errors = ERRORS.iter().filter(|(error, ..)| is_possible(&call, error));
            cells.extend(errors.map(|(error, ..)| Cell { part, phase: *phase, call: call.clone(), error }));
        }
    }
    cells
}

/// Returns the cells that are known to be red, each with its reason.
pub(crate) fn known_red() -> Vec<(String, String)> {
    let split = |line: String| line.split_once(": ").map(|(cell, reason)| (cell.to_owned(), reason.to_owned()));
    lines("red.txt").into_iter().filter_map(split).collect()
}

/// Cells that were red once because of a fault of ostler. Every run has them.
const FIXED: &[&str] = &[
    "daemon first accept4 EPERM",
    "daemon replaced accept4 ENOSYS",
    "daemon replaced clone3 ENOMEM",
    "daemon replaced openat ENOSPC",
    "daemon replaced prlimit64 EIO",
    "keeper first epoll_pwait EPERM",
    "keeper replaced prlimit64 EPERM",
    "keeper replaced prlimit64 EINTR",
    "keeper replaced pidfd_open ENOMEM",
    "keeper replaced epoll_ctl ENOSPC",
    "keeper replaced open EMFILE",
    "keeper steady epoll_pwait ENOSYS",
    "command first prlimit64 ENOSYS",
];

/// Returns the names of the cells that every run has.
pub(crate) fn fixed() -> Vec<String> {
    FIXED.iter().map(|cell| (*cell).to_owned()).collect()
}

/// Returns true if every run has the cell.
pub(crate) fn was_fixed(cell: &Cell) -> bool {
    FIXED.contains(&cell.to_string().as_str())
}

/// Most lines of `red.txt`. The number may only fall.
pub(crate) const MOST_RED: usize = 4;
