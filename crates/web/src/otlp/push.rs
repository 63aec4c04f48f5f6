//! Push: sends the samples of the history, the daemon's events and log lines to a receiver. It
//! delays no other task. Data that the receiver does not accept in time is dropped and counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Method;
use ostler_alerts::channel::Url;
use ostler_http::Ending;
use ostler_otlp::decode::Signal;
use ostler_otlp::encode::{Origin, Record, Sender, Severity, logs, metrics, trace_of};
use ostler_otlp::queue::{Batch, Queue, SendOutcome, SenderAction, judge};
use ostler_proto::control::Event;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Instances, Otlp, log_line};
use crate::clock::now_ms;
use crate::daemon::{Daemon, EventUpdate};
use crate::logs::LogProcess;
use crate::settings::otlp::Push;
use crate::snapshot::RecordedSnapshot;

/// Maximum number of waiting bytes, compressed.
const MOST: usize = 8 << 20;
/// Maximum number of records in a request, and of bytes of their texts.
const RECORDS: usize = 512;
const BYTES: usize = 512 << 10;
/// Maximum time that a record waits for others.
const TOGETHER: Duration = Duration::from_secs(1);
/// Maximum number of sources in a request with metrics.
const GROUPS: usize = 200;
/// Time limit for a whole request.
const REQUEST: Duration = Duration::from_secs(10);
/// Maximum number of bytes of lines that are read per second; the rest waits in the log files.
const BYTES_PER_SECOND: usize = 2 << 20;
/// Maximum length of a line.
const LONGEST: usize = 16 << 10;
/// Pause before the reader process is started again: the first and the maximum.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);
/// Name of ostler's own service, and of the daemon's log among the others.
const OWN: &str = "ostler";

pub(super) struct Pusher {
    home: PathBuf,
    url: Url,
    push: Push,
    otlp: Rc<Otlp>,
    instances: Rc<Instances>,
    daemon: Daemon,
    sender: Sender,
    queue: Queue,
    records: BTreeMap<Origin, Vec<Record>>,
    /// Number of records that wait for others, bytes of their texts, and the end of their wait.
    waiting: (usize, usize, Option<Instant>),
    began: Instant,
    lines: LineReader,
}

/// Process that reads lines.
struct LineReader {
    process: Option<LogProcess>,
    /// Time at which it is started; none = it runs, or lines are not sent.
    start_at: Option<Instant>,
    started: Instant,
    pause: Duration,
    /// Start of the present second, and the bytes that were read in it.
    second: (Instant, usize),
}

impl Pusher {
    pub(super) fn new(home: &Path, url: Url, push: Push, otlp: Rc<Otlp>, instances: Rc<Instances>, daemon: Daemon) -> Self {
        let now = Instant::now();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let start_at = push.logs.then_some(now);
        Self {
            home: home.to_owned(),
            url,
            push,
            otlp,
            instances,
            daemon,
            sender: Sender { host, version: ostler_client::VERSION, since_ns: now_ns() },
            queue: Queue::new(MOST),
            records: BTreeMap::new(),
            waiting: (0, 0, None),
            began: now,
            lines: LineReader { process: None, start_at, started: now, pause: AGAIN, second: (now, 0) },
        }
    }

    pub(super) async fn run(mut self, mut ending: Ending) {
        let (done, mut verdicts) = mpsc::channel(1);
        let mut moments = self.daemon.recorded_snapshots();
        let mut updates = self.daemon.updates();
        loop {
            let due = self.run_due(&done);
            tokio::select! {
                () = ending.stop_requested() => return,
                Some(verdict) = verdicts.recv() => self.done(verdict),
                moment = moments.recv() => match moment {
                    Ok(moment) => self.handle_snapshot(&moment).await,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                update = updates.recv() => match update {
                    Ok(EventUpdate::Event(event)) => self.handle_event(&event).await,
                    Ok(EventUpdate::Gap) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                line = self.lines.next() => self.handle_line(line).await,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    fn clock_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Does the work that is due. Returns the time of the next work.
    fn run_due(&mut self, done: &mpsc::Sender<SendOutcome>) -> Option<Instant> {
        let now = Instant::now();
        if self.waiting.2.is_some_and(|until| until <= now) {
            self.flush();
        }
        if self.lines.start_at.is_some_and(|at| at <= now) {
            self.lines.start(&self.home, now);
        }
        let again = match self.queue.next(self.clock_ms()) {
            SenderAction::Nothing => None,
            SenderAction::At(ms) => Some(self.began + Duration::from_millis(ms)),
            SenderAction::Send(batch) => {
                self.send(batch, done.clone());
                None
            }
        };
        [self.waiting.2, self.lines.start_at, again].into_iter().flatten().min()
    }

    fn send(&self, batch: Batch, done: mpsc::Sender<SendOutcome>) {
        let url = self.url.join_path(if batch.signal == Signal::Metrics { "/v1/metrics" } else { "/v1/logs" });
        let mut headers = self.push.headers.clone();
        headers.extend(
            [("content-type", "application/json"), ("content-encoding", "gzip")].map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        drop(tokio::task::spawn_local(async move {
            let sent = timeout(REQUEST, crate::http::client::exchange(Method::POST, &url, &headers, batch.body)).await;
            let verdict = match sent {
                Ok(Ok(got)) => judge(got.answer.status, got.answer.retry_after.as_deref(), got.answer.body.as_bytes()),
                Ok(Err(why)) => SendOutcome::Later(None, explained(why.to_string(), url.port)),
                Err(_) => SendOutcome::Later(None, format!("it did not answer within {} s", REQUEST.as_secs())),
            };
            let _ = done.send(verdict).await;
        }));
    }

    fn done(&mut self, verdict: SendOutcome) {
        let chance = f64::from(u16::from_ne_bytes(crate::access::random::<2>())) / f64::from(u16::MAX);
        if let Some(text) = self.queue.done(verdict, self.clock_ms(), chance) {
            log_line(format_args!("{}: {text}", self.url.origin()));
        }
        self.publish_state();
    }

    /// Updates the state that requests can see.
    fn publish_state(&self) {
        if let Some(state) = &self.otlp.push {
            state.borrow_mut().counts.clone_from(self.queue.counts());
        }
    }

    fn push(&mut self, signal: Signal, body: &[u8], items: usize) {
        use std::io::Write as _;
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing to memory cannot fail.
        let body = packed.write_all(body).and_then(|()| packed.finish()).unwrap_or_default();
        self.queue.push(Batch { signal, body, items: items as u64 });
        self.publish_state();
    }

    async fn handle_snapshot(&mut self, moment: &RecordedSnapshot) {
        let rows = &moment.snapshot.rows;
        self.instances.refresh_after_event(|known| rows.iter().any(|row| known.by_number(row.id).is_none())).await;
        let origin = |number| self.instances.by_number(number).map(|instance| instance.origin.clone());
        let groups = super::figures::figures(moment, origin);
        for groups in groups.chunks(GROUPS) {
            let body = metrics(&self.sender, groups, moment.snapshot.at_ms.saturating_mul(1_000_000));
            self.push(Signal::Metrics, &body, groups.iter().map(|(_, figures)| figures.len()).sum());
        }
    }

    async fn handle_event(&mut self, event: &Arc<Event>) {
        let view = crate::view::event(event);
        let severity = match view.severity {
            "critical" => Severity::Error,
            "warning" => Severity::Warn,
            _ => Severity::Info,
        };
        let record = Record {
            at_ns: Some(view.at.saturating_mul(1_000_000)),
            observed_ns: now_ns(),
            severity: Some(severity),
            body: view.app.iter().chain([&view.text]).map(String::as_str).collect::<Vec<_>>().join(" "),
            event: Some(format!("ostler.{}", view.kind)),
            trace: None,
            attributes: vec![("ostler.event.who", view.who), ("ostler.event.sequence", view.sequence.to_string())],
        };
        self.add(view.app, view.instance, record).await;
    }

    /// Handles a line or the exit of the process.
    async fn handle_line(&mut self, line: Option<crate::logs::LogLine>) {
        let Some(line) = line else { return self.lines.ended() };
        // The dashboard's own log would send reports about sending. The daemon's log repeats the
        // events.
        let is_daemon = line.instance.is_none() && line.app.as_deref() == Some(OWN);
        if is_daemon || line.app.as_deref() == Some(crate::settings::names::APP) {
            return;
        }
        let end = (0..=line.text.len().min(LONGEST)).rev().find(|at| line.text.is_char_boundary(*at)).unwrap_or(0);
        let text = &line.text[..end];
        let mut attributes = vec![("log.iostream", if line.stream == "err" { "stderr" } else { "stdout" }.to_owned())];
        let marks = [("ostler.log.partial", line.partial), ("ostler.log.truncated", line.cut || end < line.text.len())];
        attributes.extend(marks.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| (name, "true".to_owned())));
        let record = Record {
            at_ns: None,
            observed_ns: now_ns(),
            severity: None,
            body: text.to_owned(),
            event: None,
            trace: trace_of(text),
            attributes,
        };
        self.add(line.app, line.instance.and_then(|id| u32::try_from(id).ok()), record).await;
    }

    async fn add(&mut self, app: Option<String>, instance: Option<u32>, mut record: Record) {
        if let Some(number) = instance {
            self.instances.refresh_after_event(|known| known.by_number(number).is_none()).await;
        }
        // The number may belong to another app by now; that app must not get the line.
        let known =
            instance.and_then(|number| self.instances.by_number(number)).filter(|known| Some(&known.origin.service) == app.as_ref());
        let hide = |text: &str| match &known {
            Some(known) => known.hide(None, text),
            None => super::instances::hide(&[], None, text),
        };
        if let Some(shown) = hide(&record.body) {
            record.body = shown;
        }
        let unknown = || Origin { service: app.clone().unwrap_or_else(|| OWN.into()), number: instance, ..Origin::default() };
        let origin = known.as_ref().map_or_else(unknown, |known| known.origin.clone());
        self.waiting.0 += 1;
        self.waiting.1 += record.len();
        self.waiting.2.get_or_insert(Instant::now() + TOGETHER);
        self.records.entry(origin).or_default().push(record);
        if self.waiting.0 >= RECORDS || self.waiting.1 >= BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let groups: Vec<_> = std::mem::take(&mut self.records).into_iter().collect();
        let (items, ..) = std::mem::take(&mut self.waiting);
        if items > 0 {
            self.push(Signal::Logs, &logs(&self.sender, &groups), items);
        }
    }
}

impl LineReader {
    fn start(&mut self, home: &Path, now: Instant) {
        self.process = LogProcess::start(home, &["--lines".to_owned(), "0".to_owned()]).ok();
        self.started = now;
        self.start_at = self.process.is_none().then(|| now + self.pause);
    }

    fn ended(&mut self) {
        self.process = None;
        self.pause = if self.started.elapsed() > AGAIN_AT_MOST { AGAIN } else { (self.pause * 2).min(AGAIN_AT_MOST) };
        self.start_at = Some(Instant::now() + self.pause);
    }

    /// Returns the next line; none = the process has exited. Waits forever if there is no process.
    /// The future may be dropped while it waits.
    async fn next(&mut self) -> Option<crate::logs::LogLine> {
        let Some(process) = &mut self.process else { return std::future::pending().await };
        if self.second.1 > BYTES_PER_SECOND {
            sleep_until(self.second.0 + Duration::from_secs(1)).await;
        }
        let line = process.next().await?;
        let now = Instant::now();
        if now.duration_since(self.second.0) >= Duration::from_secs(1) {
            self.second = (now, 0);
        }
        self.second.1 += line.text.len() + 64;
        Some(line)
    }
}

/// Returns why a request failed, with a hint if its port is the gRPC port.
fn explained(why: String, port: u16) -> String {
    const GRPC: u16 = 4317;
    if port == GRPC { format!("{why}; {GRPC} is the port of OTLP over gRPC: ostler uses OTLP over HTTP, usually port 4318") } else { why }
}

fn now_ns() -> u64 {
    now_ms().saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::explained;

    #[test]
    fn failure_on_grpc_port_suggests_http_port() {
        assert!(explained("it broke off".into(), 4317).contains("OTLP over HTTP, usually port 4318"));
        assert_eq!(explained("it broke off".into(), 4318), "it broke off");
    }
}
