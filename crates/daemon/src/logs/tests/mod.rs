//! Pipelines with real pipes and real files.
#![allow(clippy::unwrap_used)]

mod killed;
mod lines;
mod speed;
mod successor;
mod trouble;

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::control::PipelineEnd;
use super::testing::Folder;
use super::*;

/// Longest wait for anything.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// Descriptors that the keeper would hold, and the app's ends of the pipes.
pub(super) struct Rig {
    pub folder: Folder,
    pub out: Option<File>,
    pub error: Option<File>,
    pipes: [OwnedFd; 2],
    holding: OwnedFd,
    record: Arc<OwnedFd>,
    slot: u32,
    files: OpenFiles,
    reports: (mpsc::Sender<WriterReport>, mpsc::Receiver<WriterReport>),
}

impl Rig {
    pub(super) fn new(name: &str) -> Self {
        let record = rustix::fs::memfd_create("record", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        Self::with(Folder::new(name), Arc::new(record), 0, OpenFiles::default())
    }

    /// Returns another instance beside this one: same record, same files.
    pub(super) fn sibling(&self, slot: u32) -> Self {
        Self::with(Folder::new("sibling"), Arc::clone(&self.record), slot, self.files.clone())
    }

    fn with(folder: Folder, record: Arc<OwnedFd>, slot: u32, files: OpenFiles) -> Self {
        let ((out, out_write), (error, error_write)) = (log_pipe().unwrap(), log_pipe().unwrap());
        Self {
            folder,
            out: Some(out_write.into()),
            error: Some(error_write.into()),
            pipes: [out, error],
            holding: holding_pipe().unwrap(),
            record,
            slot,
            files,
            reports: mpsc::channel(),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// Returns a configuration with `out.log` and `error.log`, without a combined file.
    pub(super) fn config(&self, format: Format) -> Config {
        let sender = self.reports.0.clone();
        Config {
            name: "test".into(),
            out: Some(self.path("out.log")),
            error: Some(self.path("error.log")),
            combined: None,
            shown: [None, None],
            format: format.into(),
            pipes: [self.pipes[0].try_clone().unwrap(), self.pipes[1].try_clone().unwrap()],
            holding: self.holding.try_clone().unwrap(),
            is_holding_lost: false,
            record: self.record.try_clone().unwrap(),
            slot: self.slot,
            files: self.files.clone(),
            runtime: RuntimeStreams { home: self.folder.path().to_owned(), ..RuntimeStreams::default() },
            report: Arc::new(move |report| drop(sender.send(report))),
        }
    }

    pub(super) fn write(&mut self, text: impl AsRef<[u8]>) {
        self.out.as_mut().unwrap().write_all(text.as_ref()).unwrap();
    }

    pub(super) fn complain(&mut self, text: impl AsRef<[u8]>) {
        self.error.as_mut().unwrap().write_all(text.as_ref()).unwrap();
    }

    /// Ends the app.
    pub(super) fn end(&mut self) {
        self.out = None;
        self.error = None;
    }

    /// Waits for the next report of this kind.
    pub(super) fn wait_for(&self, wanted: impl Fn(&WriterReport) -> bool) -> WriterReport {
        let deadline = Instant::now() + LONG;
        loop {
            let report = self.reports.1.recv_timeout(deadline.saturating_duration_since(Instant::now())).expect("a report in time");
            if wanted(&report) {
                return report;
            }
        }
    }

    pub(super) fn reports(&self) -> Vec<WriterReport> {
        self.reports.1.try_iter().collect()
    }

    pub(super) fn wait_for_text(&self, name: &str, wanted: &str) {
        until(|| self.text(name) == wanted, || format!("{name}: wanted {wanted:?}, found {:?}", self.text(name)));
    }
}

pub(super) fn until(condition: impl Fn() -> bool, what: impl Fn() -> String) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "{}", what());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns a format with the same date for every line.
pub(super) fn dated(date: &'static str) -> Format {
    Format::Dated(Box::new(move |_, out| out.extend_from_slice(date.as_bytes())))
}

/// Takes over a pipeline as a daemon takes over from its predecessor.
pub(super) fn take_over(config: Config) -> Handle {
    Pipeline::prepare(config).unwrap().start().unwrap()
}
