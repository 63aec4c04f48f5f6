//! `why`: how an app exited, and the reasons for its present state, as text.

use std::fmt::Write;

use ostler_client::words::{cause_text, event_and_cause, exit_cause_text, exit_text, span};
use ostler_core::health::HealthState as Health;
use ostler_core::lifecycle::{ExitCause, ExitRecord, InstanceState, ProcessEnding};
use ostler_core::message;
use ostler_proto::control::{Detail, HealthReport};
use ostler_proto::event::{Event, EventKind};

use super::connections::own_sockets;
use super::sandbox::probable_cause;
use super::style::styles;
use super::table::status_style;
use super::view::View;
use crate::text::shown;

/// Most events that are shown.
const EVENTS: usize = 8;

/// Formats state, exits and events of one instance, the newest first. `events` are all known
/// events, the oldest first.
pub(crate) fn why(detail: &Detail, events: &[Event], view: &View) -> String {
    let paint = view.paint;
    let mut out = String::new();
    let status = detail.instance.status();
    let name = paint.with(styles::BOLD, format!("{} ({})", shown(&detail.spec.name), detail.id)).to_string();
    let shown_status = paint.with(status_style(status), status);
    let _ = writeln!(out, "{}", message!("{name} is {status}{more}", name, status = shown_status, more = circumstances(detail, view)));
    for dependency in &detail.waits_for {
        let _ = writeln!(out, "  {}", message!("waiting: {dependency}", dependency = shown(dependency)));
    }
    if let Some((_, hook)) = detail.instance.hook() {
        let _ = writeln!(out, "  {}", message!("running its {hook}", hook));
    }
    if let Some(health) = &detail.health {
        let _ = writeln!(out, "  {}", health_line(health, view));
    }
    if let Some(own) = own_sockets(detail) {
        let _ = writeln!(out, "  {own}");
    }
    if let Some(cause) = probable_cause(detail, "ostler") {
        let _ = writeln!(out, "  {cause}");
    }
    for note in detail.observations.iter().rev() {
        let (age, time) = (span(view.since(note.at.wall_ms)), view.local(note.at.wall_ms));
        let _ = writeln!(out, "  {}", message!("{age} ago ({time}) it {text}", age, time, text = shown(&note.text)));
    }
    let mut exits = detail.instance.exits.iter().rev();
    match exits.next() {
        None => {
            let _ = writeln!(out, "  {}", message!("it has not exited since it was added"));
        }
        Some(newest) => {
            let _ = writeln!(out, "  {}", headline(newest, view));
            for line in &newest.last_lines {
                let _ = writeln!(out, "    {} {}", paint.with(styles::GREY, '│'), shown(line));
            }
        }
    }
    let earlier: Vec<&ExitRecord> = exits.collect();
    if !earlier.is_empty() {
        let _ = writeln!(out, "  {}", message!("before that:"));
    }
    for exit in earlier {
        let _ = writeln!(out, "    {}", headline(exit, view));
    }
    write_events(&mut out, detail, events, view);
    out
}

/// Prints the events behind the present state, without facts that are already shown. If the events
/// do not reach back far enough, it prints the cause from the instance's record.
fn write_events(out: &mut String, detail: &Detail, events: &[Event], view: &View) {
    let known = events_of(detail, events);
    if !known.iter().any(|event| event.id.is_some())
        && let Some(cause) = &detail.cause
    {
        let _ = writeln!(out, "  {}", message!("last changed {cause}", cause = cause_text(cause)));
    }
    let shown: Vec<&Event> = known.into_iter().filter(|event| !is_in_detail(detail, event)).take(EVENTS).collect();
    if !shown.is_empty() {
        let _ = writeln!(out, "  {}", message!("what happened:"));
    }
    for event in shown {
        // The absolute time is printed instead of an age: the clock may have been changed since.
        let whose = if event.app.is_none() { "ostler: " } else { "" };
        let _ = writeln!(out, "    {} {whose}{}", view.local(event.at_ms), event_and_cause(event));
    }
}

/// Returns the events of this instance and of its app, and the daemon's recoveries and updates
/// since the first of them; the newest first.
pub(crate) fn events_of<'a>(detail: &Detail, events: &'a [Event]) -> Vec<&'a Event> {
    let is_own = |event: &Event| event.app.as_ref() == Some(&detail.spec.name) && (event.id.is_none() || event.id == Some(detail.id));
    // Another instance had this id before.
    let is_of_another = |event: &&Event| is_own(event) && matches!(event.kind, EventKind::Deleted);
    let is_of_all = |event: &Event| matches!(event.kind, EventKind::Recovered { .. } | EventKind::Updated { .. });
    let mut known: Vec<&Event> =
        events.iter().rev().take_while(|event| !is_of_another(event)).filter(|event| is_own(event) || is_of_all(event)).collect();
    let first = known.iter().rposition(|event| event.app.is_some()).map_or(0, |first| first + 1);
    known.truncate(first);
    known
}

/// Returns true if the details already show the event: the exits, the observations and the reports
/// of reloads. A rotated log is left out, because it has no consequences.
fn is_in_detail(detail: &Detail, event: &Event) -> bool {
    let exits = &detail.instance.exits;
    match &event.kind {
        EventKind::Exit { pid, .. } => exits.iter().any(|exit| exit.pid == *pid),
        EventKind::CouldNotStart { .. } => exits.iter().any(|exit| matches!(exit.ending, ProcessEnding::SpawnFailed { .. })),
        EventKind::Health { .. } | EventKind::LimitExceeded { .. } => detail.observations.iter().any(|note| note.at.wall_ms == event.at_ms),
        EventKind::ReloadBegun { .. }
        | EventKind::ReloadDone { .. }
        | EventKind::ReloadFailed { .. }
        | EventKind::ReloadOverruled { .. }
        | EventKind::LogRotated { .. } => true,
        _ => false,
    }
}

/// Formats one line: `it has been unhealthy for 3 min (5 bad answers in a row); the last answer, 2
/// s ago: HTTP request to localhost:80: 503`.
pub(super) fn health_line(health: &HealthReport, view: &View) -> String {
    let since = span(view.since(health.since.wall_ms));
    let state = match health.state {
        Health::Broken => message!("its health check has been broken for {since}", since),
        Health::Starting => message!("it has been starting for {since}", since),
        Health::Healthy => message!("it has been healthy for {since}", since),
        Health::Unready => message!("it has been unready for {since}", since),
        Health::Unhealthy => message!("it has been unhealthy for {since}", since),
    };
    let state = match health.failures {
        0 => state,
        1 => message!("{state} (1 failed check)", state),
        count => message!("{state} ({count} failed checks in a row)", state, count),
    };
    let Some(last) = &health.last else { return state };
    let answer = if last.good { message!("as expected") } else { shown(&last.words) };
    message!("{state}; last check {age} ago: {answer}", state, age = span(view.since(last.at.wall_ms)), answer)
}

/// Formats the circumstances: `: pid 12, for 3 min, 4 restarts (2 of them unstable)`.
fn circumstances(detail: &Detail, view: &View) -> String {
    let counters = &detail.instance.counters;
    let mut parts = Vec::new();
    if let Some(pid) = detail.instance.pid() {
        parts.push(format!("pid {pid}"));
    }
    if let (InstanceState::Running { .. } | InstanceState::Starting { .. }, Some(start)) = (&detail.instance.state, counters.last_start) {
        parts.push(message!("for {duration}", duration = span(view.since(start.wall_ms))));
    }
    match counters.restarts {
        0 => {}
        1 => parts.push(message!("1 restart")),
        count => parts.push(message!("{count} restarts", count)),
    }
    if counters.unstable > 0 {
        parts.push(message!("{count} unstable in a row", count = counters.unstable));
    }
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
}

/// Formats one line: `12.3 s ago (2026-11-21 03:55:45) it exited with code 1 by itself, after 850
/// ms (pid 4711)`.
pub(super) fn headline(exit: &ExitRecord, view: &View) -> String {
    let ago = span(view.since(exit.ended.wall_ms));
    let when = view.local(exit.ended.wall_ms);
    let how = match exit.ending {
        ProcessEnding::SpawnFailed { errno } => {
            if let ExitCause::NotStarted { why } = &exit.cause {
                return message!("{age} ago ({time}) it was not started: {reason}", age = ago, time = when, reason = shown(why));
            }
            let step = match &exit.cause {
                ExitCause::CouldNotStart { step } => step.as_str(),
                _ => "exec",
            };
            let reason = std::io::Error::from_raw_os_error(errno).to_string();
            return message!("{age} ago ({time}) it could not be started: {step}: {reason}", age = ago, time = when, step, reason);
        }
        ProcessEnding::Code(_) | ProcessEnding::Signal { .. } => exit_text(exit.ending),
        ProcessEnding::Unknown => message!("{exit} (its keeper was killed)", exit = exit_text(exit.ending)),
    };
    let ran = span(exit.ended.mono_ms.saturating_sub(exit.started.mono_ms));
    message!(
        "{age} ago ({time}) it {exit}, {cause}, after {duration} (pid {pid})",
        age = ago,
        time = when,
        exit = how,
        cause = exit_cause_text(&exit.cause),
        duration = ran,
        pid = exit.pid
    )
}

#[cfg(test)]
mod tests {
    use ostler_core::lifecycle::Origin;
    use ostler_core::time::Now;

    use super::*;

    fn exit(ending: ProcessEnding, cause: ExitCause) -> ExitRecord {
        ExitRecord { inc: 1, pid: 4711, started: Now::at(1_000), ended: Now::at(1_850), ending, cause, last_lines: vec![] }
    }

    #[test]
    fn every_exit_has_a_description() {
        let user = Origin::User { command: "restart".into(), uid: 1000, pid: 7, on_behalf_of: None };
        let other = Origin::User { command: "stop".into(), uid: 0, pid: 8, on_behalf_of: Some("ali\u{1b}ce".into()) };
        for (ending, why, words) in [
            (ProcessEnding::Code(1), ExitCause::Itself, "exited with code 1, by itself, after 850 ms (pid 4711)"),
            (ProcessEnding::Signal { signal: 11, core: true }, ExitCause::Itself, "was killed by SIGSEGV (core dumped), by itself"),
            (
                ProcessEnding::Signal { signal: 9, core: false },
                ExitCause::OutOfMemory,
                "was killed by SIGKILL, killed by the kernel: out of memory",
            ),
            (
                ProcessEnding::Code(0),
                ExitCause::Requested(other),
                "exited with code 0, requested by `stop` of uid 0 (pid 8) on behalf of ali\u{fffd}ce, after 850 ms",
            ),
            (
                ProcessEnding::Signal { signal: 2, core: false },
                ExitCause::Requested(user.clone()),
                "was killed by SIGINT, requested by `restart` of uid 1000",
            ),
            (
                ProcessEnding::Signal { signal: 9, core: false },
                ExitCause::KilledAfterTimeout(user),
                "killed because it did not stop in time",
            ),
            (
                ProcessEnding::SpawnFailed { errno: 13 },
                ExitCause::CouldNotStart { step: "chdir".into() },
                "could not be started: chdir: Permission denied",
            ),
            (ProcessEnding::Unknown, ExitCause::Requested(Origin::Resurrect), "how is unknown"),
            (
                ProcessEnding::Signal { signal: 15, core: false },
                ExitCause::NotReady,
                "was killed by SIGTERM, stopped because it was not ready in time",
            ),
        ] {
            let text = headline(&exit(ending, why), &View::played(4_850, None));
            assert!(text.starts_with("3.0 s ago (") && text.contains(words), "{text}");
        }
    }

    #[test]
    fn events_of_previous_instance_with_same_id_are_excluded() {
        use ostler_proto::event::{EventCause, LostProcesses};
        let detail = crate::tests::data::stopped();
        let recovered = || EventKind::Recovered { lost: LostProcesses::Daemon, running: 0, ended: 0 };
        let of = |rows: Vec<(Option<&str>, Option<u32>, EventKind)>| -> Vec<EventKind> {
            let event = |(app, id, what): (Option<&str>, _, _)| Event {
                epoch: 1,
                seq: 1,
                at_ms: 1,
                app: app.map(str::to_owned),
                id,
                kind: what,
                cause: EventCause::App,
                before: None,
                after: None,
            };
            let events: Vec<Event> = rows.into_iter().map(event).collect();
            events_of(&detail, &events).into_iter().map(|event| event.kind.clone()).collect()
        };
        assert!(of(vec![(None, None, recovered())]).is_empty(), "it says nothing without one of its own");
        let own = |what| (Some("web"), Some(0), what);
        let rows = vec![
            own(EventKind::Stopped),
            own(EventKind::Deleted),
            own(EventKind::Draining),
            (None, None, recovered()),
            own(EventKind::Stopping),
        ];
        assert_eq!(of(rows), [EventKind::Stopping, recovered(), EventKind::Draining]);
        let rows = vec![
            own(EventKind::Draining),
            (Some("web"), Some(1), EventKind::Deleted),
            (Some("web"), None, EventKind::Scaled { from: 2, to: 1 }),
        ];
        assert_eq!(of(rows), [EventKind::Scaled { from: 2, to: 1 }, EventKind::Draining]);
    }
}
