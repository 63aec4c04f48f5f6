//! Connections to hosts: so many at a time, what comes on them, how they end.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ostler_fleet::Member;
use ostler_fleet::ssh::{self, LOST};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// Longest line of a host that comes in one piece.
const MAX_LINE_BYTES: usize = 16 << 10;

/// Pieces that wait to be taken; a host that says more waits itself.
const WAITING: usize = 256;

/// Longest time between two looks whether somebody still reads.
const LOOK: Duration = Duration::from_secs(1);

/// What ends a connection that hangs, where the host's own options say nothing else. The time for connecting is also that for the first words
/// of the server.
const OPTIONS: [&str; 3] = ["ConnectTimeout=10", "ServerAliveInterval=10", "ServerAliveCountMax=3"];

/// News of a host.
pub(super) enum Said {
    /// A piece of its output: a line with its end, or as much of it as fits.
    Out(Vec<u8>),
    /// A piece of its error output.
    Err(Vec<u8>),
    /// The connection broke. Who sends a script is connected again with it; who drops this ends the host.
    Lost(SyncSender<String>),
    /// It ended: with this exit code of `ssh`, or because `ssh` could not be run.
    End(io::Result<i32>),
}

/// Receiver of what hosts say, on the thread of the caller.
pub(super) trait Listener {
    /// Takes news of the host with this number.
    fn on_said(&mut self, host: usize, said: Said);
    /// Does what is due; gives the time until the next thing is.
    fn on_tick(&mut self) -> Option<Duration> {
        None
    }
    /// True if nobody reads any more: all connections are ended.
    fn is_over(&self) -> bool;
}

/// How connections are made.
#[derive(Clone, Copy)]
pub(super) struct Way {
    /// Most at a time.
    pub parallel: usize,
    /// Whether a connection that broke is reported as [`Said::Lost`], and may be made again.
    pub comes_back: bool,
    /// Whether `ssh` may ask a person for a password.
    pub may_ask: bool,
}

/// The `ssh` to a host with this script, or the shell of this machine.
pub(super) fn process(member: &Member, script: &str, may_ask: bool, has_terminal: bool) -> Command {
    if member.is_local() {
        let mut process = Command::new("sh");
        process.args(["-c", script]);
        return process;
    }
    let home = std::env::var("HOME").ok();
    let ours: Vec<&str> = if may_ask { OPTIONS.to_vec() } else { OPTIONS.iter().copied().chain(["BatchMode=yes"]).collect() };
    let words = ssh::words(&member.login, &ours, has_terminal, &ssh::command(script), home.as_deref());
    let mut process = Command::new(words.first().map_or("ssh", String::as_str));
    process.args(words.get(1..).unwrap_or_default());
    process
}

/// Processes that run, by host, and whether they are to end.
#[derive(Default)]
struct Running {
    pids: Mutex<HashMap<usize, u32>>,
    is_over: AtomicBool,
}

impl Running {
    fn pids(&self) -> MutexGuard<'_, HashMap<usize, u32>> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all. A process is in the table until it was waited for, so its number is its own.
    fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        for pid in self.pids().values() {
            if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
    }
}

/// Runs a script on each host of a range; what comes of it goes to the listener. Returns when all have ended.
pub(super) fn run(
    members: &[Member],
    range: Range<usize>,
    script: &(dyn Fn(&Member) -> String + Sync),
    way: Way,
    listener: &mut dyn Listener,
) {
    let (sender, receiver) = sync_channel::<(usize, Said)>(WAITING);
    let next = AtomicUsize::new(range.start);
    let running = Running::default();
    thread::scope(|scope| {
        for _ in 0..way.parallel.clamp(1, range.len().max(1)) {
            let (sender, next, running, range) = (sender.clone(), &next, &running, range.clone());
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let Some(member) = members.get(number).filter(|_| range.contains(&number)) else { return };
                    let line = Line { number, sender: sender.clone() };
                    let end = host(member, script(member), way, &line, running);
                    line.say(Said::End(end));
                }
            });
        }
        drop(sender);
        loop {
            let wait = listener.on_tick().unwrap_or(LOOK).min(LOOK);
            match receiver.recv_timeout(wait) {
                Ok((host, said)) => listener.on_said(host, said),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if listener.is_over() {
                running.end();
            }
        }
    });
}

/// The way of a host's news to the listener.
#[derive(Clone)]
struct Line {
    number: usize,
    sender: SyncSender<(usize, Said)>,
}

impl Line {
    fn say(&self, said: Said) {
        // The receiver ends after all senders.
        let _ = self.sender.send((self.number, said));
    }
}

/// One host to its end, over as many connections as the listener wants.
fn host(member: &Member, mut script: String, way: Way, line: &Line, running: &Running) -> io::Result<i32> {
    let (mut was_there, mut in_vain) = (false, 0);
    loop {
        if running.is_over.load(Ordering::SeqCst) {
            return Ok(0);
        }
        let (code, came) = connection(member, &script, way, line, running)?;
        was_there |= came;
        if code != LOST || !way.comes_back || !was_there || running.is_over.load(Ordering::SeqCst) {
            return Ok(code);
        }
        // Who follows stays: a host may be down for long.
        in_vain = if came { 0 } else { (in_vain + 1).min(5) };
        let (answer, wanted) = sync_channel(1);
        line.say(Said::Lost(answer));
        let Ok(again) = wanted.recv() else { return Ok(code) };
        script = again;
        pause(ssh::retry(true, in_vain).unwrap_or(LOOK), running);
    }
}

/// Waits, but no longer than somebody reads.
fn pause(time: Duration, running: &Running) {
    let step = Duration::from_millis(100);
    let mut left = time;
    while !left.is_zero() && !running.is_over.load(Ordering::SeqCst) {
        thread::sleep(step.min(left));
        left = left.saturating_sub(step);
    }
}

/// One connection: its exit code, and whether anything came on it.
fn connection(member: &Member, script: &str, way: Way, line: &Line, running: &Running) -> io::Result<(i32, bool)> {
    let mut process = process(member, script, way.may_ask, false);
    let mut child = process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    running.pids().insert(line.number, child.id());
    if running.is_over.load(Ordering::SeqCst) {
        running.end();
    }
    let errors = child.stderr.take().map(|stderr| {
        let line = line.clone();
        thread::spawn(move || pieces(stderr, &mut |piece| line.say(Said::Err(piece))))
    });
    let mut came = false;
    if let Some(stdout) = child.stdout.take() {
        pieces(stdout, &mut |piece| {
            came = true;
            line.say(Said::Out(piece));
        });
    }
    errors.map(thread::JoinHandle::join);
    // It is still in the table, and its number its own, until it was taken note of below.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let _ = pid.map(|pid| retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)));
    let mut pids = running.pids();
    let status = child.wait();
    pids.remove(&line.number);
    Ok((status.ok().as_ref().and_then(ExitStatus::code).unwrap_or(LOST), came))
}

/// Reads to the end, line by line; one that is too long comes in pieces.
fn pieces(stream: impl Read, each: &mut dyn FnMut(Vec<u8>)) {
    let mut reader = BufReader::with_capacity(MAX_LINE_BYTES, stream);
    loop {
        let mut bytes = Vec::new();
        match reader.by_ref().take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) => each(bytes),
        }
    }
}
