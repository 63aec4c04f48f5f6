//! Supervisor of system calls: it answers the calls of ostler's processes in place of the kernel.
//!
//! Theory of operation: [`Supervisor::run`] starts a command through `ostler-fixture trapped`, which
//! installs a seccomp filter that notifies of every call (`ostler_sys::seccomp::traps`). Everything that the
//! command starts inherits the filter: keeper, standby, daemon, dashboard, apps. A thread of the
//! test receives each call, finds out which part of ostler made it, and lets the kernel execute it
//! or lets it fail.
//!
//! Why a notification and not the alternatives: a filter that returns an errno by itself cannot be
//! lifted, so it could not attack the start and the steady state separately, and it could not fail
//! every second call. It also covers every process below it. A debugger (`ptrace`) can do all that,
//! but ostler treats a keeper below a debugger differently, and a traced process reports other states
//! to its parent. With notifications, the processes run as usual, and a call costs about 10 µs. One
//! limit follows: the kernel allows one listener per process, so ostler cannot intercept the ports of an
//! app below a supervisor. Apps that need that are not part of the scenario.

mod calls;
mod parts;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ostler_sys::seccomp::calls::{Answer, CallListener};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::fixtures::fixture;
use crate::home::Cmd;
use crate::output::{Output, code_of, plain};

pub use calls::{call_name, call_number};
use parts::Known;
pub use parts::Part;

/// Calls that are never trapped: the kernel cannot refuse them, or libraries treat an error as a bug
/// of the program (`futex`).
pub const UNTRAPPED: &[&str] = &["rt_sigreturn", "futex", "getpid", "gettid", "getppid", "sched_yield"];

/// Which of the matching calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// All of them, as a sandbox or an exhausted machine does it.
    Always,
    /// The first one of each pair. A kernel reports an interruption or a temporary shortage, and
    /// then the same call succeeds.
    Alternating,
}

/// Fault of one call in one part of ostler.
#[derive(Clone, Copy, Debug)]
pub struct CallFault {
    /// The part.
    pub part: Part,
    /// Number of the call.
    pub call: i64,
    /// The error that the call returns.
    pub errno: Errno,
    /// Which calls fail.
    pub pattern: Pattern,
}

#[derive(Debug, Default)]
struct State {
    fault: Option<CallFault>,
    /// Number of matching calls since the fault was injected, and how many of them failed.
    matched: u64,
    failed: u64,
    /// Number of calls by part.
    seen: BTreeMap<(Part, i64), u64>,
    /// Listeners that the responder does not serve yet.
    fresh: Vec<CallListener>,
    stop: bool,
}

/// Answers the calls of the commands that run below it.
#[derive(Debug)]
pub struct Supervisor {
    state: Arc<Mutex<State>>,
    wake: File,
    responder: Option<JoinHandle<()>>,
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::start()
    }
}

impl Supervisor {
    /// Starts a supervisor without a fault.
    pub fn start() -> Self {
        let (ours, wake) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let responder = thread::spawn(move || respond(&shared, File::from(ours)));
        Self { state, wake: wake.into(), responder: Some(responder) }
    }

    /// Injects a fault, in place of the former one.
    pub fn inject(&self, fault: CallFault) {
        let mut state = locked(&self.state);
        (state.fault, state.matched, state.failed) = (Some(fault), 0, 0);
    }

    /// Lifts the fault. Returns how many calls have failed.
    pub fn lift(&self) -> u64 {
        let mut state = locked(&self.state);
        state.fault = None;
        state.failed
    }

    /// Returns how many calls have failed since the fault was injected.
    pub fn failed(&self) -> u64 {
        locked(&self.state).failed
    }

    /// Returns the number of calls of each part so far.
    pub fn seen(&self) -> BTreeMap<(Part, i64), u64> {
        locked(&self.state).seen.clone()
    }

    /// Runs a command below the supervisor. Returns `None` if it does not exit within the limit; it
    /// is killed then.
    pub fn run(&self, command: Cmd<'_>, line: &str, limit: Duration) -> Option<Output> {
        run_below(command.wrapped([fixture(), "trapped".into()]), line, limit, |child| self.adopt(child))
    }

    /// Copies the listener of a process that has just installed its filter.
    fn adopt(&self, child: &mut Child) {
        let pid = i32::try_from(child.id()).unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        let listener = loop {
            if let Some(listener) = listener_of(pid) {
                break listener;
            }
            assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "process {pid} installs no filter");
            thread::sleep(Duration::from_millis(1));
        };
        locked(&self.state).fresh.push(listener.into());
        (&self.wake).write_all(b"w").unwrap();
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        locked(&self.state).stop = true;
        drop((&self.wake).write_all(b"s"));
        if let Some(responder) = self.responder.take() {
            drop(responder.join());
        }
    }
}

/// Runs a command to its end, with its output in files: a process that keeps the output open does
/// not delay the result. Returns `None` if it does not exit within the limit.
pub fn run_within(command: Cmd<'_>, line: &str, limit: Duration) -> Option<Output> {
    run_below(command, line, limit, |_| {})
}

fn run_below(command: Cmd<'_>, line: &str, limit: Duration, started: impl FnOnce(&mut Child)) -> Option<Output> {
    let mut files = [memory_file(), memory_file()];
    let [out, err] = files.each_ref().map(|file| Stdio::from(file.try_clone().unwrap()));
    let begun = Instant::now();
    let mut child = command.command().stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap();
    started(&mut child);
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if begun.elapsed() > limit => {
                drop(child.kill());
                drop(child.wait());
                return None;
            }
            None => thread::sleep(Duration::from_millis(4)),
        }
    };
    let [stdout, stderr] = files.each_mut().map(text_of);
    Some(Output { line: line.to_owned(), code: code_of(status), stdout, stderr, elapsed: begun.elapsed() })
}

fn memory_file() -> File {
    rustix::fs::memfd_create("output", rustix::fs::MemfdFlags::CLOEXEC).unwrap().into()
}

fn text_of(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let _ = rustix::fs::seek(&*file, rustix::fs::SeekFrom::Start(0));
    drop(file.read_to_end(&mut bytes));
    plain(&bytes)
}

fn listener_of(pid: i32) -> Option<OwnedFd> {
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let is_listener = |path: &Path| fs::read_link(path).is_ok_and(|target| target.as_os_str() == "anon_inode:seccomp notify");
    let entry = folder.flatten().find(|entry| is_listener(&entry.path()))?;
    let number = entry.file_name().to_str()?.parse().ok()?;
    let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    pidfd_getfd(process, number, PidfdGetfdFlags::empty()).ok()
}

/// Answers calls until the supervisor is dropped.
fn respond(state: &Mutex<State>, mut wake: File) {
    let mut listeners: Vec<CallListener> = Vec::new();
    let mut known = Known::default();
    loop {
        let ready: Vec<bool> = {
            let mut fds = vec![PollFd::new(&wake, PollFlags::IN)];
            fds.extend(listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)));
            if poll(&mut fds, None).is_err() {
                continue;
            }
            fds.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        if ready.first() == Some(&true) {
            drop(wake.read(&mut [0; 16]));
            let mut state = locked(state);
            if state.stop {
                return;
            }
            listeners.append(&mut state.fresh);
            continue;
        }
        let mut at = 0;
        listeners.retain(|listener| {
            at += 1;
            ready.get(at) != Some(&true) || serve(listener, state, &mut known)
        });
    }
}

/// Answers the calls that wait. Returns false if no process is left.
fn serve(listener: &CallListener, state: &Mutex<State>, known: &mut Known) -> bool {
    // After these calls, other listeners are served.
    for _ in 0..64 {
        let call = match listener.receive_syscall() {
            Ok(Some(call)) => call,
            Ok(None) => return true,
            Err(_) => return false,
        };
        let part = known.part_of(&call);
        let answer = match part {
            Some(part) => locked(state).answer(part, call.number),
            None => Answer::Continue,
        };
        // A process that was killed does not wait any more.
        let _ = listener.answer(call.id, answer);
    }
    true
}

impl State {
    fn answer(&mut self, part: Part, call: i64) -> Answer {
        *self.seen.entry((part, call)).or_default() += 1;
        let Some(fault) = self.fault.filter(|fault| fault.part == part && fault.call == call) else { return Answer::Continue };
        self.matched += 1;
        if fault.pattern == Pattern::Alternating && self.matched.is_multiple_of(2) {
            return Answer::Continue;
        }
        self.failed += 1;
        Answer::Fail(fault.errno)
    }
}

/// Role `trapped` of the fixture: installs the filter, and executes the program.
pub fn trapped(words: &[String]) -> std::io::Error {
    use std::os::unix::process::CommandExt;
    let except: Vec<i64> = UNTRAPPED.iter().filter_map(|name| call_number(name)).collect();
    let Some((program, arguments)) = words.split_first() else { return std::io::ErrorKind::InvalidInput.into() };
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    match ostler_sys::seccomp::traps::trap_own_calls(&except) {
        // The descriptor closes when the program is executed.
        Ok(_listener) => command.exec(),
        Err(errno) => errno.into(),
    }
}
