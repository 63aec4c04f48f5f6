//! Source of the shown data: the current table from the daemon, and the past from its files. It
//! runs on its own thread.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ostler_client::{Client, ClientError};
use ostler_core::home::home_paths::HomePaths;
use ostler_history::QueryResult;
use ostler_proto::control::TableRow;

use crate::commands::metrics_history::{App, MetricsHistory};

/// Time between two tables, and between two reads of the past.
const TABLE_INTERVAL: Duration = Duration::from_secs(2);
const HISTORY_INTERVAL: Duration = Duration::from_secs(10);
/// Longest wait for the daemon.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Points of a series: a wide terminal has about this number of columns for them.
const POINTS: u64 = 60;

/// An app with its CPU and memory use in the past.
pub(super) type AppHistory = (App, QueryResult, QueryResult);

/// Data from one instant.
#[derive(Debug)]
pub(super) struct Sample {
    /// Wall clock, ms.
    pub(super) at_ms: u64,
    /// The table, or the reason why it is missing.
    pub(super) now: Result<Vec<TableRow>, String>,
    /// The past, if it was read; none = unchanged.
    pub(super) past: Option<Vec<AppHistory>>,
    /// Whether files of the past exist.
    pub(super) has_past: bool,
}

impl Sample {
    /// Returns the reason why there is nothing to show; none = there is something to show.
    pub(super) fn nothing(&self) -> Option<String> {
        match &self.now {
            Err(problem) if !self.has_past => Some(problem.clone()),
            _ => None,
        }
    }
}

/// The thread, and the samples that it sends.
pub(super) struct Source {
    samples: Receiver<Sample>,
    bell: UnixStream,
}

impl Source {
    /// Starts the thread, which takes samples repeatedly from now on. Signals must be blocked
    /// before: the thread would receive unblocked signals.
    ///
    /// # Errors
    /// Returns an error if a thread or descriptor cannot be created.
    pub(super) fn start(mut reader: Reader) -> io::Result<Self> {
        let (sender, samples) = channel();
        let (bell, ring) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ring.set_nonblocking(true)?;
        std::thread::Builder::new().name("top".into()).spawn(move || reader.go_on(&sender, &ring))?;
        Ok(Self { samples, bell })
    }

    /// Returns a descriptor that is readable when a sample has arrived.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Returns the samples that have arrived.
    pub(super) fn take(&mut self) -> Vec<Sample> {
        let mut bytes = [0; 64];
        while self.bell.read(&mut bytes).is_ok_and(|count| count > 0) {}
        self.samples.try_iter().collect()
    }
}

/// Reader of the daemon's table and of the past.
pub(super) struct Reader {
    home: PathBuf,
    since_ms: u64,
    sampled: Option<Instant>,
    has_past: bool,
}

impl Reader {
    pub(super) fn new(home: PathBuf, since_ms: u64) -> Self {
        Self { home, since_ms, sampled: None, has_past: false }
    }

    /// Takes one sample.
    pub(super) fn sample(&mut self) -> Sample {
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let mut past = None;
        if self.sampled.is_none_or(|sampled| sampled.elapsed() >= HISTORY_INTERVAL) {
            self.sampled = Some(Instant::now());
            let read = MetricsHistory::read(&self.home, self.since_ms, at_ms, POINTS).map(|past| past.usage());
            self.has_past = read.is_ok();
            past = Some(read.unwrap_or_default());
        }
        Sample { at_ms, now: table(&self.home).map_err(|error| error.to_string()), past, has_past: self.has_past }
    }

    /// Takes samples repeatedly, until the receiver is gone.
    fn go_on(&mut self, sender: &Sender<Sample>, mut ring: &UnixStream) {
        loop {
            std::thread::sleep(TABLE_INTERVAL);
            if sender.send(self.sample()).is_err() {
                return;
            }
            // If the pipe is full, it is readable anyway.
            let _ = ring.write(&[1]);
        }
    }
}

/// Returns the table of a home's daemon.
///
/// # Errors
/// Returns an error if the daemon does not answer.
pub(super) fn table(home: &Path) -> Result<Vec<TableRow>, ClientError> {
    let mut client = Client::connect(HomePaths::socket(home))?.read_only();
    client.limit(RESPONSE_TIMEOUT);
    client.table()
}
