//! Collector: reads lines of standard error and reports of apps, and groups the exceptions.

use std::cell::{Ref, RefCell};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ostler_core::errors::{Exception, FoundReport, ReportReader, pattern};
use ostler_core::logs::masking::{masked, secrets};
use ostler_core::text::fnv::fnv_64;
use ostler_http::Ending;
use ostler_proto::control::{AppMessage, Request, Response};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};

use super::deduplicate::{ExceptionSource, RecentExceptions};
use super::stops::Stops;
use super::store::{self, log_line, save};
use super::{ErrorBook, Occurrence, Release, Resolved};
use crate::clock::now_ms;
use crate::daemon::{Daemon, EventUpdate};
use crate::logs::LogProcess;

/// Time without output after which the last exception of an output is complete.
const SETTLED: Duration = Duration::from_millis(200);
/// Maximum time that lines wait while more of them arrive.
const FLOWING: Duration = Duration::from_secs(1);
/// Maximum number of outputs that are read at the same time, 64 KiB each. Beyond it, the output
/// that was idle the longest is finished.
const OUTPUTS: usize = 64;
/// Maximum number of bytes of lines that are read per second; the rest waits in the log files.
const BYTES_PER_SECOND: usize = 4 << 20;
/// Maximum number of lines that apps print while the reader process starts.
const MISSED_LINES: &str = "10000";
/// Maximum number of lines that are taken at once.
const TOGETHER: usize = 200;
/// Time between two writes of the file, and the same for a large file.
const KEEP: Duration = Duration::from_secs(2);
const KEEP_LARGE: Duration = Duration::from_secs(30);
/// Number of groups from which the file is large.
const LARGE: usize = 100;
/// Time for which data about an app is valid, and the minimum time between two queries after an
/// event of the app.
const KNOWN: Duration = Duration::from_secs(30);
const REFRESH_DELAY: Duration = Duration::from_millis(200);
/// Number of notifications by which a receiver may lag.
const NEWS: usize = 64;
/// Maximum length of a notification's title, in characters.
const TITLE: usize = 200;
/// Maximum number of apps whose data is kept.
const APPS: usize = 512;
/// Pause before the reader process is started again: the first and the maximum.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);

/// Groups of exceptions and the marks of resolved ones.
pub(crate) struct Collected {
    home: PathBuf,
    book: RefCell<ErrorBook>,
    marks: RefCell<(FileVersion, Resolved)>,
    new_exceptions: broadcast::Sender<Arc<NewException>>,
}

/// Exception that is new or has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewException {
    pub(crate) app: String,
    pub(crate) instance: u32,
    /// Type and message, without secrets.
    pub(crate) title: String,
    pub(crate) returned: bool,
}

/// Version of a file: inode, size and change time. Each write creates a new file.
type FileVersion = (u64, u64, i64, i64);

impl Collected {
    /// Returns a receiver for exceptions that are new or have returned.
    pub(crate) fn new_exceptions(&self) -> broadcast::Receiver<Arc<NewException>> {
        self.new_exceptions.subscribe()
    }

    /// Returns the current groups.
    pub(crate) fn book(&self) -> Ref<'_, ErrorBook> {
        self.book.borrow()
    }

    /// Returns the marks set by this process or by commands. The file is read only if it has
    /// changed.
    pub(crate) fn resolved(&self) -> Ref<'_, Resolved> {
        let meta = std::fs::metadata(crate::settings::names::folder(&self.home).join("resolved.json"));
        let stamp = meta.map_or((0, 0, 0, 0), |meta| (meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()));
        if self.marks.borrow().0 != stamp {
            // An unreadable file counts as one without marks.
            let resolved = store::read_resolved(&self.home).unwrap_or_default();
            *self.marks.borrow_mut() = (stamp, resolved);
        }
        Ref::map(self.marks.borrow(), |(_, resolved)| resolved)
    }
}

/// Starts to collect, until the server stops.
pub(crate) fn collect(home: &Path, daemon: Daemon, ending: Ending) -> Rc<Collected> {
    let collected = Rc::new(Collected {
        home: home.to_owned(),
        book: RefCell::new(store::load(home)),
        marks: RefCell::new(((1, 0, 0, 0), Resolved::default())),
        new_exceptions: broadcast::Sender::new(NEWS),
    });
    let collector = Collector {
        collected: Rc::clone(&collected),
        daemon,
        process: None,
        unread_since_ms: now_ms(),
        start_at: Some(Instant::now()),
        started: Instant::now(),
        pause: AGAIN,
        outputs: HashMap::new(),
        apps: HashMap::new(),
        matching: RecentExceptions::default(),
        stops: Stops::default(),
        dirty_since: None,
        second: (Instant::now(), 0),
        is_logged: false,
    };
    tokio::task::spawn_local(collector.run(ending));
    collected
}

/// Output of one instance.
struct InstanceOutput {
    reader: ReportReader,
    /// Arrival of the first line that was not examined yet, and of the last line.
    since: Option<Instant>,
    last: Instant,
    /// Arrival of the last line, wall clock, ms.
    last_ms: u64,
}

/// Data about an app.
struct AppFacts {
    at: Instant,
    /// True if the app had an event since.
    is_stale: bool,
    release: Release,
    /// Its secrets; none = unknown.
    secrets: Option<Vec<String>>,
}

struct Collector {
    collected: Rc<Collected>,
    daemon: Daemon,
    process: Option<LogProcess>,
    /// Time from which no process has read lines yet, in ms since 1970.
    unread_since_ms: u64,
    /// Time at which the process is started; none = it runs.
    start_at: Option<Instant>,
    started: Instant,
    pause: Duration,
    /// By app and instance.
    outputs: HashMap<(String, u32), InstanceOutput>,
    apps: HashMap<String, AppFacts>,
    matching: RecentExceptions,
    stops: Stops,
    dirty_since: Option<Instant>,
    /// Start of the present second, and the bytes that were read in it.
    second: (Instant, usize),
    /// True if a write failure was reported.
    is_logged: bool,
}

impl Collector {
    async fn run(mut self, mut ending: Ending) {
        let mut reports = self.daemon.reports();
        let mut updates = self.daemon.updates();
        loop {
            let due = self.due();
            tokio::select! {
                () = ending.stop_requested() => break,
                () = take_lines(&mut self.process, self.unread_since_ms, &mut self.outputs, &mut self.second) => self.handle_lines().await,
                report = reports.recv() => match report {
                    Ok(report) => self.reported(&report).await,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => break,
                },
                update = updates.recv() => self.on_event(&update),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.tick().await,
            }
        }
        self.inspect_waiting(true).await;
        self.save();
    }

    /// Returns the time of the next work; none = no work until something arrives.
    fn due(&self) -> Option<Instant> {
        let outputs = self.outputs.values().filter_map(|output| Some((output.last + SETTLED).min(output.since? + FLOWING)));
        let is_large = self.collected.book.borrow().groups.len() > LARGE;
        let save = self.dirty_since.map(|since| since + if is_large { KEEP_LARGE } else { KEEP });
        outputs.chain(save).chain(self.start_at).min()
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        if self.start_at.is_some_and(|at| at <= now) {
            self.start(now);
        }
        self.inspect_waiting(false).await;
        let is_large = self.collected.book.borrow().groups.len() > LARGE;
        if self.dirty_since.is_some_and(|since| since + if is_large { KEEP_LARGE } else { KEEP } <= now) {
            self.save();
        }
    }

    fn start(&mut self, now: Instant) {
        let since = i64::try_from(self.unread_since_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let since = since.unwrap_or_else(jiff::Timestamp::now).to_string();
        let words = ["--err", "--since", &since, "--lines", MISSED_LINES].map(str::to_owned);
        self.process = LogProcess::start(&self.collected.home, &words).ok();
        self.started = now;
        self.start_at = self.process.is_none().then(|| now + self.pause);
    }

    /// Handles new lines or the exit of the process.
    async fn handle_lines(&mut self) {
        let now = Instant::now();
        if self.process.is_none() {
            let last_ms = self.outputs.values().map(|output| output.last_ms).max();
            self.unread_since_ms = self.unread_since_ms.max(last_ms.unwrap_or_default());
            self.pause = if self.started.elapsed() > AGAIN_AT_MOST { AGAIN } else { (self.pause * 2).min(AGAIN_AT_MOST) };
            self.start_at = Some(now + self.pause);
            return;
        }
        while self.outputs.len() > OUTPUTS
            && let Some(key) = self.outputs.iter().min_by_key(|(_, output)| output.last).map(|(key, _)| key.clone())
            && let Some(mut output) = self.outputs.remove(&key)
        {
            let found = output.reader.take(true);
            self.on_printed(&key, output.last_ms, found).await;
        }
        let full: Vec<_> = self.outputs.iter().filter(|(_, output)| output.reader.is_full()).map(|(key, _)| key.clone()).collect();
        for key in full {
            self.inspect(&key, false).await;
        }
        let (begin, bytes) = self.second;
        if bytes > BYTES_PER_SECOND {
            sleep_until(begin + Duration::from_secs(1)).await;
            self.second = (Instant::now(), 0);
        }
    }

    /// Examines waiting lines: all of them, or only outputs that are idle or waited for too long.
    async fn inspect_waiting(&mut self, all: bool) {
        let now = Instant::now();
        let waiting: Vec<_> = self.outputs.iter().filter(|(_, output)| !output.reader.is_empty()).collect();
        let due = waiting.into_iter().filter_map(|(key, output)| {
            let settled = all || output.last + SETTLED <= now;
            (settled || output.since.is_some_and(|since| since + FLOWING <= now)).then(|| (key.clone(), settled))
        });
        for (key, settled) in due.collect::<Vec<_>>() {
            self.inspect(&key, settled).await;
        }
    }

    async fn inspect(&mut self, key: &(String, u32), settled: bool) {
        let Some(output) = self.outputs.get_mut(key) else { return };
        let found = output.reader.take(settled);
        output.since = (!output.reader.is_empty()).then(Instant::now);
        let at = output.last_ms;
        self.on_printed(key, at, found).await;
    }

    async fn on_printed(&mut self, (app, instance): &(String, u32), at: u64, found: Vec<FoundReport>) {
        for FoundReport { exception, before } in found {
            self.add(app, *instance, at, &exception, &before, ExceptionSource::Printed).await;
        }
    }

    async fn reported(&mut self, report: &AppMessage) {
        if let Some(exception) = Exception::reported(&report.data) {
            self.add(&report.app, report.id, report.at_ms, &exception, &[], ExceptionSource::Reported).await;
        }
    }

    async fn add(&mut self, app: &str, instance: u32, at: u64, exception: &Exception, before: &[String], way: ExceptionSource) {
        if exception.is_of_a_stop() && self.stops.is_during(app, instance, at) {
            return;
        }
        let key = fnv_64(format!("{app}\0{:x}", exception.origin()).into_bytes());
        let is_new = self.matching.is_new(key, way, now_ms());
        if !is_new && before.is_empty() {
            return;
        }
        self.load_facts(app, instance).await;
        let Some(known) = self.apps.get(app) else { return };
        // If the secrets are unknown, the preceding lines are left out, because they may contain
        // secrets.
        let lines = if known.secrets.is_some() { before } else { &[] };
        let hide = |text: &str| known.secrets.as_ref().map_or_else(|| pattern(text), |secrets| masked(text, secrets));
        let seen = Occurrence { app, instance, at, exception, before: lines, release: &known.release };
        let mut book = self.collected.book.borrow_mut();
        if is_new {
            let new_exceptions = book.add(&seen, &self.collected.resolved(), hide);
            let fresh = new_exceptions.map(|(group, returned)| fresh(group, instance, returned));
            // An error means only that there is no receiver.
            fresh.into_iter().for_each(|fresh| drop(self.collected.new_exceptions.send(Arc::new(fresh))));
        } else {
            book.add_before(&seen, hide);
        }
        drop(book);
        self.dirty_since.get_or_insert_with(Instant::now);
    }

    /// Makes sure that the release and the secrets of an app are known.
    async fn load_facts(&mut self, app: &str, instance: u32) {
        let is_good = |known: &AppFacts| known.at.elapsed() < if known.is_stale { REFRESH_DELAY } else { KNOWN };
        if self.apps.get(app).is_some_and(is_good) {
            return;
        }
        if self.apps.len() >= APPS {
            self.apps.clear();
        }
        let name = app.to_owned();
        let reply = self.daemon.query(move |client| {
            let details = client.inspect(&[instance.to_string()])?;
            let reports = match client.request(&Request::Rollouts { app: Some(name) }, &mut |_| {})? {
                Response::Rollouts(reports) => reports,
                _ => Vec::new(),
            };
            Ok((details, reports))
        });
        let known = match reply.await {
            Ok((details, reports)) => {
                let current = reports.iter().rev().find(|report| report.current);
                let version = details.first().and_then(|detail| detail.spec.version.clone());
                let spec = serde_json::to_value(details.iter().map(|detail| &detail.spec).collect::<Vec<_>>()).unwrap_or_default();
                AppFacts {
                    at: Instant::now(),
                    is_stale: false,
                    release: Release {
                        release: current.map_or(1, |report| report.release),
                        version: current.and_then(|report| report.version.clone()).or(version).filter(|version| version != "N/A"),
                    },
                    secrets: Some(secrets(&spec)),
                }
            }
            Err(_) => {
                // Outdated data is better than none.
                let before = self.apps.remove(app);
                let (release, secrets) = before.map_or_else(|| (Release::default(), None), |known| (known.release, known.secrets));
                AppFacts { at: Instant::now(), is_stale: true, release, secrets }
            }
        };
        self.apps.insert(app.to_owned(), known);
    }

    fn on_event(&mut self, update: &Result<EventUpdate, RecvError>) {
        match update {
            Ok(EventUpdate::Event(event)) => {
                self.stops.take(event);
                if let Some(known) = event.app.as_ref().and_then(|app| self.apps.get_mut(app)) {
                    known.is_stale = true;
                }
            }
            _ => self.apps.values_mut().for_each(|known| known.is_stale = true),
        }
    }

    fn save(&mut self) {
        if self.dirty_since.take().is_none() {
            return;
        }
        match save(&self.collected.home, &self.collected.book.borrow()) {
            Ok(()) => self.is_logged = false,
            Err(error) => {
                self.dirty_since = Some(Instant::now());
                if !std::mem::replace(&mut self.is_logged, true) {
                    log_line(format_args!("exceptions cannot be saved: {}", ostler_core::text::causes::with_causes(&error)));
                }
            }
        }
    }
}

fn fresh(group: &super::Group, instance: u32, returned: bool) -> NewException {
    let message = group.message.lines().next().unwrap_or_default();
    let title: String = format!("{}: {message}", group.kind).chars().take(TITLE).collect();
    NewException { app: group.app.clone(), instance, title, returned }
}

/// Takes the lines that have arrived, or waits for the first. Clears `process` if the process has
/// exited. The future may be dropped while it waits.
async fn take_lines(
    process: &mut Option<LogProcess>,
    since_ms: u64,
    outputs: &mut HashMap<(String, u32), InstanceOutput>,
    second: &mut (Instant, usize),
) {
    let Some(running) = process else { return std::future::pending().await };
    for _ in 0..TOGETHER {
        let Some(line) = running.next().await else {
            *process = None;
            return;
        };
        if !line.is_since(since_ms) {
            if running.has_line() {
                continue;
            }
            return;
        }
        let now = Instant::now();
        if now.duration_since(second.0) >= Duration::from_secs(1) {
            *second = (now, 0);
        }
        second.1 += line.text.len();
        let key = (line.app.unwrap_or_default(), line.instance.and_then(|id| u32::try_from(id).ok()).unwrap_or_default());
        let output =
            outputs.entry(key).or_insert_with(|| InstanceOutput { reader: ReportReader::default(), since: None, last: now, last_ms: 0 });
        output.reader.push(&line.text);
        output.since.get_or_insert(now);
        (output.last, output.last_ms) = (now, now_ms());
        if output.reader.is_full() || !running.has_line() {
            return;
        }
    }
}
