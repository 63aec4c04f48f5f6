//! The daemon's own log, in PM2's form: `<date>: PM2 log: <text>`, `<date>: PM2 error: <text>`.

mod own_lines;

use std::collections::BTreeSet;
use std::fmt::Arguments;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use ostler_core::logs::date_format::DateFormat;

pub(crate) use ostler_core::text::causes::with_causes as chain;

pub(crate) use own_lines::OwnLines;

/// Size up to which ordinary lines are collected within a turn of the loop.
const COLLECT_BYTES: usize = 16 << 10;

/// Most copies of lines that are kept within a turn.
const MOST_COPIES: usize = 10_000;

/// Writer of lines to `pm2.log`. A line that cannot be written is lost: the log must never be a
/// reason to fail.
///
/// Ordinary lines are written when the turn has done its work ([`DaemonLog::flush`]), so that no
/// disk delays the next start of an app.
#[derive(Debug)]
pub(crate) struct DaemonLog {
    path: PathBuf,
    file: Option<File>,
    pending: Vec<u8>,
    /// Length of the file, as far as the daemon has written it.
    bytes: u64,
    date: DateFormat,
    zone: TimeZone,
    logged_once: BTreeSet<&'static str>,
    /// Texts of new lines for followers of the log over a socket; `None` without followers.
    copies: Option<Vec<String>>,
    /// Copy of the lines on the container's error output, if ostler runs as its main program.
    own_lines: Option<OwnLines>,
}

impl DaemonLog {
    pub(crate) fn new(path: PathBuf, date_format: &str) -> Self {
        let (date, zone) = (DateFormat::parse(date_format), TimeZone::system());
        let mut log = Self {
            path,
            file: None,
            pending: Vec::new(),
            bytes: 0,
            date,
            zone,
            logged_once: BTreeSet::new(),
            copies: None,
            own_lines: None,
        };
        log.reopen();
        log
    }

    /// Also shows the lines on the container's error output.
    pub(crate) fn show(&mut self, own_lines: OwnLines) {
        self.own_lines = Some(own_lines);
    }

    /// Starts or stops keeping copies of lines.
    pub(crate) fn copy_lines(&mut self, wanted: bool) {
        match &self.copies {
            Some(_) if !wanted => self.copies = None,
            None if wanted => self.copies = Some(Vec::new()),
            _ => {}
        }
    }

    /// Takes the kept copies of lines.
    pub(crate) fn take_copies(&mut self) -> Vec<String> {
        self.copies.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Writes an event of an app to the container's error output.
    pub(crate) fn event(&mut self, event: &str, app: &str) {
        if let Some(own) = &mut self.own_lines {
            own.event(event, app, ostler_sys::now().wall_ms);
        }
    }

    /// Reopens the file after it was renamed.
    pub(crate) fn reopen(&mut self) {
        self.flush();
        self.file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path).ok();
        self.bytes = self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| if meta.is_file() { meta.len() } else { 0 });
    }

    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Returns true if the file is larger than this, counting written bytes.
    pub(crate) fn is_larger_than(&self, bytes: u64) -> bool {
        self.bytes + self.pending.len() as u64 >= bytes
    }

    /// Writes one ordinary line.
    pub(crate) fn line(&mut self, text: Arguments<'_>) {
        self.write("PM2 log", text);
        if self.pending.len() > COLLECT_BYTES {
            self.flush();
        }
    }

    /// Writes one line about a problem that a person should know.
    pub(crate) fn error(&mut self, text: Arguments<'_>) {
        self.write("PM2 error", text);
        self.flush();
    }

    /// Writes collected lines.
    pub(crate) fn flush(&mut self) {
        if let Some(file) = self.file.as_mut().filter(|_| !self.pending.is_empty()) {
            let _ = file.write_all(&self.pending);
            self.bytes += self.pending.len() as u64;
        }
        self.pending.clear();
        self.pending.shrink_to(1024);
        if let Some(own) = &mut self.own_lines {
            own.flush();
        }
    }

    /// Writes an error only once per topic, for errors that would repeat with each turn of the
    /// loop.
    pub(crate) fn error_once(&mut self, topic: &'static str, text: Arguments<'_>) {
        if self.logged_once.insert(topic) {
            self.error(text);
        }
    }

    fn write(&mut self, label: &str, text: Arguments<'_>) {
        let line = &mut self.pending;
        let start = line.len();
        let wall_ms = ostler_sys::now().wall_ms;
        self.date.write(wall_ms, &self.zone, line);
        if line.len() > start {
            line.extend_from_slice(b": ");
        }
        // A name with a newline must not be able to forge a line.
        let text = text.to_string().replace(['\n', '\r'], " ");
        line.extend_from_slice(label.as_bytes());
        line.extend_from_slice(b": ");
        line.extend_from_slice(text.as_bytes());
        line.push(b'\n');
        if let Some(copies) = self.copies.as_mut().filter(|copies| copies.len() < MOST_COPIES) {
            copies.push(text.clone());
        }
        if let Some(own) = &mut self.own_lines {
            own.push(&line[start..], label, &text, wall_ms);
        }
    }
}

impl Drop for DaemonLog {
    fn drop(&mut self) {
        self.flush();
    }
}
