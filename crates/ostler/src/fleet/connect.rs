//! Connections to hosts: a limited number at a time, with their output and their end.

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

/// Longest line of a host that arrives in one piece.
const MAX_LINE_BYTES: usize = 16 << 10;

/// Pieces that wait for the receiver. A host that sends more is blocked until some were taken.
const QUEUED_LINES: usize = 256;

/// Longest time between two checks whether the output still has a reader.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Options that close a hanging connection, unless the host's own options set others. The connect
/// timeout also covers the server's first bytes.
const OPTIONS: [&str; 3] = ["ConnectTimeout=10", "ServerAliveInterval=10", "ServerAliveCountMax=3"];

/// News of a host.
pub(super) enum HostEvent {
    /// A piece of its output: a line with its end, or as much of the line as fits.
    Out(Vec<u8>),
    /// A piece of its error output.
    Err(Vec<u8>),
    /// The connection broke. A script that is sent back is run over a new connection; if the sender
    /// is dropped, the host is given up.
    Lost(SyncSender<String>),
    /// The connection is over: with this exit code of `ssh`, or because `ssh` could not be run.
    End(io::Result<i32>),
}

/// Receiver of the hosts' events, on the caller's thread.
pub(super) trait HostListener {
    /// Handles an event of the host with this number.
    fn on_event(&mut self, host: usize, event: HostEvent);
    /// Does the work that is due; returns the time until the next work is due.
    fn on_tick(&mut self) -> Option<Duration> {
        None
    }
    /// Returns true if the output has no reader any more: all connections are then closed.
    fn is_over(&self) -> bool;
}

/// Rules for connections.
#[derive(Clone, Copy)]
pub(super) struct ConnectRules {
    /// Most connections at a time.
    pub parallel: usize,
    /// Whether a broken connection is reported as [`HostEvent::Lost`] and may be made again.
    pub reconnects: bool,
    /// Whether `ssh` may ask the user for a password.
    pub may_ask: bool,
}

/// Returns the `ssh` command to a host with this script, or the shell of this machine.
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

/// Running `ssh` processes by host, and whether they are to be stopped.
#[derive(Default)]
struct SshProcesses {
    pids: Mutex<HashMap<usize, u32>>,
    is_over: AtomicBool,
}

impl SshProcesses {
    fn pids(&self) -> MutexGuard<'_, HashMap<usize, u32>> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops all processes. A process stays in the table until it was reaped, so its pid is still
    /// its own.
    fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        for pid in self.pids().values() {
            if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
    }
}

/// Runs a script on each host of a range, and passes the output to the listener. Returns when all
/// hosts are done.
pub(super) fn run(
    members: &[Member],
    range: Range<usize>,
    script: &(dyn Fn(&Member) -> String + Sync),
    rules: ConnectRules,
    listener: &mut dyn HostListener,
) {
    let (sender, receiver) = sync_channel::<(usize, HostEvent)>(QUEUED_LINES);
    let next = AtomicUsize::new(range.start);
    let running = SshProcesses::default();
    thread::scope(|scope| {
        for _ in 0..rules.parallel.clamp(1, range.len().max(1)) {
            let (sender, next, running, range) = (sender.clone(), &next, &running, range.clone());
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let Some(member) = members.get(number).filter(|_| range.contains(&number)) else { return };
                    let sender = EventSender { number, sender: sender.clone() };
                    let end = host(member, script(member), rules, &sender, running);
                    sender.send(HostEvent::End(end));
                }
            });
        }
        drop(sender);
        loop {
            let wait = listener.on_tick().unwrap_or(POLL_INTERVAL).min(POLL_INTERVAL);
            match receiver.recv_timeout(wait) {
                Ok((host, event)) => listener.on_event(host, event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if listener.is_over() {
                running.end();
            }
        }
    });
}

/// Sender of a host's events to the listener.
#[derive(Clone)]
struct EventSender {
    number: usize,
    sender: SyncSender<(usize, HostEvent)>,
}

impl EventSender {
    fn send(&self, event: HostEvent) {
        // The receiver outlives all senders.
        let _ = self.sender.send((self.number, event));
    }
}

/// Runs the script on one host to its end, over as many connections as the listener wants.
fn host(member: &Member, mut script: String, rules: ConnectRules, sender: &EventSender, running: &SshProcesses) -> io::Result<i32> {
    let (mut was_there, mut in_vain) = (false, 0);
    loop {
        if running.is_over.load(Ordering::SeqCst) {
            return Ok(0);
        }
        let (code, has_output) = connection(member, &script, rules, sender, running)?;
        was_there |= has_output;
        if code != LOST || !rules.reconnects || !was_there || running.is_over.load(Ordering::SeqCst) {
            return Ok(code);
        }
        // A command that follows keeps trying: a host may be down for a long time.
        in_vain = if has_output { 0 } else { (in_vain + 1).min(5) };
        let (answer, wanted) = sync_channel(1);
        sender.send(HostEvent::Lost(answer));
        let Ok(again) = wanted.recv() else { return Ok(code) };
        script = again;
        pause(ssh::retry(true, in_vain).unwrap_or(POLL_INTERVAL), running);
    }
}

/// Waits, but stops early if the output has no reader any more.
fn pause(time: Duration, running: &SshProcesses) {
    let step = Duration::from_millis(100);
    let mut left = time;
    while !left.is_zero() && !running.is_over.load(Ordering::SeqCst) {
        thread::sleep(step.min(left));
        left = left.saturating_sub(step);
    }
}

/// Makes one connection. Returns its exit code, and whether any output arrived.
fn connection(member: &Member, script: &str, rules: ConnectRules, sender: &EventSender, running: &SshProcesses) -> io::Result<(i32, bool)> {
    let mut process = process(member, script, rules.may_ask, false);
    let mut child = process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    running.pids().insert(sender.number, child.id());
    if running.is_over.load(Ordering::SeqCst) {
        running.end();
    }
    let errors = child.stderr.take().map(|stderr| {
        let sender = sender.clone();
        thread::spawn(move || pieces(stderr, &mut |piece| sender.send(HostEvent::Err(piece))))
    });
    let mut has_output = false;
    if let Some(stdout) = child.stdout.take() {
        pieces(stdout, &mut |piece| {
            has_output = true;
            sender.send(HostEvent::Out(piece));
        });
    }
    errors.map(thread::JoinHandle::join);
    // The child stays unreaped until `wait` below, so its pid in the table is still its own.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let _ = pid.map(|pid| retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)));
    let mut pids = running.pids();
    let status = child.wait();
    pids.remove(&sender.number);
    Ok((status.ok().as_ref().and_then(ExitStatus::code).unwrap_or(LOST), has_output))
}

/// Reads to the end, line by line. A line that is too long arrives in pieces.
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
