//! The command itself.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use ostler_proto::control::{Happening, Request, Response, Summary};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::follow::Follower;
use super::printer::{Form, Printer};
use super::source::{Streams, Wish, by_age};
use super::watch::Watch;
use crate::cli::{Call, CliError, Status, UsageError};
use crate::client::Client;
use crate::cx::{Cx, cwd};

const DEFAULT_LINES: u64 = 15;
/// How often to look where nothing can be watched.
const BLIND: Duration = Duration::from_millis(250);
/// How often a lost daemon is looked for, and how long after an event the list is asked for once more.
const AGAIN: Duration = Duration::from_secs(1);

/// Shows the last lines, then follows until the reader has enough.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let count = line_count(call)?;
    let form = form(call);
    let timestamp = call.has("timestamp").then(|| call.value("timestamp").unwrap_or_default());
    let mut printer = Printer::new(form, timestamp, call.value("highlight"));
    let targets = if call.targets.is_empty() { vec!["all".to_owned()] } else { call.targets.clone() };
    let home = cx.home()?.to_owned();
    let daemon_log = std::env::var_os("PM2_LOG_FILE_PATH").map_or_else(|| home.join("pm2.log"), PathBuf::from);
    let wish =
        Wish { targets, streams: Streams::new(call.has("out"), call.has("err")), cwd: cwd()?, daemon_log, daemon_name: cx.program.label() };
    let list = cx.client()?.list()?;
    let mut sources = wish.sources(&list)?;
    by_age(&mut sources);
    let mut followers: Vec<Follower> = sources.into_iter().map(Follower::new).collect();
    let ends = call.has("nostream");
    // Programs want what happens from now on; with --nostream there is no such thing, so they get the past.
    let only_present = !ends || cx.program.is_pm2();
    let past = if only_present && matches!(form, Form::Json | Form::Pairs) { 0 } else { count };
    tail(cx, &mut printer, &mut followers, past, ends, &wish.targets)?;
    if !ends {
        follow(cx, &mut printer, followers, &wish, home);
    }
    Ok(Status::Ok)
}

fn form(call: &Call) -> Form {
    match () {
        () if call.has("json") => Form::Json,
        () if call.has("format") => Form::Pairs,
        () if call.has("raw") => Form::Raw,
        () => Form::Labelled,
    }
}

fn line_count(call: &Call) -> Result<u64, UsageError> {
    let Some(text) = call.value("lines") else { return Ok(DEFAULT_LINES) };
    let bad = |_| UsageError::BadValue { option: "--lines".into(), reason: format!("expected a number of lines, found {text:?}") };
    text.trim().parse::<i64>().map(i64::unsigned_abs).map_err(bad)
}

fn tail(
    cx: &mut Cx,
    printer: &mut Printer,
    followers: &mut [Follower],
    count: u64,
    ends: bool,
    targets: &[String],
) -> Result<(), CliError> {
    if count > 0 {
        printer.heading(&mut cx.out, count, targets);
    }
    for follower in followers {
        let shows = count > 0 && follower.has_content();
        if shows {
            printer.file_heading(&mut cx.out, &follower.source, count);
        }
        let path = follower.source.path.display().to_string();
        let mut each = |source: &_, line: &[u8]| {
            printer.past(&mut cx.out, source, line);
            !cx.out.is_closed()
        };
        follower.tail(count, ends, &mut each).map_err(|source| CliError::File { what: "read", path, source })?;
        if shows {
            cx.out.line("");
        }
    }
    cx.out.flush();
    Ok(())
}

/// The daemon, as long as it is there.
struct Daemon {
    home: PathBuf,
    client: Option<Client>,
    /// When to ask for the list (or for the daemon) next.
    ask_at: Option<Instant>,
}

impl Daemon {
    fn subscribe(&mut self) {
        self.client = Client::connect(&self.home).ok().and_then(|mut client| {
            client.send(Request::Subscribe).ok()?;
            Some(client)
        });
        // Between the list that was shown and this instant something may have been started.
        self.ask_at = Some(Instant::now() + if self.client.is_some() { Duration::ZERO } else { AGAIN });
    }

    /// What it told.
    fn hear(&mut self, mut each: impl FnMut(Happening)) {
        match self.client.as_mut().map(Client::arrived) {
            Some(Ok(frames)) => {
                for frame in frames {
                    if let Response::Happened(happening) = frame.response {
                        self.ask_at = Some(Instant::now());
                        each(happening);
                    }
                }
            }
            Some(Err(_)) => {
                self.client = None;
                self.ask_at = Some(Instant::now());
            }
            None => {}
        }
    }

    /// The list, if it is time to ask for it.
    fn list(&mut self) -> Option<Vec<Summary>> {
        if self.ask_at.is_none_or(|at| Instant::now() < at) {
            return None;
        }
        self.ask_at = None;
        if self.client.is_none() {
            self.subscribe();
            self.client.as_ref()?;
            self.ask_at = None;
        }
        // A connection of its own: the other one has news on it at any time.
        Client::connect(&self.home).ok()?.list().ok()
    }
}

fn follow(cx: &mut Cx, printer: &mut Printer, mut followers: Vec<Follower>, wish: &Wish, home: PathBuf) {
    let mut watch = Watch::new();
    for follower in &followers {
        follower.watch(&mut watch);
    }
    let beginning = Beginning::now(&home.join("logs"));
    let mut daemon = Daemon { home, client: None, ask_at: None };
    daemon.subscribe();
    let mut look_for_new = true;
    loop {
        if let Some(list) = daemon.list() {
            add_new(&mut followers, &list, wish, &beginning, &mut watch);
            look_for_new = true;
        }
        for follower in &mut followers {
            let mut each = |source: &_, line: &[u8]| {
                printer.present(&mut cx.out, source, line);
                !cx.out.is_closed()
            };
            // A file that cannot be read now may be there again later.
            let _ = follower.advance(look_for_new || watch.blind, &mut watch, &mut each);
            follower.flush_due(&mut each);
        }
        cx.out.flush();
        if cx.out.is_closed() {
            return;
        }
        let due = followers.iter().filter_map(Follower::due).chain(daemon.ask_at).min();
        let blind = watch.blind.then_some(BLIND);
        let longest = due.map(|at| at.saturating_duration_since(Instant::now())).into_iter().chain(blind).min();
        let Wake { news, daemon_speaks, reader_gone } = wait(&watch, daemon.client.as_ref(), longest);
        if reader_gone {
            return;
        }
        look_for_new = news && watch.drain();
        if daemon_speaks {
            daemon.hear(|happening| printer.happened(&mut cx.out, &happening));
        }
    }
}

/// How long log files were when the following began: an app that is started later may write to one that has lines of the past.
struct Beginning {
    at: SystemTime,
    lengths: HashMap<PathBuf, u64>,
}

impl Beginning {
    fn now(folder: &Path) -> Self {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let lengths = entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.len()))).collect();
        Self { at: SystemTime::now(), lengths }
    }

    /// Where what is new in this file begins.
    fn position(&self, path: &Path) -> u64 {
        if let Some(length) = self.lengths.get(path) {
            return *length;
        }
        let Ok(meta) = std::fs::metadata(path) else { return 0 };
        // Elsewhere only the age tells: a file made since then is all new.
        if meta.created().is_ok_and(|made| made >= self.at) { 0 } else { meta.len() }
    }
}

/// New instances among those that were asked for.
fn add_new(followers: &mut Vec<Follower>, list: &[Summary], wish: &Wish, beginning: &Beginning, watch: &mut Watch) {
    let Ok(sources) = wish.sources(list) else { return };
    for source in sources {
        if !followers.iter().any(|follower| follower.source.path == source.path) {
            let position = beginning.position(&source.path);
            let mut follower = Follower::new(source);
            follower.skip_to(position);
            follower.watch(watch);
            followers.push(follower);
        }
    }
}

/// What ended a wait.
struct Wake {
    news: bool,
    daemon_speaks: bool,
    reader_gone: bool,
}

fn wait(watch: &Watch, client: Option<&Client>, longest: Option<Duration>) -> Wake {
    let stdout = io::stdout();
    // Nothing is asked of stdout, so only the loss of its reader is told.
    let mut fds = vec![PollFd::new(&stdout, PollFlags::empty())];
    let watch_fd = watch.as_fd();
    let client_fd = client.map(AsFd::as_fd);
    fds.extend(watch_fd.iter().chain(&client_fd).map(|fd| PollFd::new(fd, PollFlags::IN)));
    let timeout =
        longest.map(|time| Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(time.subsec_nanos()) });
    if poll(&mut fds, timeout.as_ref()).is_err() {
        return Wake { news: true, daemon_speaks: false, reader_gone: false };
    }
    let ready = |at: Option<usize>| at.and_then(|at| fds.get(at)).is_some_and(|fd| !fd.revents().is_empty());
    let client_at = client_fd.map(|_| 1 + usize::from(watch_fd.is_some()));
    Wake {
        news: ready(watch_fd.map(|_| 1)),
        daemon_speaks: ready(client_at),
        reader_gone: fds[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL),
    }
}
