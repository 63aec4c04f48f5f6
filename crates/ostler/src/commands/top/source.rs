//! What is shown, as it comes: the table of now from the daemon, the past from its files. On a thread of its own.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ostler_client::{Client, ClientError};
use ostler_core::home::home_paths::HomePaths;
use ostler_history::Answer;
use ostler_proto::control::TableRow;

use crate::commands::past::{App, Past};

/// Time between two tables, and between two looks at the past.
const TABLE: Duration = Duration::from_secs(2);
const PAST: Duration = Duration::from_secs(10);
/// Longest wait for the daemon.
const ANSWER: Duration = Duration::from_secs(5);
/// Figures of a series: as many as a wide terminal has columns for them.
const POINTS: u64 = 60;

/// What was learned at an instant.
#[derive(Debug)]
pub(super) struct Sample {
    /// Wall clock, ms.
    pub(super) at_ms: u64,
    /// The table; or why there is none.
    pub(super) now: Result<Vec<TableRow>, String>,
    /// The past, where it was looked at; none = as before.
    pub(super) past: Option<Vec<(App, Answer, Answer)>>,
    /// Whether a past is kept.
    pub(super) has_past: bool,
}

impl Sample {
    /// Why there is nothing to show; none = there is something.
    pub(super) fn nothing(&self) -> Option<String> {
        match &self.now {
            Err(problem) if !self.has_past => Some(problem.clone()),
            _ => None,
        }
    }
}

/// The thread, and what comes from it.
pub(super) struct Source {
    samples: Receiver<Sample>,
    bell: UnixStream,
}

impl Source {
    /// Looks again and again from now on. Signals have to be taken by then: the thread would get those that are not.
    ///
    /// # Errors
    /// There is no thread or descriptor to be had.
    pub(super) fn start(mut reader: Reader) -> io::Result<Self> {
        let (sender, samples) = channel();
        let (bell, ring) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ring.set_nonblocking(true)?;
        std::thread::Builder::new().name("top".into()).spawn(move || reader.go_on(&sender, &ring))?;
        Ok(Self { samples, bell })
    }

    /// Readable when something has come.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// What has come.
    pub(super) fn take(&mut self) -> Vec<Sample> {
        let mut bytes = [0; 64];
        while self.bell.read(&mut bytes).is_ok_and(|count| count > 0) {}
        self.samples.try_iter().collect()
    }
}

/// Looks at the daemon and at the past.
pub(super) struct Reader {
    home: PathBuf,
    since_ms: u64,
    looked: Option<Instant>,
    has_past: bool,
}

impl Reader {
    pub(super) fn new(home: PathBuf, since_ms: u64) -> Self {
        Self { home, since_ms, looked: None, has_past: false }
    }

    /// Looks once.
    pub(super) fn look(&mut self) -> Sample {
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let mut past = None;
        if self.looked.is_none_or(|looked| looked.elapsed() >= PAST) {
            self.looked = Some(Instant::now());
            let read = Past::read(&self.home, self.since_ms, at_ms, POINTS).map(|past| past.usage());
            self.has_past = read.is_ok();
            past = Some(read.unwrap_or_default());
        }
        Sample { at_ms, now: table(&self.home).map_err(|error| error.to_string()), past, has_past: self.has_past }
    }

    /// Looks again and again, until nobody takes it.
    fn go_on(&mut self, sender: &Sender<Sample>, mut ring: &UnixStream) {
        loop {
            std::thread::sleep(TABLE);
            if sender.send(self.look()).is_err() {
                return;
            }
            // A full one rings as well.
            let _ = ring.write(&[1]);
        }
    }
}

/// The table of a home's daemon.
///
/// # Errors
/// Nobody answers.
pub(super) fn table(home: &Path) -> Result<Vec<TableRow>, ClientError> {
    let mut client = Client::connect(HomePaths::socket(home))?.read_only();
    client.limit(ANSWER);
    client.table()
}
