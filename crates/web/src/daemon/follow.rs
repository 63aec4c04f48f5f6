//! Thread that follows the daemon. It receives events as they happen. It reads the table every
//! second while a user watches, and otherwise every ten seconds for the history.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ostler_client::{Client, ClientError, Notification};
use ostler_proto::control::{InstanceFigures, Request, Response, TableRow};
use ostler_sys::machine::host::HostSample;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{EventUpdate, RecordedSnapshot, Shared, Snapshot};
use crate::clock::now_ms;
use crate::snapshot::Host;
use crate::snapshot::ReportedMetrics;

/// Time between two tables while a user watches and no event arrives.
const TABLE: Duration = Duration::from_secs(1);
/// Minimum time between two tables.
const SOONEST: Duration = Duration::from_millis(100);
/// Time between two connection attempts to a missing daemon: while a user watches, and otherwise.
const AGAIN: Duration = Duration::from_millis(250);
const AGAIN_AT_REST: Duration = Duration::from_secs(5);
/// Maximum wait for the answer to a query.
const ANSWER: Duration = Duration::from_secs(10);
/// Time between two searches for instances with custom metrics, per hundred instances.
const SEARCH: Duration = Duration::from_secs(60);

/// Time between two releases of unused memory, which requests and the start have allocated.
const REST: Duration = Duration::from_secs(60);

/// Time for which Node apps keep measuring after a query, in ms. It is longer than the time between
/// two scrapes.
const COLLECT_MS: u64 = 90_000;

/// Topic of exception reports from apps.
const EXCEPTION: &str = "process:exception";

/// Follows the daemon until the process exits.
pub(super) fn run(shared: &Shared, wakes: &UnixStream) {
    let mut host = HostMetrics::default();
    let mut connections: Option<Connections> = None;
    let mut table_at = Instant::now();
    let mut reports = CustomMetrics::default();
    let mut answered = 0;
    let mut rest_at: Option<Instant> = None;
    loop {
        // Loaded before the query, so that the table is not older than the requests counted here.
        let refresh = shared.refresh_requests.load(Ordering::Acquire);
        if connections.is_none() {
            connections = Connections::new(shared).ok();
            if connections.is_none() {
                let snapshot = Snapshot { at_ms: now_ms(), refresh, host: host.take(), ..Snapshot::default() };
                if shared.recorder.is_due(snapshot.at_ms) {
                    shared.recorder.take(&snapshot, Some(&ReportedMetrics::default()), false);
                }
                shared.snapshot.send_replace(Arc::new(snapshot));
                answered = refresh;
            }
            table_at = Instant::now();
        }
        let now = Instant::now();
        let is_watched = shared.is_watched();
        let is_due = shared.recorder.is_due(now_ms());
        if let Some(client) = connections.as_mut()
            && (is_due || refresh != answered || is_watched && table_at <= now)
        {
            let table = client.table().and_then(|(rows, figures)| {
                let reported = if is_due { reports.query(client, rows.len())? } else { ReportedMetrics::default() };
                Ok((rows, figures, reported))
            });
            match table {
                Ok((rows, figures, reported)) => {
                    let peer = client.queries.peer().cloned();
                    let snapshot = Arc::new(Snapshot { at_ms: now_ms(), refresh, rows, figures, host: host.take(), peer });
                    // Published first, so that waiting requests continue while it is recorded.
                    shared.snapshot.send_replace(Arc::clone(&snapshot));
                    answered = refresh;
                    table_at = now + TABLE;
                    if is_due || is_watched {
                        shared.recorder.take(&snapshot, is_due.then_some(&reported), is_watched);
                    }
                    if is_due {
                        // An error means only that there is no receiver.
                        let _ = shared.recorded_snapshots.send(Arc::new(RecordedSnapshot { snapshot, reported }));
                    }
                }
                Err(_) => {
                    connections = None;
                    continue;
                }
            }
        }
        let longest = match (&connections, is_watched) {
            (Some(_), true) => table_at.saturating_duration_since(Instant::now()),
            (Some(_), false) => shared.recorder.due_in(now_ms()),
            (None, true) => AGAIN,
            (None, false) => AGAIN_AT_REST,
        };
        // The first time is after the first sample, when all periodic work has run once.
        let is_time = rest_at.map_or(is_due && connections.is_some(), |at| at <= Instant::now());
        if is_time && longest >= SOONEST {
            ostler_sys::memory::rest();
            rest_at = Some(Instant::now() + REST);
        }
        let woken = wait(wakes, connections.as_ref(), longest);
        if woken.waker {
            drain(wakes);
            table_at = table_at.min(Instant::now());
        }
        if woken.updates
            && let Some(client) = connections.as_mut()
        {
            match client.read(shared) {
                Ok(has_event) => {
                    if has_event {
                        table_at = table_at.min(now + SOONEST);
                    }
                }
                Err(_) => connections = None,
            }
        }
    }
}

/// Two connections: one receives events at any time, the other is for queries.
struct Connections {
    updates: Client,
    queries: Client,
}

impl Connections {
    fn new(shared: &Shared) -> Result<Self, ClientError> {
        let mut queries = shared.client()?.read_only();
        queries.limit(ANSWER);
        let mut updates = shared.client()?.read_only();
        let position = shared.recent().position();
        let after = match position {
            Some(position) => position,
            None => match queries.request(&Request::Events, &mut |_| {})? {
                Response::Events { list, position } => {
                    shared.recorder.marks().add_events(&list);
                    let mut recent = shared.recent();
                    recent.initialize(list, position);
                    // Existing followers have none of these events. An error means only that there
                    // is no follower.
                    let _ = shared.updates.send(EventUpdate::Gap);
                    position
                }
                _ => return Err(ClientError::Unexpected),
            },
        };
        queries.handshake()?;
        updates.subscribe(Some(after))?;
        updates.listen(&[EXCEPTION])?;
        Ok(Self { updates, queries })
    }

    /// Reads the table and the measurements of Node apps. The query also makes the apps continue to
    /// measure for a while.
    fn table(&mut self) -> Result<(Vec<TableRow>, Vec<InstanceFigures>), ClientError> {
        let rows = self.queries.table()?;
        match self.queries.request(&Request::Collect { for_ms: COLLECT_MS }, &mut |_| {})? {
            Response::Figures(figures) => Ok((rows, figures)),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Handles received frames. Returns true if an event happened.
    fn read(&mut self, shared: &Shared) -> Result<bool, ClientError> {
        let mut has_event = false;
        let mut events = Vec::new();
        for frame in self.updates.received_frames()? {
            if let Response::AppMessage(reports) = frame.response {
                // An error means only that there is no receiver.
                let _ = shared.reports.send(Arc::new(reports));
                continue;
            }
            let mut recent = shared.recent();
            match Notification::from_response(frame.response) {
                Some(Notification::Event(event)) => {
                    let event = Arc::new(event);
                    recent.add(Arc::clone(&event));
                    events.push(Arc::clone(&event));
                    // An error means only that there is no receiver.
                    let _ = shared.updates.send(EventUpdate::Event(event));
                    has_event = true;
                }
                Some(Notification::Missed(_)) => {
                    recent.missed();
                    let _ = shared.updates.send(EventUpdate::Gap);
                    has_event = true;
                }
                // The thread reconnects and resumes from its position.
                Some(Notification::FellBehind) => return Err(ClientError::Unexpected),
                None => {}
            }
        }
        shared.recorder.marks().add_events(events.iter().map(AsRef::as_ref));
        Ok(has_event)
    }
}

/// Instances known to report custom metrics; only these are queried each time.
#[derive(Default)]
struct CustomMetrics {
    recent: ReportedMetrics,
    searched: Option<Instant>,
}

impl CustomMetrics {
    /// Returns the metrics that are reported at present. `instances` is the number of all
    /// instances.
    fn query(&mut self, connections: &mut Connections, instances: usize) -> Result<ReportedMetrics, ClientError> {
        let pause = SEARCH.saturating_mul(u32::try_from(1 + instances / 100).unwrap_or(u32::MAX));
        let is_search = self.searched.is_none_or(|searched| searched.elapsed() >= pause);
        let targets: Vec<String> = if is_search { Vec::new() } else { self.recent.ids().map(|id| id.to_string()).collect() };
        if instances == 0 || !is_search && targets.is_empty() {
            return Ok(ReportedMetrics::default());
        }
        match connections.queries.inspect(&targets) {
            Ok(details) => {
                self.recent = ReportedMetrics::of(&details);
                if is_search {
                    self.searched = Some(Instant::now());
                }
            }
            // One of them no longer exists; the next call searches all instances.
            Err(ClientError::Refused(_)) => *self = Self::default(),
            Err(error) => return Err(error),
        }
        Ok(self.recent.clone())
    }
}

/// Reason why a wait ended.
struct WakeReasons {
    waker: bool,
    updates: bool,
}

fn wait(wakes: &UnixStream, connections: Option<&Connections>, longest: Duration) -> WakeReasons {
    let mut fds = vec![PollFd::new(wakes, PollFlags::IN)];
    fds.extend(connections.map(|connections| PollFd::new(&connections.updates, PollFlags::IN)));
    let longest = Timespec::try_from(longest).ok();
    if poll(&mut fds, longest.as_ref()).is_err() {
        return WakeReasons { waker: false, updates: false };
    }
    let is_ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
    WakeReasons { waker: is_ready(0), updates: is_ready(1) }
}

fn drain(mut wakes: &UnixStream) {
    let mut bytes = [0; 64];
    while wakes.read(&mut bytes).is_ok_and(|count| count > 0) {}
}

/// Metrics of the machine, computed from two samples.
#[derive(Default)]
struct HostMetrics {
    last: Option<HostSample>,
}

impl HostMetrics {
    fn take(&mut self) -> Host {
        let sample = HostSample::brief();
        let host = Host::of(&sample, self.last.as_ref(), ostler_sys::machine::cpus::available());
        self.last = Some(sample);
        host
    }
}
