//! Connection to the daemon. A thread follows its events, and reads its table every second while a
//! user watches. Otherwise it reads the table every ten seconds for the history. Queries and
//! commands of requests have connections of their own.

mod events;
mod follow;
mod query;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ostler_client::{Client, ClientError};
use ostler_core::home::home_paths::HomePaths;
use ostler_proto::control::{AppMessage, Event, Position};
use tokio::sync::{broadcast, watch};

pub(crate) use events::{EventUpdate, MissedEvents};
pub(crate) use query::{QueryError, SocketError};

use crate::clock::now_ms;
use crate::history::Recorder;
use crate::snapshot::{RecordedSnapshot, Snapshot};
use events::RecentEvents;

/// Number of updates by which a follower may lag before it loses some.
const BACKLOG: usize = 1024;

/// Number of waiting exception reports; beyond it, some are lost.
const REPORTS: usize = 64;

/// Number of waiting moments.
const MOMENTS: usize = 2;

/// Handle for all data about the daemon.
#[derive(Clone, Debug)]
pub(crate) struct Daemon(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    home: PathBuf,
    snapshot: watch::Sender<Arc<Snapshot>>,
    updates: broadcast::Sender<EventUpdate>,
    /// Exception reports of apps.
    reports: broadcast::Sender<Arc<AppMessage>>,
    /// Samples that the history records, for other receivers.
    recorded_snapshots: broadcast::Sender<Arc<RecordedSnapshot>>,
    recent: Mutex<RecentEvents>,
    /// Number of watchers.
    watchers: AtomicUsize,
    /// Number of requests for a fresh table.
    refresh_requests: AtomicU64,
    /// Records each table that was read.
    recorder: Recorder,
    /// Wakes the thread that follows the daemon.
    waker: Waker,
}

impl Daemon {
    /// Starts the thread that follows the daemon of this home.
    ///
    /// # Errors
    /// Returns an error if the thread or a descriptor cannot be created.
    pub(crate) fn follow(home: &Path, recorder: Recorder) -> std::io::Result<Self> {
        let (waker, wakes) = Waker::new()?;
        let shared = Arc::new(Shared {
            home: home.to_owned(),
            snapshot: watch::Sender::new(Arc::new(Snapshot { at_ms: now_ms(), ..Snapshot::default() })),
            updates: broadcast::Sender::new(BACKLOG),
            reports: broadcast::Sender::new(REPORTS),
            recorded_snapshots: broadcast::Sender::new(MOMENTS),
            recent: Mutex::default(),
            watchers: AtomicUsize::new(0),
            refresh_requests: AtomicU64::new(0),
            recorder,
            waker,
        });
        let thread_shared = Arc::clone(&shared);
        std::thread::Builder::new().name("daemon".into()).spawn(move || follow::run(&thread_shared, &wakes))?;
        Ok(Self(shared))
    }

    /// Starts watching: the table is read once a second until the last watcher is dropped.
    pub(crate) fn watch_table(&self) -> TableWatch {
        if self.0.watchers.fetch_add(1, Ordering::AcqRel) == 0 {
            self.0.waker.wake();
        }
        TableWatch { snapshots: self.0.snapshot.subscribe(), daemon: self.clone() }
    }

    /// Reads one table after this call, without starting to watch.
    pub(crate) async fn refresh_table(&self) -> Arc<Snapshot> {
        self.wait_for_refresh(self.0.snapshot.subscribe()).await
    }

    async fn wait_for_refresh(&self, mut snapshots: watch::Receiver<Arc<Snapshot>>) -> Arc<Snapshot> {
        const WITHIN: std::time::Duration = std::time::Duration::from_secs(5);
        let refresh = self.0.refresh_requests.fetch_add(1, Ordering::AcqRel) + 1;
        self.0.waker.wake();
        // The thread answers each request, even if the daemon does not respond.
        let answered = tokio::time::timeout(WITHIN, snapshots.wait_for(|snapshot| snapshot.refresh >= refresh));
        drop(answered.await);
        Arc::clone(&snapshots.borrow_and_update())
    }

    /// Returns a receiver for all tables that are read for any reason. It does not count as
    /// watching.
    pub(crate) fn tables(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.snapshot.subscribe()
    }

    /// Returns the last table that was read.
    pub(crate) fn latest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.snapshot.borrow())
    }

    /// Returns the recorder of the history.
    pub(crate) fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }

    /// Returns the known events, the newest last.
    pub(crate) fn events(&self) -> Vec<Arc<Event>> {
        self.0.recent().all()
    }

    /// Returns the events after this position (none = no past events), and a receiver for new ones.
    /// If the position is no longer known, returns all known events.
    pub(crate) fn since(&self, after: Option<Position>) -> (Vec<Arc<Event>>, broadcast::Receiver<EventUpdate>) {
        let recent = self.0.recent();
        let is_new = |event: &Arc<Event>| after.is_some_and(|after| event.epoch != after.epoch || event.seq > after.seq);
        (recent.all().into_iter().filter(is_new).collect(), self.0.updates.subscribe())
    }

    /// Returns the position up to which all events are known; none = the daemon has not answered
    /// yet.
    pub(crate) fn position(&self) -> Option<Position> {
        self.0.recent().position()
    }

    /// Resumes from a position. Returns the missed events, the position after them, and a receiver
    /// for new ones.
    pub(crate) fn resume(&self, after: Option<Position>) -> (MissedEvents, Option<Position>, broadcast::Receiver<EventUpdate>) {
        let recent = self.0.recent();
        // Both happen under the lock that is also held to add events, so no event falls between
        // them.
        (recent.after(after), recent.position(), self.0.updates.subscribe())
    }

    /// Returns a receiver for new events.
    pub(crate) fn updates(&self) -> broadcast::Receiver<EventUpdate> {
        self.0.updates.subscribe()
    }
}

impl Daemon {
    /// Returns a receiver for new exception reports.
    pub(crate) fn reports(&self) -> broadcast::Receiver<Arc<AppMessage>> {
        self.0.reports.subscribe()
    }

    /// Returns a receiver for new samples of the history.
    pub(crate) fn recorded_snapshots(&self) -> broadcast::Receiver<Arc<RecordedSnapshot>> {
        self.0.recorded_snapshots.subscribe()
    }
}

impl Shared {
    fn recent(&self) -> std::sync::MutexGuard<'_, RecentEvents> {
        // Entries are complete even if a thread panicked while it held the lock.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> Result<Client, ClientError> {
        Client::connect(HomePaths::socket(&self.home))
    }

    fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Acquire) > 0
    }
}

/// Watcher of the table.
#[derive(Debug)]
pub(crate) struct TableWatch {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    daemon: Daemon,
}

impl TableWatch {
    /// Returns the newest table.
    pub(crate) fn newest(&mut self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow_and_update())
    }

    /// Same as [`Snapshot::sees`] with the newest table.
    pub(crate) fn sees(&self, app: &str, instance: Option<u32>, sees: impl Fn(&str) -> bool) -> bool {
        self.snapshots.borrow().sees(app, instance, sees)
    }

    /// Waits for another table.
    pub(crate) async fn changed(&mut self) {
        if self.snapshots.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Reads a table after this call, so that a caller sees its own change.
    pub(crate) async fn refresh_table(&mut self) -> Arc<Snapshot> {
        self.daemon.wait_for_refresh(self.snapshots.clone()).await;
        self.newest()
    }
}

impl Drop for TableWatch {
    fn drop(&mut self) {
        self.daemon.0.watchers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Wakes the thread.
#[derive(Debug)]
struct Waker(std::os::unix::net::UnixStream);

impl Waker {
    fn new() -> std::io::Result<(Self, std::os::unix::net::UnixStream)> {
        let (one, other) = std::os::unix::net::UnixStream::pair()?;
        one.set_nonblocking(true)?;
        other.set_nonblocking(true)?;
        Ok((Self(one), other))
    }

    /// Wakes the thread. If the pipe is full, the thread wakes anyway.
    fn wake(&self) {
        use std::io::Write as _;
        let _ = (&self.0).write(&[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests_row as row;

    #[test]
    fn visibility_of_name_in_two_namespaces_follows_instance() {
        let rows = vec![row(1, "api", "prod", "online"), row(2, "api", "dev", "online"), row(3, "lab", "dev", "online")];
        let snapshot = Snapshot { rows, ..Snapshot::default() };
        let sees_dev = |app: &str, instance| snapshot.sees(app, instance, |namespace| namespace == "dev");
        for (app, instance, expected) in [
            ("lab", None, true),
            ("lab", Some(3), true),
            ("lab", Some(9), true),
            ("api", Some(2), true),
            ("api", Some(1), false),
            ("api", None, false),
            ("api", Some(9), false),
            ("api", Some(3), false),
            ("gone", Some(3), false),
        ] {
            assert_eq!(sees_dev(app, instance), expected, "{app} {instance:?}");
        }
        assert_eq!(
            (snapshot.namespace_of("lab").as_deref(), snapshot.namespace_of("api"), snapshot.namespace_of("gone")),
            (Some("dev"), None, None)
        );
    }
}
