//! `events`: the events of apps, and their causes.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use ostler_client::Notification;
use ostler_core::message;
use ostler_core::text::units;
use ostler_proto::control::{Event, MissedEntries, Position, Request, Response, TableRow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::cli::Call;
use crate::client::{Client, ClientError, connect_or_find};
use crate::cx::{Cx, user_name};
use crate::error::{CliError, Status, UsageError};
use crate::render::face::EventColumns;
use crate::render::{Out, event_line};
use crate::text::shown;

/// Time between two attempts to find a lost daemon.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Shows the known events. With `--follow`, it then shows new events.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let mut filter = EventFilter::from(call, cx.out.view().now_ms)?;
    let Response::Events { list, position } = cx.client()?.request(&Request::Events, &mut |_| {})? else {
        return Err(ClientError::Unexpected.into());
    };
    let instances = cx.client()?.table()?;
    if let Some(app) = filter.unknown(&instances, &list) {
        if !call.has("follow") {
            return Err(no_such_app(cx, app, &instances, &list));
        }
        cx.out.warn_err(message!("no app is named {name} yet; its events appear once it starts", name = shown(app)));
    }
    if cx.program.is_pm2() || filter.json {
        list.iter().for_each(|event| filter.show(&mut cx.out, event));
    } else {
        filter.columns = Some(instances.iter().fold(EventColumns::default(), |columns, row| columns.with_instance(&row.name, row.id)));
        filter.show_past(&mut cx.out, &list, call.has("all"));
    }
    if call.has("follow") {
        return follow(cx, &mut filter, position);
    }
    if !list.iter().any(|event| filter.wants(event)) && !filter.json {
        cx.out.info(message!("no events have been recorded"));
    }
    Ok(Status::Ok)
}

fn no_such_app(cx: &Cx, app: &str, instances: &[TableRow], list: &[Event]) -> CliError {
    let text = match app.parse::<u32>() {
        Ok(id) => message!("no app has the id {id}{more}", id, more = ""),
        Err(_) => message!("no app is named {name}", name = shown(app)),
    };
    let names = instances.iter().map(|row| row.name.as_str()).chain(list.iter().filter_map(|event| event.app.as_deref()));
    let hint = message!("`{program} list` shows the apps", program = cx.program.name());
    CliError::unknown(text, app, names.collect::<BTreeSet<_>>(), hint)
}

/// Filter of events, and the form in which they are shown.
struct EventFilter {
    apps: Vec<String>,
    /// Earliest time, wall clock, ms.
    since_ms: u64,
    json: bool,
    /// Columns in ostler's own look; none for PM2's and for JSON.
    columns: Option<EventColumns>,
}

impl EventFilter {
    fn from(call: &Call, now_ms: u64) -> Result<Self, UsageError> {
        let since_ms = match call.value("since") {
            None => 0,
            Some(text) => {
                let bad = |_| UsageError::BadValue {
                    option: "--since".into(),
                    reason: message!("expected a time such as 90s, 10m or 2h, found {text}", text = format!("{text:?}")),
                };
                now_ms.saturating_sub(units::millis(text).map_err(bad)?)
            }
        };
        let apps = call.targets.iter().cloned().chain(call.value("app").map(str::to_owned)).collect();
        Ok(Self { apps, since_ms, json: call.has("json"), columns: None })
    }

    fn wants(&self, event: &Event) -> bool {
        event.at_ms >= self.since_ms && (self.apps.is_empty() || self.apps.iter().any(|app| is_of(app, event)))
    }

    /// Returns the first name or id that neither an instance nor an event has.
    fn unknown(&self, instances: &[TableRow], list: &[Event]) -> Option<&str> {
        let is_listed = |app: &str| instances.iter().any(|row| row.name == app || row.id.to_string() == app);
        self.apps.iter().map(String::as_str).find(|app| *app != "all" && !is_listed(app) && !list.iter().any(|event| is_of(app, event)))
    }

    fn show(&mut self, out: &mut Out, event: &Event) {
        if !self.wants(event) {
            return;
        }
        let view = out.view();
        match &mut self.columns {
            _ if self.json => {
                let line = serde_json::to_string(event).unwrap_or_default();
                out.data(format!("{line}\n").as_bytes());
            }
            Some(columns) => out.line(columns.line(event, &user_name, &view).trim_end()),
            None => out.line(event_line(event, &view)),
        }
    }

    /// Shows past events in ostler's own look. Unless `is_each`, repeats are folded.
    fn show_past(&mut self, out: &mut Out, list: &[Event], is_each: bool) {
        let wanted: Vec<&Event> = list.iter().filter(|event| self.wants(event)).collect();
        let view = out.view();
        let text = self.columns.as_mut().map(|columns| columns.past(&wanted, is_each, &user_name, &view)).unwrap_or_default();
        if !text.is_empty() {
            out.line(text.trim_end());
        }
    }

    /// Reports missed events. With `--json`, standard output is for events alone.
    fn missed(&self, out: &mut Out, missed: MissedEntries) {
        let text = match missed {
            MissedEntries::Count(1) => message!("1 event is missing: it is no longer recorded"),
            MissedEntries::Count(count) => message!("{count} events are missing: they are no longer recorded", count),
            MissedEntries::Unknown => message!("events may be missing: the daemon and its keeper were both replaced"),
        };
        out.warn_err(text);
    }
}

/// Returns true if the event is about this app or this instance.
fn is_of(app: &str, event: &Event) -> bool {
    event.app.as_deref() == Some(app) || event.id.is_some_and(|id| app == id.to_string()) || app == "all"
}

/// Follows until the user stops it. If the daemon is killed, the client reconnects, and the new
/// daemon sends the events since then.
fn follow(cx: &mut Cx, filter: &mut EventFilter, mut position: Position) -> Result<Status, CliError> {
    let home = cx.home()?.to_owned();
    let mut is_lost = false;
    cx.out.flush();
    loop {
        match connection(&home, position) {
            Ok(mut client) => {
                is_lost = false;
                if !show_arrived(&mut client, &mut cx.out, filter, &mut position)? {
                    return Ok(Status::Ok);
                }
            }
            // `kill` emptied the list, or all processes were killed. The next daemon has events to
            // send.
            Err(ClientError::NotRunning { .. } | ClientError::Lost(_) | ClientError::Down(_)) => {
                if !std::mem::replace(&mut is_lost, true) {
                    cx.out.warn_err(message!("the daemon is not running; waiting for it"));
                }
            }
            Err(error) => return Err(error.into()),
        }
        if !wait(None, if is_lost { Some(RETRY_DELAY) } else { Some(Duration::from_millis(10)) })?.has_reader {
            return Ok(Status::Ok);
        }
    }
}

fn connection(home: &Path, after: Position) -> Result<Client, ClientError> {
    let mut client = connect_or_find(home)?;
    client.subscribe(Some(after))?;
    Ok(client)
}

/// Shows the events that arrive on one connection. Returns false if the reader of stdout is gone.
fn show_arrived(client: &mut Client, out: &mut Out, filter: &mut EventFilter, position: &mut Position) -> Result<bool, ClientError> {
    loop {
        let wake = wait(Some(client), None)?;
        if !wake.has_reader || out.is_closed() {
            return Ok(false);
        }
        if !wake.news {
            continue;
        }
        let frames = match client.received_frames() {
            Ok(frames) => frames,
            Err(ClientError::Lost(_)) => return Ok(true),
            Err(error) => return Err(error),
        };
        for frame in frames {
            match Notification::from_response(frame.response) {
                Some(Notification::Event(event)) => {
                    *position = event.position();
                    filter.show(out, &event);
                }
                Some(Notification::Missed(missed)) => filter.missed(out, missed),
                // The caller reconnects and fetches the rest.
                Some(Notification::FellBehind) => return Ok(true),
                None => {}
            }
        }
        out.flush();
    }
}

/// Reason for which a wait returned.
struct Wake {
    news: bool,
    has_reader: bool,
}

fn wait(client: Option<&Client>, longest: Option<Duration>) -> Result<Wake, ClientError> {
    let stdout = io::stdout();
    // The poll requests no events on stdout, so it reports only that the reader is gone.
    let mut fds = vec![PollFd::new(&stdout, PollFlags::empty())];
    fds.extend(client.map(|client| PollFd::new(client, PollFlags::IN)));
    let longest =
        longest.map(|time| Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(time.subsec_nanos()) });
    match poll(&mut fds, longest.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(Wake { news: false, has_reader: true }),
        Err(errno) => return Err(ClientError::Lost(errno.into())),
    }
    let revents = |at: usize| fds.get(at).map_or(PollFlags::empty(), PollFd::revents);
    Ok(Wake { news: !revents(1).is_empty(), has_reader: !revents(0).intersects(PollFlags::ERR | PollFlags::NVAL) })
}
