//! Reading of all instances' pages, and the data that is kept between readings.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ostler_client::app_rights::AppRights;
use ostler_core::app::{AppSpec, ExecMode};
use ostler_core::health::scrape::{Scrape, scrape};
use ostler_core::text::causes::with_causes;
use ostler_http::Ending;
use ostler_proto::control::TableRow;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use super::MOST_SAMPLES;
use super::fetch::{Address, FetchError, fetch};
use super::history_values::Rates;
use super::page::{Page, page};
use super::saved_sums;
use super::sum::{AppFigures, PageReading, Sums};
use crate::daemon::{Daemon, SocketError};
use crate::history::Recorder;
use crate::snapshot::Snapshot;

/// Time for which data is reused.
const FRESH: Duration = Duration::from_secs(1);
/// Time limit for all pages together.
const WITHIN: Duration = Duration::from_secs(7);
/// Maximum number of pages that are read at the same time.
const TOGETHER: usize = 16;
/// Time between two readings for the history.
const STEP: Duration = Duration::from_secs(10);
/// Time after which an app without instances is forgotten; before that, it may only be restarting.
const FORGET: Duration = Duration::from_secs(3600);
/// Time between two writes of the sums if no process has exited.
const KEEP: Duration = Duration::from_secs(40);
/// Maximum number of problems that are remembered, so that each is reported once.
const MAX_LOGGED: usize = 256;

/// Reader of pages.
pub(crate) struct Scraper {
    home: PathBuf,
    daemon: Daemon,
    /// One reading at a time: callers that wait here get its result.
    turn: Mutex<()>,
    state: RefCell<ScraperState>,
}

#[derive(Default)]
struct ScraperState {
    /// Data about each instance.
    known: HashMap<u32, InstanceTarget>,
    apps: BTreeMap<(String, String), AppState>,
    latest: Rc<Vec<AppFigures>>,
    read: Option<Instant>,
    /// Time of the last write of the sums; none = not yet by this process.
    saved_at: Option<Instant>,
    logged: BTreeSet<String>,
}

/// Instance, as its process was started.
#[derive(Clone, Debug)]
struct InstanceTarget {
    pid: i32,
    target: Option<ScrapeTarget>,
}

/// Address of its page.
#[derive(Clone, Debug)]
struct ScrapeTarget {
    scrape: Scrape,
    /// Number of the instance within its app.
    index: u32,
    /// Rights of the user of a Node app with ostler's preload, which can open a socket; none for
    /// other apps.
    rights: Option<AppRights>,
}

#[derive(Default)]
struct AppState {
    sums: Sums,
    /// Time at which it last had an instance with a page.
    last_seen: Option<Instant>,
}

/// Page to read.
#[derive(Clone, Debug)]
struct ReadJob {
    id: u32,
    pid: i32,
    app: (String, String),
    target: ScrapeTarget,
    /// True if other instances use the same port.
    shares: bool,
}

/// Result of a job.
struct ReadOutcome {
    job: ReadJob,
    page: Result<Page, ReadError>,
}

/// Reason why a page is not read. The texts follow the name of the instance.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("has no port: {0} plus the instance number exceeds 65535")]
    NoPort(u16),
    #[error("shares port {0} with other instances: give each instance its own port and set `increment: true`")]
    SharedPort(u16),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("has a page that cannot be parsed")]
    Parse,
}

impl Scraper {
    /// Starts reading for the history, until the server stops.
    pub(crate) fn start(home: &Path, daemon: &Daemon, recorder: Recorder, mut ending: Ending) -> Rc<Self> {
        let mut state = ScraperState::default();
        let (known, problem) = saved_sums::load(home);
        state.apps.extend(known.into_iter().map(|(app, sums)| (app, AppState { sums, last_seen: Some(Instant::now()) })));
        problem.into_iter().for_each(|problem| state.log_once(format!("scrape: {problem}")));
        let scraper = Rc::new(Self { home: home.to_owned(), daemon: daemon.clone(), turn: Mutex::new(()), state: RefCell::new(state) });
        let of_task = Rc::clone(&scraper);
        tokio::task::spawn_local(async move {
            tokio::select! {
                () = of_task.keep(&recorder) => {}
                () = ending.stop_requested() => {}
            }
            of_task.state.borrow_mut().keep(&of_task.home);
        });
        scraper
    }

    /// Reads pages whenever a table was read for the history.
    async fn keep(&self, recorder: &Recorder) {
        let mut tables = self.daemon.tables();
        let mut rates = Rates::default();
        let mut next = tokio::time::Instant::now();
        loop {
            if tables.changed().await.is_err() {
                return;
            }
            if tokio::time::Instant::now() < next {
                continue;
            }
            next = tokio::time::Instant::now() + STEP - FRESH;
            let snapshot = Rc::new(tables.borrow_and_update().clone());
            let apps = self.collect(&snapshot).await;
            if !apps.is_empty() {
                recorder.add(rates.take(&apps, crate::clock::now_ms()));
            }
        }
    }

    /// Returns the metrics of all apps in a table that have a page.
    pub(crate) async fn collect(&self, snapshot: &Snapshot) -> Rc<Vec<AppFigures>> {
        let _turn = self.turn.lock().await;
        {
            let state = self.state.borrow();
            if state.read.is_some_and(|read| read.elapsed() < FRESH) {
                return Rc::clone(&state.latest);
            }
        }
        let rows: Vec<&TableRow> = snapshot.rows.iter().filter(|row| row.pid > 0 && row.status == "online").collect();
        self.load_targets(&rows).await;
        let jobs = self.state.borrow().jobs(&rows);
        let outcomes = if jobs.is_empty() { Vec::new() } else { self.read_all(&jobs).await };
        let mut state = self.state.borrow_mut();
        let figures = state.take(jobs, outcomes);
        if state.is_to_keep() {
            state.keep(&self.home);
        }
        figures
    }

    /// Queries the descriptions of new processes.
    async fn load_targets(&self, rows: &[&TableRow]) {
        let unknown: Vec<String> = {
            let mut state = self.state.borrow_mut();
            state.known.retain(|id, known| rows.iter().any(|row| row.id == *id && row.pid == known.pid));
            rows.iter().filter(|row| !state.known.contains_key(&row.id)).map(|row| row.id.to_string()).collect()
        };
        if unknown.is_empty() {
            return;
        }
        // If one of them no longer exists, the whole query is refused; it is repeated with the next
        // table.
        let Ok(details) = self.daemon.query(move |client| client.inspect(&unknown)).await else { return };
        let mut state = self.state.borrow_mut();
        for detail in details {
            let Some(row) = rows.iter().find(|row| row.id == detail.id) else { continue };
            let target = target(&detail.spec, detail.index, row.pid);
            state.known.insert(detail.id, InstanceTarget { pid: row.pid, target });
        }
    }

    async fn read_all(&self, jobs: &[ReadJob]) -> Vec<ReadOutcome> {
        let (mut set, mut outcomes) = (JoinSet::new(), Vec::new());
        let room = Rc::new(Semaphore::new(TOGETHER));
        for job in jobs {
            let (daemon, job, room) = (self.daemon.clone(), job.clone(), Rc::clone(&room));
            set.spawn_local(async move {
                let _place = room.acquire().await;
                read(&daemon, job).await
            });
        }
        let all = async {
            while let Some(outcome) = set.join_next().await {
                outcomes.extend(outcome.ok());
            }
        };
        let _ = tokio::time::timeout(WITHIN, all).await;
        outcomes
    }
}

impl ScraperState {
    fn jobs(&self, rows: &[&TableRow]) -> Vec<ReadJob> {
        let is_same = |one: &TableRow, other: &TableRow| one.name == other.name && one.namespace == other.namespace;
        let of = |row: &&TableRow| {
            let target = self.known.get(&row.id)?.target.clone()?;
            let others = rows.iter().filter(|other| is_same(other, row)).count();
            let shares = !target.scrape.increment && (others > 1 || row.mode == ExecMode::Cluster && target.rights.is_some());
            Some(ReadJob { id: row.id, pid: row.pid, app: (row.namespace.clone(), row.name.clone()), target, shares })
        };
        rows.iter().filter_map(of).collect()
    }

    fn take(&mut self, jobs: Vec<ReadJob>, outcomes: Vec<ReadOutcome>) -> Rc<Vec<AppFigures>> {
        let mut pages: HashMap<u32, Page> = HashMap::new();
        let mut room = MOST_SAMPLES;
        for ReadOutcome { job, page } in outcomes {
            match page {
                Ok(mut page) => {
                    let size = page.size();
                    if size > room {
                        page = Page { families: Vec::new(), left_out: page.left_out + size };
                    }
                    room = room.saturating_sub(size);
                    pages.insert(job.id, page);
                }
                Err(problem) => self.log_once(format!("scrape: {} ({}) {problem}", job.app.1, job.id)),
            }
        }
        let mut by_app: BTreeMap<(String, String), Vec<PageReading>> = BTreeMap::new();
        for job in jobs {
            by_app.entry(job.app).or_default().push((job.id, job.pid, pages.remove(&job.id)));
        }
        let now = Instant::now();
        self.apps.retain(|app, of| by_app.contains_key(app) || of.last_seen.is_some_and(|seen| seen.elapsed() < FORGET));
        let figures = by_app.into_iter().map(|((namespace, app), read)| {
            let known = self.apps.entry((namespace.clone(), app.clone())).or_default();
            known.last_seen = Some(now);
            let workers = read.iter().map(|(id, _, page)| (*id, page.is_some())).collect();
            AppFigures { app, namespace, figures: known.sums.take(read), workers }
        });
        self.latest = Rc::new(figures.collect());
        self.read = Some(Instant::now());
        Rc::clone(&self.latest)
    }

    /// Returns true if the file has to be written: the counts of an ended process are stored
    /// nowhere else.
    fn is_to_keep(&mut self) -> bool {
        // Calls `take_changed` on every app, without stopping at the first that returns true.
        let moved = self.apps.values_mut().filter_map(|app| app.sums.take_changed().then_some(())).count() > 0;
        moved || !self.apps.is_empty() && self.saved_at.is_none_or(|kept| kept.elapsed() >= KEEP)
    }

    /// Writes the sums, unless there never were any.
    fn keep(&mut self, home: &Path) {
        if self.apps.is_empty() && self.saved_at.is_none() {
            return;
        }
        self.saved_at = Some(Instant::now());
        if let Err(problem) = saved_sums::save(home, self.apps.iter().map(|(app, of)| (app, &of.sums))) {
            self.log_once(format!("scrape: cannot save sums: {}", with_causes(&problem)));
        }
    }

    /// Logs a line once.
    fn log_once(&mut self, text: String) {
        use std::io::Write as _;
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
        if self.logged.len() < MAX_LOGGED && self.logged.insert(text.clone()) {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}

/// Returns the address of an app's page according to its description.
fn target(spec: &AppSpec, index: u32, pid: i32) -> Option<ScrapeTarget> {
    let scrape = scrape(spec.given.open().get("scrape")?).ok()??;
    let rights = AppRights::of(spec, pid).ok().filter(|_| crate::view::is_profiled(spec));
    Some(ScrapeTarget { scrape, index, rights })
}

async fn read(daemon: &Daemon, job: ReadJob) -> ReadOutcome {
    let page = read_page(daemon, &job).await;
    ReadOutcome { job, page }
}

async fn read_page(daemon: &Daemon, job: &ReadJob) -> Result<Page, ReadError> {
    let ScrapeTarget { scrape, index, rights } = job.target.clone();
    let (address, port) = if !job.shares {
        let port = scrape.port_of(index).ok_or(ReadError::NoPort(scrape.port))?;
        (Address::Port(port), port)
    } else {
        let rights = rights.ok_or(ReadError::SharedPort(scrape.port))?;
        // Each socket is for one connection.
        let path = daemon.socket_to(job.id, scrape.port).await?;
        (Address::Instance { path, pid: job.pid, rights }, scrape.port)
    };
    let text = fetch(&address, port, &scrape.path).await?;
    // A large page is parsed on another thread, so that it does not delay others.
    tokio::task::spawn_blocking(move || page(&text)).await.map_err(|_| ReadError::Parse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests_row as row;

    fn spec(scrape: &str, interpreter: &str) -> AppSpec {
        let given = serde_json::json!({ "scrape": serde_json::from_str::<serde_json::Value>(scrape).unwrap() });
        serde_json::from_value(serde_json::json!({ "name": "api", "script": "/x", "cwd": "/", "interpreter": interpreter, "given": given }))
            .unwrap()
    }

    #[test]
    fn scrape_jobs_follow_mode_and_increment() {
        let mut rows = [
            row(0, "web", "default", "online"),
            row(1, "py", "default", "online"),
            row(2, "py", "default", "online"),
            row(3, "one", "default", "online"),
        ];
        rows[0].mode = ExecMode::Cluster;
        let mut state = ScraperState::default();
        let known = |increment, has_preload: bool| InstanceTarget {
            pid: 1,
            target: Some(ScrapeTarget {
                scrape: Scrape { port: 9100, path: "/metrics".into(), increment },
                index: 0,
                rights: has_preload.then(AppRights::default),
            }),
        };
        state.known.extend([(0, known(false, true)), (1, known(false, false)), (2, known(true, false))]);
        let rows: Vec<&TableRow> = rows.iter().collect();
        let jobs: Vec<(u32, bool)> = state.jobs(&rows).iter().map(|job| (job.id, job.shares)).collect();
        assert_eq!(jobs, [(0, true), (1, true), (2, false)], "a cluster worker has its port shared during a reload, too");
    }

    #[test]
    fn target_is_read_from_app_description() {
        assert_eq!(
            target(&spec("{\"port\": 9100}", "python3"), 2, 1).map(|target| (target.scrape.port, target.index, target.rights.is_some())),
            Some((9100, 2, false))
        );
        assert!(target(&spec("null", "python3"), 0, 1).is_none() && target(&spec("{\"prot\": 1}", "python3"), 0, 1).is_none());
    }
}
