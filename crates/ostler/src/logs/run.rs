//! The `logs` command, and the loop that follows files.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ostler_core::home::home_paths::HomePaths;
use ostler_core::{marked, message};
use ostler_proto::control::Summary;
use ostler_proto::pm2::{LogPlace, LogPlaces};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::daemon_connection::DaemonConnection;
use super::follow::{Follower, Line};
use super::grep::Terms;
use super::merge::PastLines;
use super::observer::Observer;
use super::printer::{LineFormat, Printer};
use super::resume::resume;
use super::source::{LogFilter, Source, Streams, by_age, changed_ms};
use super::start_positions::StartPositions;
use super::watch::Watch;
use crate::cli::Call;
use crate::client::Client;
use crate::cx::{Cx, cwd};
use crate::error::{CliError, Status, UsageError};
use crate::render::Out;
use crate::signals::Signals;

const DEFAULT_LINES: u64 = 15;
/// Time between two checks if files cannot be watched.
const BLIND: Duration = Duration::from_millis(250);
/// Time without events after which memory is returned to the system, and time between two such
/// moments.
const FIRST_TRIM_DELAY: Duration = Duration::from_secs(2);
const TRIM_INTERVAL: Duration = Duration::from_secs(60);

/// Shows the last lines, then follows until the reader stops it.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let count = line_count(call)?;
    let ends = call.has("nostream");
    // As in PM2: past lines are shown in the usual format, even if another format is requested.
    let in_usual_form = ends && cx.program.is_pm2() && matches!(form(call), LineFormat::Json | LineFormat::Pairs);
    if in_usual_form {
        cx.out.data_and_messages();
    }
    let form = match form(call) {
        LineFormat::Labelled if !cx.program.is_pm2() => LineFormat::Own,
        _ if in_usual_form => LineFormat::Labelled,
        form => form,
    };
    let timestamp = (call.has("timestamp") || call.has("timestamps")).then(|| call.value("timestamp").unwrap_or_default());
    let mut printer = Printer::new(form, timestamp, call.value("highlight"));
    if !cx.program.is_pm2() {
        printer = printer.in_own_look(&cx.out);
    }
    let terms = Terms::of(call)?;
    let targets = if call.targets.is_empty() { vec!["all".to_owned()] } else { call.targets.clone() };
    let home = cx.home()?.to_owned();
    // PM2's lines of the past have no times.
    let home_of_times = (!cx.program.is_pm2()).then(|| home.clone());
    let streams = Streams::new(call.has("out"), call.has("err"));
    // A process that reads on behalf of other users opens files with the rights of each app's user.
    #[cfg(feature = "web")]
    let own_folder = std::env::var_os(ostler_web::FOR_OTHERS).map(|_| HomePaths::logs(&home));
    #[cfg(not(feature = "web"))]
    let own_folder = None;
    let filter = LogFilter {
        targets,
        streams,
        cwd: cwd()?,
        daemon_log: cx.paths()?.log,
        daemon_name: cx.program.label(),
        own_folder,
        names: None,
        waits: !ends && terms.as_ref().is_none_or(|terms| terms.until_ms.is_none()),
    };
    let list = cx.client()?.list()?;
    if filter.waits {
        for target in filter.missing(&list) {
            cx.out.warn_err(message!("no app is named {name} yet; its lines appear once it starts", name = crate::text::shown(target)));
        }
    }
    let mut sources = filter.sources(&list)?;
    printer.add_instances(&list, &filter, sources.iter());
    let places = places(call)?;
    if places.is_some() {
        printer.report_positions();
    }
    if let Some(positions) = places.flatten() {
        if let Some(terms) = terms {
            printer.show_only(terms.pattern);
        }
        let past = StartPositions::from_positions(&home, positions);
        follow(cx, &mut printer, Vec::new(), &filter, FollowLoop { home, past, stays: false, signals: None, observer: None });
        return Ok(Status::Ok);
    }
    if let Some(terms) = terms {
        // Lines that arrive during the search are shown after its results.
        let past = StartPositions::now(cx)?;
        let ends_at: HashMap<PathBuf, u64> = sources.iter().map(|source| (source.path.clone(), past.position(&source.path))).collect();
        terms.show_past(home_of_times.as_deref(), &sources, count, &ends_at, &mut printer, &mut cx.out)?;
        cx.out.flush();
        if !ends && terms.until_ms.is_none() {
            let follower = |source: Source| {
                let end = ends_at.get(&source.path).copied().unwrap_or(0);
                let mut follower = Follower::new(source);
                follower.skip_to(end);
                follower
            };
            let followers = sources.into_iter().map(follower).collect();
            printer.show_only(terms.pattern);
            follow(cx, &mut printer, followers, &filter, FollowLoop { home, past, stays: false, signals: None, observer: None });
        }
        return Ok(Status::Ok);
    }
    by_age(&mut sources);
    let follower = |source| Follower::new(source).with_times(home_of_times.clone());
    let mut followers: Vec<Follower> = sources.into_iter().map(follower).collect();
    // Programs want new lines only, unless they give a number of past lines. With --nostream past
    // lines are the only output.
    let past = if !ends && matches!(form, LineFormat::Json | LineFormat::Pairs) && call.value("lines").is_none() { 0 } else { count };
    if cx.program.is_pm2() {
        tail(cx, &mut printer, &mut followers, past, ends, &filter.targets)?;
    } else {
        merged_tail(cx, &mut printer, &mut followers, past, ends)?;
    }
    if !ends {
        let past = StartPositions::now(cx)?;
        follow(cx, &mut printer, followers, &filter, FollowLoop { home, past, stays: false, signals: None, observer: None });
    }
    Ok(Status::Ok)
}

/// Shows all new lines of all logs from `past` on, in the format of `--no-daemon`, until the daemon
/// has exited. A stop signal stops everything first. Returns the pid of the last keeper.
///
/// # Errors
/// Returns an error if the current directory was removed.
pub(crate) fn stream<'a>(
    cx: &mut Cx,
    past: StartPositions,
    signals: Option<&'a mut Signals>,
    observer: Option<&'a mut dyn Observer>,
) -> Result<Option<i32>, CliError> {
    let filter = all_logs(cx, Streams::ALL, None)?;
    let mut printer = Printer::new(LineFormat::Labelled, Some("HH:mm:ss"), None).dating_the_daemon_itself();
    let home = cx.home()?.to_owned();
    Ok(follow(cx, &mut printer, Vec::new(), &filter, FollowLoop { home, past, stays: true, signals, observer }))
}

/// Returns the filter for all logs; `names` limits them to these apps.
fn all_logs(cx: &mut Cx, streams: Streams, names: Option<Vec<String>>) -> Result<LogFilter, CliError> {
    Ok(LogFilter {
        targets: vec!["all".into()],
        streams,
        cwd: cwd()?,
        daemon_log: cx.paths()?.log,
        daemon_name: cx.program.label(),
        own_folder: None,
        names,
        waits: false,
    })
}

/// Format in which [`stream_as`] shows lines.
pub(crate) struct StreamFormat<'a> {
    /// Format of the lines.
    pub form: LineFormat,
    /// Date before each line, if requested; empty is the usual format.
    pub timestamp: Option<&'a str>,
    /// Apps that are shown; none = all.
    pub names: Option<Vec<String>>,
}

/// Works like [`stream`], in another format and without the daemon's own lines.
///
/// # Errors
/// Returns an error if the current directory was removed.
pub(crate) fn stream_as(
    cx: &mut Cx,
    past: StartPositions,
    show: &StreamFormat<'_>,
    signals: Option<&mut Signals>,
    observer: &mut dyn Observer,
) -> Result<Option<i32>, CliError> {
    let filter = all_logs(cx, Streams::APPS, show.names.clone())?;
    let mut printer = Printer::new(show.form, show.timestamp, None);
    let home = cx.home()?.to_owned();
    Ok(follow(cx, &mut printer, Vec::new(), &filter, FollowLoop { home, past, stays: true, signals, observer: Some(observer) }))
}

/// Shows only the new lines of one instance, without labels.
///
/// # Errors
/// Returns an error if the instance does not exist.
pub(crate) fn stream_instance(cx: &mut Cx, id: u32, past: StartPositions) -> Result<(), CliError> {
    let home = cx.home()?.to_owned();
    let filter = LogFilter {
        targets: vec![id.to_string()],
        streams: Streams::APPS,
        cwd: cwd()?,
        daemon_log: cx.paths()?.log,
        daemon_name: cx.program.label(),
        own_folder: None,
        names: None,
        waits: false,
    };
    filter.sources(&cx.client()?.list()?)?;
    let mut printer = Printer::new(LineFormat::Raw, None, None);
    follow(cx, &mut printer, Vec::new(), &filter, FollowLoop { home, past, stays: false, signals: None, observer: None });
    Ok(())
}

/// Writes the lines of all apps as frames of PM2's bus, until the output has no reader any more.
///
/// # Errors
/// Returns an error if the home cannot be used.
pub(super) fn follow_for_bus(cx: &mut Cx, past: StartPositions) -> Result<(), CliError> {
    let home = cx.home()?.to_owned();
    let filter = LogFilter {
        targets: vec!["all".into()],
        streams: Streams::APPS,
        cwd: "/".into(),
        daemon_log: cx.paths()?.log,
        daemon_name: cx.program.label(),
        own_folder: Some(HomePaths::logs(&home)),
        names: None,
        waits: false,
    };
    let mut printer = Printer::new(LineFormat::Bus, None, None);
    follow(cx, &mut printer, Vec::new(), &filter, FollowLoop { home, past, stays: false, signals: None, observer: None });
    Ok(())
}

/// Passes on the last `count` lines of each error log: the app, the instance and the line.
///
/// # Errors
/// Returns an error if the home cannot be used, or if the daemon does not answer.
#[cfg(feature = "web")]
pub(crate) fn last_errors(cx: &mut Cx, count: u64, each: &mut dyn FnMut(&str, u32, &[u8])) -> Result<(), CliError> {
    let filter = LogFilter {
        targets: vec!["all".into()],
        streams: Streams { out: false, error: true, daemon: false },
        cwd: "/".into(),
        daemon_log: cx.paths()?.log,
        daemon_name: cx.program.label(),
        own_folder: None,
        names: None,
        waits: false,
    };
    for source in filter.sources(&cx.client()?.list()?)? {
        let path = source.path.display().to_string();
        let mut each_line = |source: &Source, line: &Line<'_>| {
            each(&source.name, source.id, line.text);
            true
        };
        Follower::new(source).tail(count, true, &mut each_line).map_err(|source| CliError::File { what: marked!("read"), path, source })?;
    }
    Ok(())
}

fn form(call: &Call) -> LineFormat {
    match () {
        () if call.has("json") => LineFormat::Json,
        () if call.has("format") => LineFormat::Pairs,
        () if call.has("raw") => LineFormat::Raw,
        () => LineFormat::Labelled,
    }
}

fn line_count(call: &Call) -> Result<u64, UsageError> {
    let Some(text) = call.value("lines") else { return Ok(DEFAULT_LINES) };
    let bad = |_| UsageError::BadValue {
        option: "--lines".into(),
        reason: message!("expected a number of lines, found {text}", text = format!("{text:?}")),
    };
    text.trim().parse::<i64>().map(i64::unsigned_abs).map_err(bad)
}

/// Returns the positions of `--after`. The outer none means that the option is missing. The inner
/// none means that positions are only reported.
fn places(call: &Call) -> Result<Option<Option<LogPlaces>>, UsageError> {
    let bad = |reason: String| UsageError::BadValue { option: "--after".into(), reason };
    match (call.has("after"), call.value("after")) {
        (false, _) => Ok(None),
        (true, _) if !call.has("json") || call.has("nostream") => Err(bad(message!("it works only with --json and for new lines"))),
        (true, None) => Ok(Some(None)),
        (true, Some(text)) => serde_json::from_str(text)
            .map(|positions| Some(Some(positions)))
            .map_err(|error| bad(message!("these are not cursors: {error}", error))),
    }
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
        let mut each = |source: &_, line: &Line<'_>| {
            printer.past(&mut cx.out, source, line);
            !cx.out.is_closed()
        };
        follower.tail(count, ends, &mut each).map_err(|source| CliError::File { what: marked!("read"), path, source })?;
        if shows {
            cx.out.line("");
        }
    }
    cx.out.flush();
    Ok(())
}

/// Shows the last lines of all logs: for readers in the order of their times, unless there are very
/// many of them.
fn merged_tail(cx: &mut Cx, printer: &mut Printer, followers: &mut [Follower], count: u64, ends: bool) -> Result<(), CliError> {
    let sources: Vec<Source> = followers.iter().map(|follower| follower.source.clone()).collect();
    let mut past = PastLines::new(sources.iter().map(|source| changed_ms(&source.path)).collect());
    let mut is_empty = true;
    for (place, follower) in followers.iter_mut().enumerate() {
        let path = follower.source.path.display().to_string();
        let mut each = |source: &Source, line: &Line<'_>| {
            is_empty = false;
            if !printer.merges() || past.is_full() {
                show_past(&mut past, &sources, printer, &mut cx.out);
                printer.past(&mut cx.out, source, line);
            } else {
                past.push(place, line.text, line.time, line.is_partial);
            }
            !cx.out.is_closed()
        };
        follower.tail(count, ends, &mut each).map_err(|source| CliError::File { what: marked!("read"), path, source })?;
    }
    show_past(&mut past, &sources, printer, &mut cx.out);
    if is_empty && ends && printer.merges() {
        cx.out.info(message!("no log lines yet"));
    }
    cx.out.flush();
    Ok(())
}

/// Shows the lines that were collected.
fn show_past(past: &mut PastLines, sources: &[Source], printer: &mut Printer, out: &mut Out) {
    past.drain(&mut |log, line| printer.past(out, &sources[log], line));
}

/// Parameters of a follow loop, apart from its followers.
struct FollowLoop<'a> {
    home: PathBuf,
    past: StartPositions,
    /// Whether the loop continues without a reader, but not without a daemon.
    stays: bool,
    signals: Option<&'a mut Signals>,
    observer: Option<&'a mut dyn Observer>,
}

fn follow(cx: &mut Cx, printer: &mut Printer, mut followers: Vec<Follower>, filter: &LogFilter, scene: FollowLoop<'_>) -> Option<i32> {
    let FollowLoop { home, mut past, stays, mut signals, mut observer } = scene;
    let mut watch = Watch::new();
    for follower in &followers {
        follower.watch(&mut watch);
    }
    let mut daemon = DaemonConnection::open(home);
    // A signal may have arrived before the loop started.
    if let Some(nth) = signals.as_ref().map(|signals| signals.count()).filter(|count| *count > 0) {
        daemon.stop(&mut cx.out, observer.as_deref_mut(), nth);
    }
    let mut look_for_new = true;
    // Time of the next memory release; none = no event has happened since the last one.
    let (mut trim_at, mut trimmed_at) = (Some(Instant::now() + FIRST_TRIM_DELAY), None::<Instant>);
    let mut is_over = false;
    loop {
        if let Some(list) = daemon.list() {
            is_over = observer.as_mut().is_some_and(|observer| observer.is_over(&list));
            past.take_more();
            add_new(&mut followers, &list, filter, &past, &mut watch);
            printer.add_instances(&list, filter, followers.iter().map(|follower| &follower.source));
            printer.places(&mut cx.out, &followers);
            printer.begin(&mut cx.out, &past.places);
            look_for_new = true;
        }
        show_new(cx, printer, &mut followers, look_for_new, &mut watch);
        printer.places(&mut cx.out, &followers);
        if let Some(observer) = &mut observer {
            observer.on_lines(&mut cx.out);
        }
        cx.out.flush();
        // The last lines were shown above: a daemon writes its last line before it exits.
        if is_over || stays && daemon.gone {
            return daemon.keeper;
        }
        let look_at = observer.as_ref().and_then(|observer| observer.due());
        let due = followers.iter().filter_map(Follower::due).chain(daemon.ask_at).chain(look_at).min();
        let blind = watch.blind.then_some(BLIND);
        // News that one file's follower took from the watch also concern the other followers.
        let missed = watch.events();
        let at_once = missed.any.then_some(Duration::ZERO);
        let longest = due.map(|at| at.saturating_duration_since(Instant::now())).into_iter().chain(blind).chain(at_once);
        let longest = longest.chain(trim_at.map(|at| at.saturating_duration_since(Instant::now()))).min();
        let signal_fds = signals.as_ref().map(|signals| signals.fds());
        let has_reader = !cx.out.is_closed();
        let wake = wait(has_reader, watch.as_fd(), daemon.client.as_ref(), signal_fds.as_ref().map_or(&[], |fds| &fds[..]), longest);
        if wake.is_quiet() {
            if trim_at.is_some_and(|at| at <= Instant::now()) {
                ostler_sys::memory::rest();
                (trim_at, trimmed_at) = (None, Some(Instant::now()));
            }
        } else if trim_at.is_none() {
            trim_at = trimmed_at.map(|at| (at + TRIM_INTERVAL).max(Instant::now() + FIRST_TRIM_DELAY));
        }
        let is_enough = look_at.is_some_and(|at| at <= Instant::now()) && daemon.observe(observer.as_deref_mut());
        if is_enough || wake.signalled && signals.as_mut().is_some_and(|signals| signals.receive()) {
            let nth = signals.as_ref().map_or(1, |signals| signals.count());
            daemon.stop(&mut cx.out, observer.as_deref_mut(), nth);
            daemon.ask_at = Some(Instant::now());
        }
        if !has_reader || wake.reader_gone {
            if !stays {
                return None;
            }
            cx.out.close();
        }
        if wake.events {
            watch.drain();
        }
        look_for_new = missed.made || watch.events().made;
        if wake.daemon_readable {
            daemon.on_readable(|event| {
                printer.happened(&mut cx.out, &event);
                if let Some(observer) = &mut observer {
                    observer.on_event(&mut cx.out, &event);
                }
            });
            // The lines of the process that has exited come before the marker, those of the next
            // process after it.
            if printer.has_markers() {
                show_new(cx, printer, &mut followers, false, &mut watch);
                printer.show_markers(&mut cx.out);
            }
        }
    }
}

/// Shows the new lines of all logs.
fn show_new(cx: &mut Cx, printer: &mut Printer, followers: &mut [Follower], look_for_new: bool, watch: &mut Watch) {
    printer.refresh(&cx.out);
    for follower in followers {
        let mut each = |source: &_, line: &Line<'_>| {
            printer.present(&mut cx.out, source, line);
            !cx.out.is_closed()
        };
        // A file that cannot be read now may be readable later.
        let _ = follower.advance(look_for_new || watch.blind, watch, &mut each);
        follower.flush_due(&mut each);
    }
}

/// Adds new instances that match the filter.
fn add_new(followers: &mut Vec<Follower>, list: &[Summary], filter: &LogFilter, past: &StartPositions, watch: &mut Watch) {
    let Ok(sources) = filter.sources(list) else { return };
    for source in sources {
        if !followers.iter().any(|follower| follower.source.path == source.path) {
            let position = past.position(&source.path);
            // The folder is watched before the file is opened, so that no move to its name is
            // missed in between.
            watch.folder_of(&source.path);
            let positions: Vec<&LogPlace> = past.places.files.iter().filter(|place| Path::new(&place.path) == source.path).collect();
            let follower = match position {
                _ if !positions.is_empty() => resume(source, &positions),
                0 => Follower::after(source, past.at),
                position => {
                    let mut follower = Follower::new(source);
                    follower.skip_to(position);
                    follower
                }
            };
            follower.watch(watch);
            followers.push(follower);
        }
    }
}

/// Reason for which a wait returned.
struct WakeReason {
    events: bool,
    daemon_readable: bool,
    signalled: bool,
    reader_gone: bool,
}

impl WakeReason {
    /// Returns true if only time has passed.
    const fn is_quiet(&self) -> bool {
        !(self.events || self.daemon_readable || self.signalled || self.reader_gone)
    }
}

/// Adds a descriptor, if it exists; returns its index.
fn add<'a>(fds: &mut Vec<PollFd<'a>>, fd: Option<PollFd<'a>>) -> Option<usize> {
    fds.push(fd?);
    Some(fds.len() - 1)
}

fn wait(
    has_reader: bool,
    watch: Option<BorrowedFd<'_>>,
    client: Option<&Client>,
    signals: &[BorrowedFd<'_>],
    longest: Option<Duration>,
) -> WakeReason {
    let stdout = io::stdout();
    let mut fds: Vec<PollFd<'_>> = signals.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    // The poll requests no events on stdout, so it reports only that the reader is gone.
    let reader_at = add(&mut fds, has_reader.then(|| PollFd::new(&stdout, PollFlags::empty())));
    let watch_at = add(&mut fds, watch.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
    let client_at = add(&mut fds, client.map(|client| PollFd::new(client, PollFlags::IN)));
    let timeout = longest.and_then(|time| Timespec::try_from(time).ok());
    if poll(&mut fds, timeout.as_ref()).is_err() {
        return WakeReason { events: true, daemon_readable: false, signalled: true, reader_gone: false };
    }
    let revents = |at: Option<usize>| at.and_then(|at| fds.get(at)).map_or(PollFlags::empty(), PollFd::revents);
    WakeReason {
        events: !revents(watch_at).is_empty(),
        daemon_readable: !revents(client_at).is_empty(),
        signalled: fds.iter().take(signals.len()).any(|fd| !fd.revents().is_empty()),
        reader_gone: revents(reader_at).intersects(PollFlags::ERR | PollFlags::NVAL),
    }
}
