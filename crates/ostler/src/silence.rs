//! What a command does while nothing at all comes from the daemon: it finds out who does not answer, says so once, has the keeper look at the
//! daemon, and goes on waiting for a bounded time. A daemon that is only busy with a long request answers hello on another connection at
//! once, and is waited for as long as it takes.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ostler_keeper::{DOUBT_SIGNAL, HOME_VAR, PID_FILE, ROLE_VAR};
use ostler_sys::process::{ProcRef, activity};
use ostler_sys::tree::{Entry, ProcTable, marker};

/// Nothing at all for so long: then it is looked who does not answer.
const FIRST: Duration = Duration::from_secs(1);
/// A daemon that was found to be busy is looked at again after twice the time, up to this.
const LONGEST: Duration = Duration::from_secs(15);
/// Who has been silent for so long will not answer: by then the keeper would have replaced the daemon.
const GIVE_UP: Duration = Duration::from_secs(60);
/// As above, when the keeper cannot help.
const GIVE_UP_ALONE: Duration = Duration::from_secs(5);
/// Time for the answer to a hello on another connection.
const HELLO_WITHIN: Duration = Duration::from_secs(1);

/// Said once in a call, however many connections it makes.
static SAID: AtomicBool = AtomicBool::new(false);
static SAID_OF_KEEPER: AtomicBool = AtomicBool::new(false);

/// The silence of a connection on which an answer is owed.
#[derive(Debug)]
pub(crate) struct Silence {
    since: Instant,
    look_at: Instant,
    interval: Duration,
    /// The daemon does not turn; until then an answer is waited for.
    until: Option<Instant>,
}

/// What is to be done after a look.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Wait on.
    Wait,
    /// No answer will come; who, in words.
    GiveUp(String),
}

impl Silence {
    /// From now on.
    pub(crate) fn begin() -> Self {
        let now = Instant::now();
        Self { since: now, look_at: now + FIRST, interval: FIRST, until: None }
    }

    /// Something came.
    pub(crate) fn broken(&mut self) {
        *self = Self::begin();
    }

    /// How long to wait before [`Silence::look`].
    pub(crate) fn left(&self) -> Duration {
        self.look_at.saturating_duration_since(Instant::now())
    }

    /// The time is over and nothing came. `greeted` = this connection has had its answer to hello, so the daemon may just be busy;
    /// `turns` = asks on another connection whether it answers, within this time.
    pub(crate) fn look(&mut self, home: &Path, keeper: Option<i32>, turns: Option<&dyn Fn(Duration) -> bool>) -> Verdict {
        let now = Instant::now();
        if turns.is_some_and(|turns| turns(HELLO_WITHIN)) {
            self.until = None;
            self.interval = (self.interval * 2).min(LONGEST);
            self.look_at = Instant::now() + self.interval;
            if let Some(keeper) = keeper.filter(|&keeper| is_stopped(keeper) && !SAID_OF_KEEPER.swap(true, Ordering::Relaxed)) {
                say(&format!(
                    "the keeper (pid {keeper}) has not answered for {} s: it was stopped by a signal and nothing can be started or stopped; \
                     `kill -CONT {keeper}` lets it go on, apps go on meanwhile",
                    self.since.elapsed().as_secs()
                ));
            }
            return Verdict::Wait;
        }
        let Some(until) = self.until else {
            let found = Found::of(home, keeper);
            let helps = found.call_for_help();
            if !SAID.swap(true, Ordering::Relaxed) {
                say(&format!("{}; {}", found.who(self.since.elapsed()), found.what_is_done()));
            }
            self.until = Some(now + if helps { GIVE_UP } else { GIVE_UP_ALONE });
            self.look_at = now + FIRST;
            return Verdict::Wait;
        };
        if now < until {
            self.look_at = now + FIRST;
            return Verdict::Wait;
        }
        Verdict::GiveUp(Found::of(home, keeper).who(self.since.elapsed()))
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

    /// Has the keeper look at the daemon; whether there is one that can.
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

/// A line for people on standard error, whatever is wanted on standard output.
fn say(text: &str) {
    // Nobody to tell is no reason to fail.
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
