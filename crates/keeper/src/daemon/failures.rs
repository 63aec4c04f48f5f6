//! Failures of a daemon that does not get as far as its loop, or dies of a fault of its own soon after: how long to wait before the next, what to answer
//! whoever asks meanwhile, and whether it was always over the same record.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use ostler_sys::{Ending, time::clock};

use crate::daemon::Daemon;
use crate::link::Packet;
use crate::link::codec::decode;
use crate::link::message::{HELD_SOCKET, ToKeeper};
use crate::run::{Keeper, complain};

/// Failures in a row that are no accident: from then on whoever connects gets the reason instead of waiting.
const REFUSED_FROM: u32 = 3;
/// Failures in a row over the same record, after which it is to be set aside.
const POISON_FROM: u32 = 3;
const FIRST_DELAY_MS: u64 = 20;
const MAX_DELAY_MS: u64 = 30_000;
/// Shortest wait before it is tried again for somebody who asks.
const ASKED_DELAY_MS: u64 = 1_000;
/// Life after which a daemon was well.
const WELL_AFTER_MS: u64 = 10_000;

/// Recent failures of daemons; pure.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    count: u32,
    /// Record that the last one was at, and how many in a row were.
    record: Option<u32>,
    same: u32,
    /// Reason why the last one ended, in its own words.
    reason: String,
    last_ms: u64,
    /// Whether the last one had reached its loop before.
    was_up: bool,
}

impl Failures {
    /// Counts one more; returns how long to wait before the next start.
    pub(crate) fn failed(&mut self, record: Option<u32>, reason: String, was_up: bool, now_ms: u64) -> u64 {
        self.was_up = was_up;
        self.same = if record.is_some() && record == self.record { self.same + 1 } else { 1 };
        (self.record, self.reason, self.last_ms) = (record, reason, now_ms);
        self.count = self.count.saturating_add(1);
        match self.count {
            1 => 0,
            n => FIRST_DELAY_MS.checked_shl(n - 2).unwrap_or(MAX_DELAY_MS).min(MAX_DELAY_MS),
        }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The record that is to be set aside.
    pub(crate) fn poison(&self) -> Option<u32> {
        self.record.filter(|_| self.same >= POISON_FROM)
    }

    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// Notes that the daemon has reached its loop: what kept others from it is over, and what was to be set aside has been.
    fn up(&mut self) {
        if !self.was_up || self.poison().is_some() {
            *self = Self::default();
        }
    }
}

/// Report of a daemon about itself.
pub(crate) enum DaemonReport {
    Up,
    At(Option<u32>),
    Why(Option<u32>, String),
}

/// The report in a packet of a daemon that has ended.
pub(crate) fn decode_report(packet: &Packet) -> Option<DaemonReport> {
    match decode::<ToKeeper>(&packet.payload) {
        Ok(ToKeeper::Ready) => Some(DaemonReport::Up),
        Ok(ToKeeper::At { record }) => Some(DaemonReport::At(record)),
        Ok(ToKeeper::DeathReport { record, text }) => Some(DaemonReport::Why(record, text)),
        _ => None,
    }
}

/// Reports of a daemon about itself, for the case that it dies.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// Time at which it reached its loop.
    up_ms: Option<u64>,
    /// Record that it is at.
    record: Option<u32>,
    /// Reason of its end.
    reason: Option<String>,
    pub(crate) ending: Option<Ending>,
}

impl Life {
    /// The life of a daemon that another keeper started.
    pub(crate) fn taken_over() -> Self {
        Self { up_ms: Some(clock::boot_ms()), ..Self::default() }
    }

    /// Takes a report.
    pub(crate) fn take(&mut self, report: DaemonReport) {
        match report {
            DaemonReport::Up => self.up_ms = Some(clock::boot_ms()),
            DaemonReport::At(record) => self.record = record,
            DaemonReport::Why(record, reason) => {
                self.record = record.or(self.record);
                self.reason = Some(reason);
            }
        }
    }

    fn in_words(&self) -> String {
        if let Some(reason) = &self.reason {
            return reason.clone();
        }
        match self.ending {
            Some(Ending::Code(code)) => format!("it ended with code {code} and without a word; see pm2.log"),
            Some(Ending::Signal { signal, .. }) => format!("it was ended by {}", ostler_sys::process::signal::name(signal)),
            Some(Ending::Unknown) | None => "it ended without a word; see pm2.log".to_owned(),
        }
    }
}

impl Keeper {
    /// Takes a report of the daemon.
    pub(crate) fn on_daemon_report(&mut self, report: DaemonReport) {
        let Daemon::Running(running) = &mut self.daemon else { return };
        if matches!(report, DaemonReport::Up) {
            running.watchdog.on_answer();
            self.failures.up();
        }
        running.life.take(report);
    }

    /// Judges the death of a daemon that was not to end: how long to wait before the next.
    pub(crate) fn delay_after(&mut self, life: &Life, now_ms: u64) -> u64 {
        if life.up_ms.is_some_and(|up| now_ms.saturating_sub(up) > WELL_AFTER_MS) {
            self.failures = Failures::default();
        }
        // One that was well and is killed from outside is back at once.
        if life.up_ms.is_some() && life.reason.is_none() && life.record.is_none() {
            return self.respawn.died(now_ms);
        }
        let delay = self.failures.failed(life.record, life.in_words(), life.up_ms.is_some(), now_ms);
        if self.failures.count() >= REFUSED_FROM {
            let later = if delay >= 1000 { format!("in {} s", delay / 1000) } else { "at once".to_owned() };
            complain(&format!(
                "the daemon ended {} times, before it was ready or soon after: {}; next try {later}, or when a command is given; apps go on",
                self.failures.count(),
                self.failures.reason()
            ));
        }
        delay
    }

    /// Watches the listening socket while there is no daemon for a reason: whoever connects gets that reason.
    pub(crate) fn update_door(&mut self) {
        let open = matches!(self.daemon, Daemon::Absent { .. }) && self.failures.count() >= REFUSED_FROM && self.exiting.is_none();
        if open == self.door_open {
            return;
        }
        let Some(socket) = self.held.get(HELD_SOCKET) else { return };
        if open {
            self.door_open = self.watch_door(socket).is_ok();
        } else {
            self.unwatch(socket);
            self.door_open = false;
        }
    }

    /// Handles a client that wants to talk to the daemon that is not there: it is tried once more, unless that was a moment ago.
    pub(crate) fn somebody_knocks(&mut self) {
        let now = clock::boot_ms();
        let Daemon::Absent { start_at_ms } = &mut self.daemon else { return };
        if now.saturating_sub(self.failures.last_ms) >= ASKED_DELAY_MS && self.undead.is_empty() {
            *start_at_ms = now;
            return;
        }
        let text = format!(
            "the daemon cannot start (tried {} times): {}; it is tried again, apps go on",
            self.failures.count(),
            self.failures.reason()
        );
        let answer = refusal(&text);
        let Some(socket) = self.held.get(HELD_SOCKET) else { return };
        for stream in waiting_at(socket) {
            send_refusal(&stream, &answer);
        }
    }
}

/// Clients that wait.
fn waiting_at(socket: BorrowedFd<'_>) -> Vec<UnixStream> {
    let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
    // As many as a turn may take; the others have theirs next.
    std::iter::from_fn(|| rustix::net::accept_with(socket.as_fd(), flags).ok()).take(64).map(UnixStream::from).collect()
}

/// Answers a hello and closes. What the client sent is read before, or the end would come as an error.
fn send_refusal(mut stream: &UnixStream, answer: &[u8]) {
    let _ = stream.read(&mut [0; 4096]);
    // A short answer fits into any socket, and whoever is gone needs none.
    let _ = rustix::io::write(stream, answer);
}

/// The answer to hello that says why there is no daemon, as the native protocol has it: a length, then JSON (`ostler-proto`'s `frame` and
/// `control`). The one thing that the keeper sends to clients.
pub fn refusal(text: &str) -> Vec<u8> {
    use std::fmt::Write as _;
    let mut quoted = String::new();
    for c in text.chars().take(2000) {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if u32::from(c) < 0x20 => drop(write!(quoted, "\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    let body = format!(r#"{{"id":0,"response":{{"failed":{{"other":"{quoted}"}}}}}}"#);
    let len = u32::try_from(body.len()).unwrap_or(0);
    [&len.to_le_bytes(), body.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_waits_longer_than_the_one_before() {
        let mut failures = Failures::default();
        let delays: Vec<u64> = (0..14).map(|_| failures.failed(None, String::new(), false, 0)).collect();
        assert_eq!(delays, [0, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 20480, 30000, 30000]);
        assert_eq!(failures.poison(), None, "nobody knows over what");
        for _ in 0..100 {
            assert!(failures.failed(None, String::new(), false, 0) <= MAX_DELAY_MS);
        }
    }

    #[test]
    fn only_what_is_fatal_again_and_again_is_poison() {
        let mut failures = Failures::default();
        for (record, poison) in [(7, None), (7, None), (8, None), (7, None), (7, None), (7, Some(7))] {
            failures.failed(Some(record), String::new(), true, 0);
            assert_eq!(failures.poison(), poison);
        }
        failures.up();
        assert_eq!((failures.poison(), failures.count()), (None, 0), "set aside once");
        // Killed while it began, now and then: that is forgotten as soon as one is up.
        failures.failed(Some(7), String::new(), false, 0);
        failures.up();
        assert_eq!(failures.count(), 0);
    }
}
