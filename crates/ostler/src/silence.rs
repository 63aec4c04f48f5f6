//! Reaction of a command while nothing at all comes from the daemon: it finds out who does not answer, prints that once, and has the keeper look at
//! the daemon. How long it waits is decided in [`ostler_client`].

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ostler_client::OnSilence;
use ostler_keeper::{DOUBT_SIGNAL, HOME_VAR, PID_FILE, ROLE_VAR};
use ostler_sys::process::{ProcRef, activity};
use ostler_sys::tree::{Entry, ProcTable, marker};

/// Whether it was printed: once in a call, however many connections it makes.
static SAID: AtomicBool = AtomicBool::new(false);
static SAID_OF_KEEPER: AtomicBool = AtomicBool::new(false);

/// Looker at keeper and daemon of a home, which informs the user.
pub(crate) struct Look {
    home: PathBuf,
}

impl Look {
    /// A looker at this home.
    pub(crate) fn at(home: &Path) -> Self {
        Self { home: home.to_owned() }
    }
}

impl OnSilence for Look {
    fn busy(&mut self, silent: Duration, keeper: Option<i32>) {
        if let Some(keeper) = keeper.filter(|&keeper| is_stopped(keeper) && !SAID_OF_KEEPER.swap(true, Ordering::Relaxed)) {
            print(&format!(
                "the keeper (pid {keeper}) has not answered for {} s: it was stopped by a signal and nothing can be started or stopped; \
                 `kill -CONT {keeper}` lets it go on, apps go on meanwhile",
                silent.as_secs()
            ));
        }
    }

    fn unanswered(&mut self, silent: Duration, keeper: Option<i32>) -> bool {
        let found = Found::of(&self.home, keeper);
        let helps = found.call_for_help();
        if !SAID.swap(true, Ordering::Relaxed) {
            print(&format!("{}; {}", found.who(silent), found.what_is_done()));
        }
        helps
    }

    fn give_up(&mut self, silent: Duration, keeper: Option<i32>) -> String {
        Found::of(&self.home, keeper).who(silent)
    }
}

/// Keeper and daemon of a home as the kernel knows them.
struct Found {
    keeper: Option<ProcRef>,
    daemon: Option<Entry>,
}

impl Found {
    fn of(home: &Path, keeper: Option<i32>) -> Self {
        let keeper = keeper_of(home).or_else(|| keeper.and_then(|pid| ProcRef::of(pid).ok()));
        Self { keeper, daemon: daemon_of(home, keeper) }
    }

    fn keeper_runs(&self) -> bool {
        self.keeper.is_some_and(|keeper| keeper.exists() && !is_stopped(keeper.pid))
    }

    /// Has the keeper look at the daemon; returns whether there is one that can.
    fn call_for_help(&self) -> bool {
        self.keeper_runs() && self.keeper.is_some_and(|keeper| keeper.signal(DOUBT_SIGNAL).is_ok())
    }

    fn who(&self, silent: Duration) -> String {
        let daemon = match &self.daemon {
            Some(entry) => format!("the daemon (pid {}) has not answered for {} s: {}", entry.pid, silent.as_secs(), state(entry.pid)),
            None => format!("nobody has answered for {} s: there is no daemon", silent.as_secs()),
        };
        match self.keeper {
            Some(keeper) if is_stopped(keeper.pid) => format!("{daemon}, and its keeper (pid {}) was stopped by a signal, too", keeper.pid),
            Some(_) => daemon,
            None => format!("{daemon}, and its keeper was not found"),
        }
    }

    fn what_is_done(&self) -> String {
        match (&self.daemon, self.keeper) {
            (_, Some(keeper)) if self.keeper_runs() => {
                format!("the keeper (pid {}) looks at it and replaces one that does not turn; apps go on", keeper.pid)
            }
            (_, Some(keeper)) => format!("`kill -CONT {}` lets it go on, and it sees to the daemon; apps go on", keeper.pid),
            (Some(daemon), None) => format!("`kill -9 {}` ends it, and the next command starts another; apps go on", daemon.pid),
            (None, None) => "the next command starts another; apps go on".to_owned(),
        }
    }
}

fn state(pid: i32) -> &'static str {
    match activity(pid).map(|found| found.state) {
        Ok(b'T') => "it was stopped by a signal (SIGSTOP)",
        Ok(b't') => "a debugger holds it",
        Ok(b'D') => "it is blocked in the kernel by a disk or a network file system",
        Ok(b'R') => "it runs, or waits for a processor",
        Ok(b'Z' | b'X') | Err(_) => "it has just ended",
        Ok(_) => "it waits for something else",
    }
}

fn is_stopped(pid: i32) -> bool {
    activity(pid).is_ok_and(|found| found.state == b'T')
}

/// Prints a line for people on standard error, whatever is wanted on standard output.
fn print(text: &str) {
    // Nobody to read it is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The keeper of a home: the process of `pm2.pid`, if it is one.
pub(crate) fn keeper_of(home: &Path) -> Option<ProcRef> {
    let pid: i32 = std::fs::read_to_string(home.join(PID_FILE)).ok()?.trim().parse().ok()?;
    let process = ProcRef::of(pid).ok()?;
    marker(pid, ROLE_VAR).is_some_and(|role| role == b"keeper").then_some(process)
}

/// The daemon of a home: the child of its keeper, or one that outlived another keeper.
pub(crate) fn daemon_of(home: &Path, keeper: Option<ProcRef>) -> Option<Entry> {
    let table = ProcTable::scan();
    let is_daemon = |pid: i32| marker(pid, ROLE_VAR).is_some_and(|role| role == b"daemon");
    let own = keeper.and_then(|keeper| table.children_of(keeper.pid).find(|entry| is_daemon(entry.pid)).copied());
    let of_home = |pid: i32| marker(pid, HOME_VAR).is_some_and(|value| value == home.as_os_str().as_encoded_bytes());
    own.or_else(|| table.entries().iter().find(|entry| is_daemon(entry.pid) && of_home(entry.pid)).copied())
}
