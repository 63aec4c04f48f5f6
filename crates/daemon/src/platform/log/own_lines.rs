//! Copies of the daemon's log lines on the container's error output.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

/// Most bytes that are kept for a reader that does not read: all of it is in the log as well.
const KEPT_BYTES: usize = 64 << 10;
/// Bytes that a pipe accepts without blocking when `poll` reports it writable.
const PIECE: usize = 4096;

/// Lines for standard error. The daemon never waits for their reader.
#[derive(Debug)]
pub(crate) struct OwnLines {
    stderr: File,
    /// True if a write would block without room, so `poll` precedes it.
    polls_first: bool,
    json: bool,
    pending: Vec<u8>,
}

impl OwnLines {
    /// Opens the output.
    ///
    /// # Errors
    ///
    /// Returns an error if the system has no more descriptors.
    pub(crate) fn new(json: bool) -> std::io::Result<Self> {
        let ours = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?;
        let ours = File::from(ours);
        // Non-blocking mode is shared with other processes that have the descriptor, so the output
        // is opened again, if that is allowed. A file is not, because its offset is shared.
        let reopen = || {
            let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
            OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open("/proc/self/fd/2")
        };
        let again = if ours.metadata()?.is_file() { None } else { Some(reopen()) };
        let (stderr, asks) = match again {
            None => (ours, false),
            Some(Ok(again)) => (again, false),
            Some(Err(_)) => (ours, true),
        };
        Ok(Self { stderr, polls_first: asks, json, pending: Vec::new() })
    }

    /// Adds one line, in the form of the log or as a JSON object.
    pub(crate) fn push(&mut self, line: &[u8], label: &str, text: &str, wall_ms: u64) {
        if self.pending.len() > KEPT_BYTES {
            return;
        }
        if !self.json {
            self.pending.extend_from_slice(line);
            return;
        }
        self.object(&serde_json::json!({ "message": text, "timestamp": iso(wall_ms), "type": label }));
    }

    /// Adds an event of an app, in PM2's form, only for JSON output.
    pub(crate) fn event(&mut self, event: &str, app: &str, wall_ms: u64) {
        if self.json && self.pending.len() <= KEPT_BYTES {
            self.object(&serde_json::json!({ "timestamp": iso(wall_ms), "type": "process_event", "status": event, "app_name": app }));
        }
    }

    fn object(&mut self, object: &serde_json::Value) {
        self.pending.extend_from_slice(object.to_string().as_bytes());
        self.pending.push(b'\n');
    }

    /// Writes as much as fits without blocking.
    pub(crate) fn flush(&mut self) {
        while !self.pending.is_empty() {
            if self.polls_first && !self.has_room() {
                return;
            }
            let most = if self.polls_first { self.pending.len().min(PIECE) } else { self.pending.len() };
            match self.stderr.write(&self.pending[..most]) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The output has no reader.
                Err(_) => self.pending.clear(),
            }
        }
        self.pending = Vec::new();
    }

    fn has_room(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.stderr, PollFlags::OUT)], Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

fn iso(wall_ms: u64) -> String {
    let time = i64::try_from(wall_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
