//! Task that owns the engine: it feeds events into the engine, sends the messages, and keeps
//! everything in between on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ostler_alerts::channel::Service;
use ostler_alerts::dispatch::{Dispatch, SendAction};
use ostler_alerts::engine::{AlertChange, Config, EngineState, StepOutput, step};
use ostler_alerts::input::{Input, Occurrence, OccurrenceKind};
use ostler_alerts::journal::{JournalRecord, OutboxContents};
use ostler_alerts::message::Message;
use ostler_alerts::render::DeliveryResult;
use ostler_alerts::rule::{Condition, Pattern, SAMPLE_MS};
use ostler_core::logs::masking::masked;
use ostler_core::text::fnv::fnv_64;
use ostler_http::Ending;
use ostler_proto::control::{Event, Position};
use ostler_sys::fs::inotify::{Inotify, WatchFlags};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::task::{AbortHandle, spawn_local};

use super::descriptions::{AppDescriptions, descriptions};
use super::outbox::Outbox;
use super::overview::{Overview, overview};
use super::report::TaskReport;
use super::settings::{AlertSettings, Settings};
use super::{SharedState, check, classify, figures, lines, send};
use crate::clock::now_ms;
use crate::daemon::{Daemon, EventUpdate};
use crate::errors::{Collected, NewException};
use crate::json_file::FileVersion;

/// Minimum time between two queries of the descriptions.
const DESCRIBE_MS: u64 = 1000;
/// Time after which a state without new messages is written to disk.
const SAVE_MS: u64 = 1000;
/// Maximum number of reports that wait for the task.
const REPORTS: usize = 256;
/// Maximum number of events that are evaluated in a row before other work.
const AT_ONCE: usize = 1000;

/// Alert state that requests can see.
#[derive(Debug, Default)]
pub(crate) struct VisibleState {
    settings: AlertSettings,
    problems: Vec<String>,
    state: EngineState,
    outbox: Option<Outbox>,
}

impl VisibleState {
    /// Returns the overview for display.
    pub(crate) fn overview(&self) -> Overview {
        let nothing = OutboxContents::default();
        let contents = self.outbox.as_ref().map_or(&nothing, |outbox| &outbox.contents);
        let mut shown = overview(contents, Some(&self.state), &self.settings, now_ms());
        shown.problems.extend(self.problems.iter().cloned());
        shown.problems.extend(self.outbox.as_ref().and_then(|outbox| outbox.trouble.clone()));
        shown
    }
}

/// Starts the task on the thread that serves. Returns the state that requests can see.
pub(crate) fn start(home: &Path, daemon: &Daemon, errors: &Collected, ending: &Ending) -> SharedState {
    let live = SharedState::default();
    let task = run(home.to_owned(), daemon.clone(), errors.new_exceptions(), Rc::clone(&live), ending.clone());
    drop(spawn_local(task));
    live
}

async fn run(home: PathBuf, daemon: Daemon, mut errors: broadcast::Receiver<Arc<NewException>>, live: SharedState, mut ending: Ending) {
    let watch = watch(&home);
    let (sender, mut reports) = mpsc::channel(REPORTS);
    let mut runner = Runner::new(home, daemon, live, sender);
    let mut updates: Option<broadcast::Receiver<EventUpdate>> = None;
    loop {
        runner.reload();
        if !runner.is_on() {
            updates = None;
            errors = errors.resubscribe();
            runner.stop_evaluation();
            tokio::select! {
                () = changed(watch.as_ref()) => continue,
                () = ending.stop_requested() => return,
            }
        }
        if updates.is_none() && runner.is_ready() {
            updates = Some(runner.catch_up());
        }
        let wake = runner.run_due();
        tokio::select! {
            biased;
            () = ending.stop_requested() => return runner.save(true),
            got = next(&mut updates) => match got {
                Ok(first) => runner.evaluate_all(first, updates.as_mut()),
                // Events were missed; the rest is read again from the known events.
                Err(()) => updates = None,
            },
            Some(report) = reports.recv() => runner.take(report),
            fresh = errors.recv() => match fresh {
                Ok(fresh) => runner.on_exception(&fresh),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return runner.save(true),
            },
            () = changed(watch.as_ref()) => {}
            () = tokio::time::sleep(wake) => {}
        }
    }
}

/// Returns the next event, or an error if events were missed.
async fn next(updates: &mut Option<broadcast::Receiver<EventUpdate>>) -> Result<Arc<Event>, ()> {
    let Some(updates) = updates else { return std::future::pending().await };
    match updates.recv().await {
        Ok(EventUpdate::Event(event)) => Ok(event),
        Ok(EventUpdate::Gap) | Err(broadcast::error::RecvError::Lagged(_)) => Err(()),
        Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
    }
}

/// Starts a thread that watches the settings folder, and returns its notifier; none = inotify is
/// not available.
fn watch(home: &Path) -> Option<Arc<Notify>> {
    let _ = crate::json_file::make_folder(home);
    let inotify = Inotify::new().ok()?;
    inotify.watch(crate::settings::names::folder(home), WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::DELETE).ok()?;
    let notify = Arc::new(Notify::new());
    let tells = Arc::clone(&notify);
    let wait = move || {
        while poll(&mut [PollFd::new(&inotify, PollFlags::IN)], None).is_ok_and(|ready| ready > 0) {
            inotify.clear();
            tells.notify_one();
        }
    };
    std::thread::Builder::new().name("settings".into()).stack_size(64 << 10).spawn(wait).ok()?;
    Some(notify)
}

/// Waits until a file in the folder changes; without a watch, for a fixed time.
async fn changed(watch: Option<&Arc<Notify>>) {
    match watch {
        Some(watch) => watch.notified().await,
        None => tokio::time::sleep(Duration::from_secs(5)).await,
    }
}

/// State of the alert task.
struct Runner {
    home: PathBuf,
    daemon: Daemon,
    live: SharedState,
    reports: mpsc::Sender<TaskReport>,
    /// Version of the settings that are in effect; none until they were read.
    version: Option<Option<FileVersion>>,
    config: Config,
    services: BTreeMap<String, Service>,
    descriptions: Option<AppDescriptions>,
    dispatch: Dispatch,
    /// Time of the next query of the descriptions; none = they are known.
    describe_at: Option<u64>,
    is_describing: bool,
    sample_at: u64,
    is_sampling: bool,
    /// Time of each rule's next check; none = it is running.
    checks: BTreeMap<String, Option<u64>>,
    patterns: Vec<String>,
    reader: Option<AbortHandle>,
    /// Alerts that began or ended since the last record.
    changes: Vec<AlertChange>,
    /// Checksum of the state on disk.
    saved: u64,
    save_at: Option<u64>,
    /// True if there was no channel; events from that time are not evaluated.
    rested: bool,
}

impl Runner {
    fn new(home: PathBuf, daemon: Daemon, live: SharedState, reports: mpsc::Sender<TaskReport>) -> Self {
        Self {
            home,
            daemon,
            live,
            reports,
            version: None,
            config: Config::default(),
            services: BTreeMap::new(),
            descriptions: None,
            dispatch: Dispatch::default(),
            describe_at: Some(0),
            is_describing: false,
            sample_at: 0,
            is_sampling: false,
            checks: BTreeMap::new(),
            patterns: Vec::new(),
            reader: None,
            changes: Vec::new(),
            saved: 0,
            save_at: None,
            rested: false,
        }
    }

    fn is_on(&self) -> bool {
        !self.services.is_empty()
    }

    /// Returns true if the rules of apps and a position in the events are known.
    fn is_ready(&self) -> bool {
        self.descriptions.is_some() && self.daemon.position().is_some()
    }

    /// Reads the settings if they have changed.
    fn reload(&mut self) {
        let settings = Settings::of(&self.home);
        let version = settings.version();
        if self.version == Some(version) {
            return;
        }
        self.version = Some(version);
        let fresh = settings.read();
        // A file that is being edited may be invalid for a moment; the former settings stay in
        // effect.
        if self.is_on() && settings.file().is_err() {
            self.live.borrow_mut().settings.problems = fresh.problems;
            return;
        }
        let settings = fresh;
        self.services = settings.channels.iter().map(|channel| (channel.policy.name.clone(), channel.service.clone())).collect();
        self.live.borrow_mut().settings = settings;
        self.configure();
    }

    /// Applies the settings, combined with the rules of apps.
    fn configure(&mut self) {
        let mut live = self.live.borrow_mut();
        let settings = &live.settings;
        let own = self.descriptions.as_ref().map(|descriptions| descriptions.rules.clone()).unwrap_or_default();
        let unknown = settings.unknown_channels(&own);
        self.config = Config {
            rules: settings.rules.iter().cloned().chain(own).collect(),
            channels: settings.channels.iter().map(|channel| channel.policy.clone()).collect(),
            silences: settings.silences.clone(),
            host: super::host_name(),
        };
        live.problems = self.descriptions.as_ref().map(|descriptions| descriptions.problems.clone()).unwrap_or_default();
        live.problems.extend(unknown);
        drop(live);
        let checks = self.config.rules.iter().filter(|rule| matches!(rule.condition, Condition::Check(_)));
        let due = |rule: &ostler_alerts::rule::Rule| (rule.name.clone(), self.checks.get(&rule.name).copied().unwrap_or(Some(0)));
        self.checks = checks.map(due).collect();
        self.follow_lines();
        self.step(Input::Time);
    }

    /// Starts the reader of log lines if rules need it.
    fn follow_lines(&mut self) {
        let patterns: Vec<Pattern> = self
            .config
            .rules
            .iter()
            .filter_map(|rule| if let Condition::Log { pattern, .. } = &rule.condition { Some(pattern.clone()) } else { None })
            .collect();
        let texts: Vec<String> = patterns.iter().map(|pattern| pattern.text().to_owned()).collect();
        if texts == self.patterns {
            return;
        }
        self.patterns = texts;
        if let Some(reader) = self.reader.take() {
            reader.abort();
        }
        if !patterns.is_empty() {
            let (home, reports) = (self.home.clone(), self.reports.clone());
            let task = spawn_local(async move { lines::follow(&home, &patterns, &reports).await });
            self.reader = Some(task.abort_handle());
        }
    }

    /// Stops evaluation because there is no channel. Events until the next channel is added are not
    /// evaluated later.
    fn stop_evaluation(&mut self) {
        let mut live = self.live.borrow_mut();
        if live.outbox.take().is_some() {
            live.state = EngineState::default();
        }
        self.rested = true;
        self.descriptions = None;
        self.describe_at = Some(0);
    }

    /// Opens the outbox and the state when the first channel is added.
    fn open(&mut self) {
        let mut live = self.live.borrow_mut();
        if live.outbox.is_some() {
            return;
        }
        let outbox = Outbox::open(&self.home);
        let origin = || u64::from_ne_bytes(crate::access::random::<8>());
        let mut state = outbox.contents.state.clone().filter(|state| state.origin != 0).unwrap_or_else(|| EngineState::new(origin()));
        state.resume(now_ms());
        live.state = state;
        live.outbox = Some(outbox);
    }

    /// Evaluates the events since the last evaluated one, and returns a receiver for those that
    /// follow.
    fn catch_up(&mut self) -> broadcast::Receiver<EventUpdate> {
        if std::mem::take(&mut self.rested) {
            self.live.borrow_mut().state.position = None;
        }
        let position = self.live.borrow().state.position.map(|(epoch, seq)| Position { epoch, seq });
        let (past, updates) = self.daemon.since(position);
        if position.is_none() {
            self.live.borrow_mut().state.position = self.daemon.position().map(|position| (position.epoch, position.seq));
        }
        self.check_for_reboot();
        // Events may have been lost; the list of instances shows which alerts are over.
        self.describe_at.get_or_insert(now_ms() + DESCRIBE_MS);
        past.iter().for_each(|event| self.evaluate(event));
        self.will_save();
        updates
    }

    /// Reports a reboot if the boot id differs from the last one.
    fn check_for_reboot(&mut self) {
        let boot = ostler_sys::time::clock::boot_id().unwrap_or_default();
        let before = std::mem::replace(&mut self.live.borrow_mut().state.boot, boot.clone());
        if !before.is_empty() && before != boot {
            let text = "restarted: the machine rebooted".to_owned();
            self.step(Input::Occurred(Occurrence { kind: OccurrenceKind::HostRebooted, app: String::new(), instance: None, text }));
        }
    }

    /// Evaluates an event and all others that have already arrived.
    fn evaluate_all(&mut self, first: Arc<Event>, updates: Option<&mut broadcast::Receiver<EventUpdate>>) {
        self.evaluate(&first);
        let Some(updates) = updates else { return };
        for _ in 0..AT_ONCE {
            match updates.try_recv() {
                Ok(EventUpdate::Event(event)) => self.evaluate(&event),
                // After a gap, evaluation continues with the next event. The missed events are
                // lost, and the gap has been reported.
                Ok(EventUpdate::Gap) | Err(_) => return,
            }
        }
    }

    fn evaluate(&mut self, event: &Event) {
        let position = (event.epoch, event.seq);
        if self.live.borrow().state.position.is_some_and(|(epoch, seq)| epoch == position.0 && seq >= position.1) {
            return;
        }
        self.live.borrow_mut().state.position = Some(position);
        self.will_save();
        let nothing = AppDescriptions::default();
        let known = self.descriptions.as_ref().unwrap_or(&nothing);
        let Some(occurrence) = classify::occurrence(event, |app| known.jobs.contains(app), &known.secrets) else { return };
        if matches!(
            occurrence.kind,
            OccurrenceKind::Online | OccurrenceKind::ReloadEnded | OccurrenceKind::Deleted | OccurrenceKind::Stopped
        ) {
            self.describe_at.get_or_insert(now_ms() + DESCRIBE_MS);
        }
        self.step(Input::Occurred(occurrence));
    }

    /// Runs a step and records its messages on disk.
    fn step(&mut self, input: Input) {
        if !self.is_on() {
            return;
        }
        self.open();
        if self.descriptions.is_none() {
            return;
        }
        let StepOutput { messages, changes } = step(&mut self.live.borrow_mut().state, &self.config, input, now_ms());
        self.changes.extend(changes);
        if messages.is_empty() {
            // If the process dies before the state is on disk, the next one evaluates the same
            // events again.
            return self.will_save();
        }
        self.record(messages);
    }

    /// Writes the state and the messages to disk before a message is sent.
    fn record(&mut self, messages: Vec<Message>) {
        let mut live = self.live.borrow_mut();
        let (state, at_once) = (Box::new(live.state.clone()), !messages.is_empty());
        self.saved = sum(&live.state);
        let changes = std::mem::take(&mut self.changes);
        if let Some(outbox) = &mut live.outbox {
            self.daemon.recorder().marks().alerted(&changes);
            outbox.append(JournalRecord::Step { state, messages, changes }, at_once);
        }
    }

    fn will_save(&mut self) {
        self.save_at.get_or_insert(now_ms() + SAVE_MS);
    }

    /// Writes a state without new messages.
    fn save(&mut self, at_once: bool) {
        let due = self.save_at.is_some_and(|at| at_once || at <= now_ms());
        if !due {
            return;
        }
        self.save_at = None;
        let has_changed = sum(&self.live.borrow().state) != self.saved;
        if has_changed || !self.changes.is_empty() {
            self.record(vec![]);
        }
    }

    /// Does the work that is due. Returns the time until the next work if no event arrives.
    fn run_due(&mut self) -> Duration {
        let now = now_ms();
        self.open();
        if self.live.borrow().state.wake_ms().is_some_and(|at| at <= now) {
            self.step(Input::Time);
        }
        self.save(false);
        let sends = self.send();
        self.describe(now);
        self.sample(now);
        self.check(now);
        let wake = self.live.borrow().state.wake_ms().filter(|_| self.descriptions.is_some());
        let checks = self.checks.values().flatten().min().copied();
        let sample = (!self.is_sampling).then_some(self.sample_at);
        let describe = self.describe_at.filter(|_| !self.is_describing);
        let next = [wake, sends, checks, sample, describe, self.save_at].into_iter().flatten().min().unwrap_or(now + SAMPLE_MS);
        // Bounded, because the clock may be set during the wait.
        Duration::from_millis(next.saturating_sub(now_ms()).clamp(1, SAMPLE_MS))
    }

    /// Starts sending the messages that are due.
    fn send(&mut self) -> Option<u64> {
        let mut live = self.live.borrow_mut();
        let outbox = live.outbox.as_mut()?;
        let (services, now) = (&self.services, now_ms());
        let (orders, again) = self.dispatch.next(&outbox.contents.waiting, |name| services.get(name).map(Service::per_minute), now);
        for order in orders {
            match order {
                SendAction::GiveUp { id, why } => outbox.append(JournalRecord::Done { id, fault: Some(why), at: now }, false),
                SendAction::Send(message) => {
                    let Some(service) = self.services.get(&message.channel).cloned() else { continue };
                    let reports = self.reports.clone();
                    drop(spawn_local(async move {
                        let verdict = send::send(&service, &message).await;
                        let _ = reports.send(TaskReport::Sent { channel: message.channel, id: message.id, verdict }).await;
                    }));
                }
            }
        }
        again
    }

    /// Queries the descriptions of the apps.
    fn describe(&mut self, now: u64) {
        if self.is_describing || self.describe_at.is_none_or(|at| at > now) {
            return;
        }
        self.is_describing = true;
        self.describe_at = None;
        let (daemon, reports) = (self.daemon.clone(), self.reports.clone());
        drop(spawn_local(async move {
            let total = ostler_sys::machine::host::HostSample::take().memory_bytes.0;
            let reply = daemon.query(|client| client.inspect(&[])).await;
            let descriptions = reply.ok().map(|details| Box::new(descriptions(&details, total)));
            let _ = reports.send(TaskReport::Described { asked_ms: now, descriptions }).await;
        }));
    }

    /// Takes a sample of the metrics if rules need them.
    fn sample(&mut self, now: u64) {
        if self.is_sampling || self.sample_at > now {
            return;
        }
        self.sample_at = now + SAMPLE_MS;
        let is_figure = |condition: &Condition| matches!(condition, Condition::Threshold(_) | Condition::Forecast { .. });
        let is_own = |condition: &Condition| {
            let usual = |metric: &str| metric.starts_with("host.") || ["cpu", "memory", "restarts"].contains(&metric);
            matches!(condition, Condition::Threshold(threshold) if !usual(&threshold.metric))
        };
        if !self.config.rules.iter().any(|rule| is_figure(&rule.condition)) {
            return;
        }
        if self.config.rules.iter().any(|rule| is_own(&rule.condition)) {
            self.describe_at = Some(now);
            self.describe(now);
        }
        self.is_sampling = true;
        let (daemon, reports) = (self.daemon.clone(), self.reports.clone());
        drop(spawn_local(async move {
            let snapshot = daemon.refresh_table().await;
            let _ = reports.send(TaskReport::Sampled(snapshot)).await;
        }));
    }

    fn check(&mut self, now: u64) {
        for rule in &self.config.rules {
            let (Condition::Check(what), Some(due)) = (&rule.condition, self.checks.get_mut(&rule.name)) else { continue };
            if due.is_none_or(|at| at > now) {
                continue;
            }
            *due = None;
            let (what, rule, reports) = (what.clone(), rule.name.clone(), self.reports.clone());
            drop(spawn_local(async move {
                let result = check::check(&what).await;
                let _ = reports.send(TaskReport::Checked { rule, result }).await;
            }));
        }
    }

    /// Handles a report.
    fn take(&mut self, report: TaskReport) {
        let now = now_ms();
        match report {
            TaskReport::Described { descriptions: None, .. } => {
                self.is_describing = false;
                self.describe_at = Some(now + DESCRIBE_MS);
            }
            TaskReport::Described { asked_ms, descriptions: Some(mut descriptions) } => {
                self.is_describing = false;
                let apps = std::mem::take(&mut descriptions.apps);
                let before = self.descriptions.replace(*descriptions);
                let rules = self.descriptions.as_ref().map(|descriptions| &descriptions.rules);
                if before.as_ref().map(|before| &before.rules) != rules {
                    self.configure();
                }
                self.step(Input::Listed { apps, at_ms: asked_ms });
                let figures = self.descriptions.as_mut().map(|descriptions| std::mem::take(&mut descriptions.figures));
                figures.into_iter().flatten().for_each(|sample| self.step(Input::Measured(sample)));
            }
            TaskReport::Sampled(snapshot) => {
                self.is_sampling = false;
                let Some(descriptions) = self.descriptions.as_ref().filter(|_| snapshot.peer.is_some()) else { return };
                figures::samples(&snapshot, descriptions).into_iter().for_each(|sample| self.step(Input::Measured(sample)));
            }
            TaskReport::Checked { rule, result } => {
                let every = self.config.rules.iter().find(|known| known.name == rule).map(|known| match &known.condition {
                    Condition::Check(check) => check.every_ms,
                    _ => SAMPLE_MS,
                });
                self.checks.entry(rule.clone()).and_modify(|due| *due = every.map(|every| now + every));
                self.step(Input::Checked { rule, result: result.map_err(|error| error.to_string()) });
            }
            TaskReport::Wrote { app, instance, line } => {
                let line = masked(&line, self.descriptions.as_ref().map_or(&[][..], |descriptions| &descriptions.secrets));
                self.step(Input::Wrote { app, instance, line });
            }
            TaskReport::Sent { channel, id, verdict } => self.sent(&channel, id, verdict, now),
        }
    }

    /// Evaluates an exception that is new or has returned.
    fn on_exception(&mut self, NewException { app, instance, title, returned }: &NewException) {
        let (app, title) = (app.clone(), title.clone());
        self.step(Input::Exception { app, instance: Some(*instance), title, returned: *returned });
    }

    fn sent(&mut self, channel: &str, id: String, verdict: DeliveryResult, now: u64) {
        let is_done = self.dispatch.done(channel, &id, &verdict, now);
        let fault = match verdict {
            DeliveryResult::Delivered => None,
            DeliveryResult::Later { why, .. } | DeliveryResult::Refused(why) => Some(why),
        };
        // Only the first of several failures is logged.
        if let Some(why) = fault.as_ref().filter(|_| is_done || self.dispatch.failures(channel) == 1) {
            let what = if is_done { "was not sent" } else { "will be retried" };
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("alerts: message {id} to {channel} {what}: {why}\n"));
        }
        if let (true, Some(outbox)) = (is_done, &mut self.live.borrow_mut().outbox) {
            outbox.append(JournalRecord::Done { id, fault, at: now }, false);
        }
    }
}

/// Returns a checksum of a state.
fn sum(state: &EngineState) -> u64 {
    fnv_64(serde_json::to_vec(state).unwrap_or_default())
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.abort();
        }
    }
}
