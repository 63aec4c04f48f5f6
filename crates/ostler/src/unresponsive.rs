//! Reaction of a command while the daemon sends nothing. It finds out which process does not
//! answer, prints that once, and has the keeper check the daemon. [`ostler_client`] decides how
//! long it waits.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ostler_client::SilenceHandler;
use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use ostler_keeper::{DOUBT_SIGNAL, HOME_VAR, ROLE_VAR, keeper_by_lock};
use ostler_sys::process::ProcessEntry;
use ostler_sys::process::signal::CONT;
use ostler_sys::process::tree::{ProcTable, marker};
use ostler_sys::process::{Activity, ProcRef, activity};

/// Whether the message was printed: once per call, for any number of connections.
static WARNED: AtomicBool = AtomicBool::new(false);
static WARNED_OF_KEEPER: AtomicBool = AtomicBool::new(false);

/// Time after which the command no longer waits for a keeper that is stopped or traced. The daemon
/// replaces such a keeper within some seconds if it can.
const GIVE_UP_KEEPER: Duration = Duration::from_secs(10);
/// Time limit for a keeper that is blocked in the kernel, which a slow disk may cause for a while.
const GIVE_UP_BLOCKED: Duration = Duration::from_secs(40);

/// Check of keeper and daemon of a home, which informs the user.
pub(crate) struct DaemonWatch {
    home: PathBuf,
    /// Keeper that does nothing while the daemon waits for it.
    idle: Option<IdleKeeper>,
}

/// Keeper that did nothing at each check.
struct IdleKeeper {
    keeper: i32,
    found: Activity,
    /// Length of the silence at the first check.
    since: Duration,
}

impl DaemonWatch {
    /// Creates the check for this home.
    pub(crate) fn at(home: &Path) -> Self {
        Self { home: home.to_owned(), idle: None }
    }
}

impl SilenceHandler for DaemonWatch {
    fn busy(&mut self, silent: Duration, keeper: Option<i32>) -> bool {
        let found = keeper.and_then(|keeper| Some((keeper, stuck_activity(keeper)?)));
        let Some((keeper, found)) = found else {
            self.idle = None;
            return true;
        };
        let since = match &self.idle {
            Some(idle) if idle.keeper == keeper && idle.found == found => idle.since,
            _ => silent,
        };
        self.idle = Some(IdleKeeper { keeper, found, since });
        // A keeper that is blocked right now may recover soon, so nothing is printed.
        if found.state != b'D' && !WARNED_OF_KEEPER.swap(true, Ordering::Relaxed) {
            print(&message!("{status}; the daemon replaces it if possible; apps keep running", status = keeper_status(keeper, silent)));
        }
        silent.saturating_sub(since) < if found.state == b'D' { GIVE_UP_BLOCKED } else { GIVE_UP_KEEPER }
    }

    fn unanswered(&mut self, silent: Duration, keeper: Option<i32>) -> bool {
        let found = HomeProcesses::of(&self.home, keeper);
        let helps = found.call_for_help();
        if !WARNED.swap(true, Ordering::Relaxed) {
            print(&format!("{}; {}", found.daemon_status(silent), found.next_step()));
        }
        helps
    }

    fn give_up(&mut self, silent: Duration, keeper: Option<i32>) -> String {
        if let Some(idle) = &self.idle {
            return message!("{problem}; hint: {hint}", problem = keeper_status(idle.keeper, silent), hint = remedy(idle.keeper));
        }
        let found = HomeProcesses::of(&self.home, keeper);
        message!("{problem}; hint: {hint}", problem = found.daemon_status(silent), hint = found.next_step())
    }
}

/// Keeper and daemon of a home, from the process table of the kernel.
struct HomeProcesses {
    keeper: Option<ProcRef>,
    daemon: Option<ProcessEntry>,
    standby: Option<ProcRef>,
}

impl HomeProcesses {
    fn of(home: &Path, keeper: Option<i32>) -> Self {
        let keeper = keeper_of(home).or_else(|| keeper.and_then(|pid| ProcRef::of(pid).ok()));
        let daemon = daemon_of(home, keeper);
        let standby = if keeper.is_none() && daemon.is_none() { standby_of(home) } else { None };
        Self { keeper, daemon, standby }
    }

    fn keeper_runs(&self) -> bool {
        self.keeper.is_some_and(|keeper| keeper.exists() && !is_stopped(keeper.pid))
    }

    /// Asks the keeper to check the daemon. If only a stopped standby is left, it is continued.
    /// Returns true if one of them can help.
    fn call_for_help(&self) -> bool {
        match (self.keeper, self.standby) {
            (Some(keeper), _) => self.keeper_runs() && keeper.signal(DOUBT_SIGNAL).is_ok(),
            (None, Some(standby)) => standby.signal(CONT).is_ok(),
            (None, None) => false,
        }
    }

    fn daemon_status(&self, silent: Duration) -> String {
        let daemon = match &self.daemon {
            Some(entry) => {
                message!(
                    "the daemon (pid {pid}) has not answered for {seconds} s: {state}",
                    pid = entry.pid,
                    seconds = silent.as_secs(),
                    state = describe_state(entry.pid)
                )
            }
            None => message!("no response for {seconds} s: the daemon is not running", seconds = silent.as_secs()),
        };
        match self.keeper {
            Some(keeper) if is_stopped(keeper.pid) => {
                message!("{daemon}, and its keeper (pid {pid}) was stopped by a signal, too", daemon, pid = keeper.pid)
            }
            Some(_) => daemon,
            None => message!("{daemon}, and its keeper was not found", daemon),
        }
    }

    fn next_step(&self) -> String {
        match (&self.daemon, self.keeper) {
            (_, Some(keeper)) if self.keeper_runs() => {
                message!("the keeper (pid {pid}) replaces it if it hangs; apps keep running", pid = keeper.pid)
            }
            (_, Some(keeper)) => message!("`kill -CONT {pid}` resumes it, and it restarts the daemon; apps keep running", pid = keeper.pid),
            (Some(daemon), None) => {
                message!("`kill -9 {pid}` kills it, and the next command starts a new one; apps keep running", pid = daemon.pid)
            }
            (None, None) => match self.standby {
                Some(standby) => message!("the standby (pid {pid}) takes over; apps keep running", pid = standby.pid),
                None => message!("the next command starts a new one; apps keep running"),
            },
        }
    }
}

fn describe_state(pid: i32) -> &'static str {
    translated(match activity(pid).map(|found| found.state) {
        Ok(b'T') => marked!("it was stopped by a signal (SIGSTOP)"),
        Ok(b't') => marked!("it is stopped by a debugger"),
        Ok(b'D') => marked!("it is blocked in the kernel by a disk or a network file system"),
        Ok(b'R') => marked!("it is busy or waits for a CPU"),
        Ok(b'Z' | b'X') | Err(_) => marked!("it has just exited"),
        Ok(_) => marked!("it is sleeping"),
    })
}

/// Returns the activity of a process that does nothing: stopped, traced, or blocked in the kernel.
fn stuck_activity(pid: i32) -> Option<Activity> {
    activity(pid).ok().filter(|found| matches!(found.state, b'T' | b't' | b'D'))
}

/// Returns the message about a keeper for which the daemon waits.
fn keeper_status(keeper: i32, silent: Duration) -> String {
    message!(
        "the keeper (pid {keeper}) has not answered for {seconds} s: {state}, and no app can be started or stopped",
        keeper,
        seconds = silent.as_secs(),
        state = describe_state(keeper)
    )
}

/// Returns the remedy for a keeper that does nothing.
fn remedy(keeper: i32) -> String {
    match activity(keeper).map(|found| found.state) {
        Ok(b't') => message!("detach the debugger (or strace) from it"),
        Ok(b'D') => message!("see `dmesg` for the disk or file system that does not answer"),
        _ => message!("`kill -CONT {keeper}` resumes it", keeper),
    }
}

/// Returns the fault of a keeper that is stopped or traced; in this state no app can be started,
/// restarted or stopped. Returns none if it is neither. Also returns none if the keeper is in
/// another pid namespace, where its pid has no meaning here.
pub(crate) fn keeper_fault(keeper: i32) -> Option<KeeperFault> {
    let is_keeper = marker(keeper, ROLE_VAR).is_some_and(|role| role == b"keeper");
    let found = stuck_activity(keeper).filter(|found| is_keeper && found.state != b'D')?;
    let found = if found.state == b'T' {
        message!(
            "the keeper (pid {keeper}) is stopped by a signal (SIGSTOP): until it runs again, no app is started, restarted or stopped",
            keeper
        )
    } else {
        message!("the keeper (pid {keeper}) is stopped by a debugger: until it runs again, no app is started, restarted or stopped", keeper)
    };
    Some(KeeperFault { found, remedy: remedy(keeper) })
}

/// See [`keeper_fault`].
pub(crate) struct KeeperFault {
    /// The problem.
    pub found: String,
    /// Remedy, if the daemon does not replace it within some seconds.
    pub remedy: String,
}

fn is_stopped(pid: i32) -> bool {
    activity(pid).is_ok_and(|found| found.state == b'T')
}

/// Prints a line for users on standard error, whatever the format on standard output.
fn print(text: &str) {
    // If stderr has no reader, this is no failure.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Returns the keeper of a home: the process that its lock names, if that process is a keeper.
pub(crate) fn keeper_of(home: &Path) -> Option<ProcRef> {
    keeper_by_lock(home).filter(|keeper| marker(keeper.pid, ROLE_VAR).is_some_and(|role| role == b"keeper"))
}

/// Returns the stopped standby of a home.
fn standby_of(home: &Path) -> Option<ProcRef> {
    let has = |pid: i32, name: &str, value: &[u8]| marker(pid, name).is_some_and(|found| found == value);
    let of_home =
        |entry: &&ProcessEntry| has(entry.pid, ROLE_VAR, b"anchor") && has(entry.pid, HOME_VAR, home.as_os_str().as_encoded_bytes());
    ProcTable::scan().entries().iter().filter(|entry| entry.state == b'T').find(of_home).map(ProcessEntry::process)
}

/// Returns the daemon of a home: the child of its keeper, or a daemon that outlived another keeper.
pub(crate) fn daemon_of(home: &Path, keeper: Option<ProcRef>) -> Option<ProcessEntry> {
    let table = ProcTable::scan();
    let is_daemon = |pid: i32| marker(pid, ROLE_VAR).is_some_and(|role| role == b"daemon");
    let own = keeper.and_then(|keeper| table.children_of(keeper.pid).find(|entry| is_daemon(entry.pid)).copied());
    let of_home = |pid: i32| marker(pid, HOME_VAR).is_some_and(|value| value == home.as_os_str().as_encoded_bytes());
    own.or_else(|| table.entries().iter().find(|entry| is_daemon(entry.pid) && of_home(entry.pid)).copied())
}
