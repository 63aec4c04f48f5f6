//! The listening socket while the daemon cannot start: every client that connects gets the reason.

use std::io::Read;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use ostler_sys::time::clock;

use super::Daemon;
use super::failures::REFUSED_FROM;
use crate::keeper::Keeper;
use crate::link::message::HELD_SOCKET;

/// Minimum delay before a client's connection triggers another start.
const ASKED_DELAY_MS: u64 = 1_000;

impl Keeper {
    /// Watches the listening socket while the daemon cannot start, so that every client that
    /// connects gets the reason.
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

    /// Handles clients that connect while there is no daemon. The keeper tries one more start,
    /// unless the last try was a moment ago.
    pub(crate) fn on_clients_waiting(&mut self) {
        let now = clock::boot_ms();
        let Daemon::Absent { start_at_ms } = &mut self.daemon else { return };
        if now.saturating_sub(self.failures.last_ms) >= ASKED_DELAY_MS && self.undead.is_empty() {
            *start_at_ms = now;
            return;
        }
        let text = format!(
            "the daemon cannot start (tried {} times): {}; retrying; apps keep running",
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

/// Returns the waiting clients.
fn waiting_at(socket: BorrowedFd<'_>) -> Vec<UnixStream> {
    // This bounds the clients per turn; the next turn accepts the rest.
    std::iter::from_fn(|| ostler_sys::net::socket::accept(socket).ok().flatten()).take(64).map(UnixStream::from).collect()
}

/// Answers a hello and closes. It reads the client's data first, because unread data would turn the
/// close into a connection reset.
fn send_refusal(mut stream: &UnixStream, answer: &[u8]) {
    let _ = stream.read(&mut [0; 4096]);
    // A short answer fits into any socket, and a client that has gone needs no answer.
    let _ = rustix::io::write(stream, answer);
}

/// Returns the answer to hello that gives the reason why there is no daemon. It has the format of
/// the native protocol: a length, then JSON (`ostler-proto`'s `frame` and `control`). The keeper
/// sends no other message to clients.
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
