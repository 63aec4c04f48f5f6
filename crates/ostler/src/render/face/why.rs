//! `why` in ostler's own look: the state, the error, its source line, how often, and who started it.

use std::fmt::Write as _;

use ostler_client::source_line::SourceLine;
use ostler_client::words::{exit_cause_text, exit_text, span};
use ostler_core::health::HealthState;
use ostler_core::lifecycle::{DesiredState, ExitCause, ExitRecord, Instance, InstanceState, Origin, ProcessEnding};
use ostler_core::message;
use ostler_proto::control::Detail;
use ostler_proto::event::{Event, EventCause, EventKind};
use unicode_width::UnicodeWidthStr as _;

use super::Mark;
use super::events::{UserName, cause_words};
use crate::render::connections::own_sockets;
use crate::render::sandbox::probable_cause;
use crate::render::style::styles;
use crate::render::view::View;
use crate::render::why::{events_of, health_line};
use crate::text::{fit, shell_word, shown, wrap_all, wrap_commands, wrap_words};

/// Width at which the age ends, on a wide terminal.
const LINE_WIDTH: usize = 80;

/// Most lines of the app's last output.
const OUTPUT_LINES: usize = 8;

/// Most groups of equal exits.
const GROUPS: usize = 4;

/// Facts for the explanation, apart from the instance itself.
pub(crate) struct WhyContext<'a> {
    /// Name of the program to type.
    pub program: &'a str,
    /// All known events, the oldest first.
    pub events: &'a [Event],
    /// Source line of the last error.
    pub source: Option<SourceLine>,
    /// Whether the app has more instances, so that the id is shown.
    pub is_one_of_many: bool,
    /// Name of a user.
    pub user: UserName<'a>,
    pub view: &'a View,
}

/// Explains the state of one instance in a few lines.
pub(crate) fn why_short(detail: &Detail, context: &WhyContext<'_>) -> String {
    let view = context.view;
    let mut out = headline(detail, context);
    let mut add = |indent: usize, text: &str| {
        for line in wrapped(text, indent, view) {
            let _ = writeln!(out, "{:indent$}{line}", "");
        }
    };
    for dependency in &detail.waits_for {
        add(2, &message!("waiting: {dependency}", dependency = shown(dependency)));
    }
    if let Some((_, hook)) = detail.instance.hook() {
        add(2, &message!("running its {hook}", hook));
    }
    if let Some(health) = detail.health.as_ref().filter(|health| health.state != HealthState::Healthy) {
        add(2, &health_line(health, view));
    }
    if let Some(own) = own_sockets(detail) {
        add(2, &own);
    }
    if let Some(cause) = probable_cause(detail, context.program) {
        add(2, &cause);
    }
    if let Some(note) = detail.observations.last() {
        let text = shown(note.text.strip_prefix("is ").unwrap_or(&note.text));
        add(2, &message!("noted {age} ago: {text}", age = span(view.since(note.at.wall_ms)), text));
    }
    let failure = detail.instance.last_failure();
    let is_failed = failure.is_some();
    if let Some(exit) = failure {
        let skipped = exit.last_lines.len().saturating_sub(OUTPUT_LINES);
        for line in exit.last_lines.iter().skip(skipped) {
            let text = shown(line);
            let cut = view.width.map_or_else(|| text.clone(), |width| cut(&text, width.saturating_sub(2)));
            let _ = writeln!(out, "  {cut}");
        }
        if let Some(source) = &context.source {
            let text = format!("{} │ {}", source.number, shown(source.text.trim_end()));
            let cut = view.width.map_or_else(|| text.clone(), |width| cut(&text, width.saturating_sub(4)));
            let _ = writeln!(out, "    {}", view.paint.with(styles::DIM, cut));
        }
    }
    let mut add = |indent: usize, text: &str| {
        for line in wrapped(text, indent, view) {
            let _ = writeln!(out, "{:indent$}{line}", "");
        }
    };
    for text in exit_groups(&detail.instance, context) {
        add(2, &text);
    }
    if let Some(text) = started_by(detail, context) {
        add(2, &text);
    }
    let hints = hints(detail, context, is_failed);
    for (place, line) in wrap_commands(&hints, view.width.unwrap_or(usize::MAX).saturating_sub(6)).iter().enumerate() {
        let label = message!("hint:");
        let head = if place == 0 { view.paint.with(styles::BOLD_BLUE, &label).to_string() } else { " ".repeat(label.width()) };
        let _ = writeln!(out, "{head} {line}");
    }
    out
}

/// Returns the first line: name, mark, state, and since when.
pub(super) fn headline(detail: &Detail, context: &WhyContext<'_>) -> String {
    let view = context.view;
    let name = shown(&detail.spec.name);
    let name = if context.is_one_of_many { format!("{name} ({})", detail.id) } else { name };
    let (mark, words, since) = state(detail, context);
    let runs = detail.instance.pid().is_some();
    let in_words = |ms| if runs { message!("for {duration}", duration = span(ms)) } else { message!("{age} ago", age = span(ms)) };
    let age = since.map(in_words).unwrap_or_default();
    let plain = format!("{name}  {} {words}", mark.glyph());
    let room = view.width.unwrap_or(LINE_WIDTH).min(LINE_WIDTH);
    let pad = room.saturating_sub(plain.width() + age.width());
    if view.width.is_some_and(|width| plain.width() > width) {
        return wrap_all(&plain, view.width.unwrap_or(LINE_WIDTH)).join("\n") + "\n";
    }
    let painted = format!("{}  {} {words}", view.paint.with(styles::BOLD, &name), view.paint.with(mark.style(), mark.glyph()));
    if age.is_empty() || pad == 0 && view.width.is_some() {
        return painted + "\n";
    }
    format!("{painted}{:pad$}{}\n", "", view.paint.with(styles::DIM, age), pad = pad.max(2))
}

/// Returns the mark, the state in words, and the time since it began.
fn state(detail: &Detail, context: &WhyContext<'_>) -> (Mark, String, Option<u64>) {
    let (instance, view) = (&detail.instance, context.view);
    let last = instance.exits.last();
    let ended = last.map(|exit| view.since(exit.ended.wall_ms));
    let started = instance.counters.last_start.map(|start| view.since(start.wall_ms));
    let pid = instance.pid().map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    match &instance.state {
        InstanceState::Errored => (Mark::Error, gave_up(detail, context.events), ended),
        InstanceState::Stopped | InstanceState::Gone => match last {
            None => (Mark::Stopped, message!("has not run yet"), None),
            Some(exit) if exit.is_requested() => (Mark::Stopped, "stopped".into(), ended),
            Some(exit) if exit.ending == ProcessEnding::Code(0) => (Mark::Stopped, how(exit), ended),
            Some(exit) => (Mark::Error, how(exit), ended),
        },
        InstanceState::Backoff { .. } => (
            Mark::Restarting,
            last.map_or_else(|| message!("waits for its next start"), |exit| message!("restarting: it {exit}", exit = how(exit))),
            ended,
        ),
        InstanceState::Running { .. } => match detail.health.as_ref().map(|health| health.state) {
            Some(HealthState::Unhealthy) => (Mark::Warning, format!("unhealthy{pid}"), started),
            Some(HealthState::Unready) => (Mark::Warning, format!("not ready{pid}"), started),
            Some(HealthState::Broken) => (Mark::Warning, message!("online, its health check is broken{pid}", pid), started),
            Some(HealthState::Starting) => (Mark::Starting, message!("online, not checked yet{pid}", pid), started),
            Some(HealthState::Healthy) | None => (Mark::Online, format!("online{pid}"), started),
        },
        _ => match instance.status() {
            "launching" => (Mark::Starting, format!("starting{pid}"), started),
            "waiting restart" => (Mark::Restarting, format!("restarting{pid}"), started),
            _ => (Mark::Starting, format!("stopping{pid}"), None),
        },
    }
}

/// Describes how the restarts ended.
fn gave_up(detail: &Detail, events: &[Event]) -> String {
    let instance = &detail.instance;
    let Some(last) = instance.exits.last() else { return message!("gave up") };
    // The schedule starts the next run.
    if detail.spec.is_job() {
        return message!("failed: it {exit}", exit = how(last));
    }
    if let ExitCause::CouldNotStart { .. } | ExitCause::NotStarted { .. } = last.cause {
        return how(last);
    }
    let crashes = events_of(detail, events).into_iter().find_map(|event| match event.kind {
        EventKind::Errored { unstable } => Some(unstable),
        _ => None,
    });
    // Only the last exits are kept. If they are all of the crashes, their time is known.
    let first = instance.exits.first().filter(|_| crashes.is_some_and(|crashes| crashes as usize == instance.exits.len()));
    let within = first.map(|first| span(last.ended.mono_ms.saturating_sub(first.started.mono_ms)));
    match (crashes, within) {
        (None | Some(0 | 1), _) => message!("gave up: it {exit}", exit = how(last)),
        (Some(crashes), None) => message!("gave up after {crashes} crashes", crashes),
        (Some(crashes), Some(duration)) => message!("gave up after {crashes} crashes in {duration}", crashes, duration),
    }
}

/// Describes the last exit, with its cause and its age.
pub(super) fn last_exit(exit: &ExitRecord, user: UserName<'_>, view: &View) -> String {
    let ran = span(exit.ended.mono_ms.saturating_sub(exit.started.mono_ms));
    let after = || message!("{exit} after {duration}", exit = how(exit), duration = ran);
    let cause = |origin: &Origin| cause_words(&EventCause::from(origin), user);
    let text = match &exit.cause {
        ExitCause::Requested(origin) => format!("{}, {}", after(), cause(origin)),
        ExitCause::KilledAfterTimeout(origin) => {
            message!("killed by SIGKILL, because it did not stop in time, {cause}", cause = cause(origin))
        }
        ExitCause::Itself => format!("{}, {}", after(), exit_cause_text(&exit.cause)),
        ExitCause::NotStarted { .. } | ExitCause::CouldNotStart { .. } => how(exit),
        ExitCause::OutOfMemory | ExitCause::NotReady => after(),
    };
    let (age, time) = (span(view.since(exit.ended.wall_ms)), view.local(exit.ended.wall_ms));
    message!("{text}, {age} ago ({time})", text, age, time)
}

/// Describes an exit in words that follow "it".
fn how(exit: &ExitRecord) -> String {
    match (&exit.cause, exit.ending) {
        (ExitCause::NotStarted { why }, _) => message!("was not started: {reason}", reason = shown(why)),
        (ExitCause::CouldNotStart { step }, ProcessEnding::SpawnFailed { errno }) => {
            message!("cannot start: {step}: {reason}", step, reason = rustix::io::Errno::from_raw_os_error(errno))
        }
        (ExitCause::OutOfMemory, _) => message!("was killed by the kernel: out of memory"),
        (ExitCause::NotReady, _) => message!("was stopped, because it was not ready in time"),
        _ => exit_text(exit.ending),
    }
}

/// Returns a line per group of equal exits that follow each other, the newest first.
fn exit_groups(instance: &Instance, context: &WhyContext<'_>) -> Vec<String> {
    let (exits, view) = (&instance.exits, context.view);
    let same = |a: &ExitRecord, b: &ExitRecord| {
        a.ending == b.ending && std::mem::discriminant(&a.cause) == std::mem::discriminant(&b.cause) && a.is_requested() == b.is_requested()
    };
    let groups: Vec<&[ExitRecord]> = exits.chunk_by(|a, b| same(a, b)).collect();
    let line = |(place, group): (usize, &&[ExitRecord])| {
        let newest = group.last()?;
        let ran = |exit: &ExitRecord| exit.ended.mono_ms.saturating_sub(exit.started.mono_ms);
        let mut times: Vec<u64> = group.iter().map(ran).collect();
        times.sort_unstable();
        let after = span(*times.get(times.len() / 2)?);
        // The headline has the time of the last exit.
        let ago = if place == 0 && instance.pid().is_none() { None } else { Some(span(view.since(newest.ended.wall_ms))) };
        let dated = |text: String| match &ago {
            Some(age) => message!("{text}, {age} ago", text, age),
            None => text,
        };
        let times_word = times_word(group.len());
        if let ExitCause::Requested(origin) | ExitCause::KilledAfterTimeout(origin) = &newest.cause {
            let cause = cause_words(&EventCause::from(origin), context.user);
            let killed = matches!(newest.cause, ExitCause::KilledAfterTimeout(_));
            let text = match killed {
                true => message!("killed by SIGKILL, because it did not stop in time, {cause}", cause),
                false => message!("stopped {cause}: it {exit}", cause, exit = exit_text(newest.ending)),
            };
            return Some(dated(format!("{times_word}{text}")));
        }
        if let ExitCause::NotStarted { .. } | ExitCause::CouldNotStart { .. } = newest.cause {
            // The headline has these words, too.
            if ago.is_none() && group.len() == 1 {
                return None;
            }
            return Some(dated(format!("{times_word}{}", how(newest))));
        }
        if group.len() == 1 {
            return Some(dated(message!("{exit} after {duration}", exit = how(newest), duration = after)));
        }
        let first = newest.last_lines.first();
        let is_same_error = first.is_some() && group.iter().all(|exit| exit.last_lines.first() == first);
        let mut text = times_word + &message!("{exit} after about {duration}", exit = how(newest), duration = after);
        if is_same_error {
            text = message!("{text}, the same error each time", text);
        }
        Some(match ago {
            Some(age) => message!("{text}, last {age} ago", text, age),
            None => text,
        })
    };
    groups.iter().rev().enumerate().filter_map(line).take(GROUPS).collect()
}

fn times_word(count: usize) -> String {
    if count == 1 { String::new() } else { format!("{count} × ") }
}

/// Names the command or policy that started the instance last.
fn started_by(detail: &Detail, context: &WhyContext<'_>) -> Option<String> {
    let is_start = |event: &&&Event| matches!(event.kind, EventKind::Launched { .. } | EventKind::Online { .. });
    let by_user = |event: &&&Event| !matches!(event.cause, EventCause::Policy { .. } | EventCause::App);
    let events = events_of(detail, context.events);
    let is_job = detail.spec.is_job();
    match events.iter().find(|event| is_start(event) && (is_job || by_user(event))) {
        Some(event) => {
            let (cause, time) = (cause_words(&event.cause, context.user), context.view.time_of_day(event.at_ms));
            Some(message!("started {cause} at {time}", cause, time))
        }
        // The events do not reach back so far.
        None => detail.cause.as_ref().map(|cause| message!("last changed {cause}", cause = cause_words(cause, context.user))),
    }
}

fn hints(detail: &Detail, context: &WhyContext<'_>, is_failed: bool) -> String {
    let (program, name) = (context.program, shell_word(&detail.spec.name));
    let target = if context.is_one_of_many { detail.id.to_string() } else { name };
    let is_wanted = detail.instance.wanted == DesiredState::Up;
    let runs =
        detail.instance.pid().is_some() || is_wanted && !matches!(detail.instance.state, InstanceState::Errored | InstanceState::Stopped);
    match (runs, is_failed) {
        (false, true) if detail.spec.is_job() => {
            message!(
                "`{program} jobs run {target}` runs it now · more: `{program} logs {target} --err`, `{program} why {target} --all`",
                program,
                target
            )
        }
        (false, true) => {
            message!(
                "fix it, then `{program} restart {target}` · more: `{program} logs {target} --err`, `{program} why {target} --all`",
                program,
                target
            )
        }
        (false, false) => message!("`{program} restart {target}` starts it · more: `{program} why {target} --all`", program, target),
        (true, true) => format!("`{program} logs {target} --err`, `{program} why {target} --all`"),
        (true, false) => message!("`{program} why {target} --all` shows its events", program, target),
    }
}

fn wrapped(text: &str, indent: usize, view: &View) -> Vec<String> {
    wrap_words(text, view.width.unwrap_or(usize::MAX).saturating_sub(indent))
        .into_iter()
        .map(|line| view.width.map_or(line.clone(), |width| cut(&line, width.saturating_sub(indent))))
        .collect()
}

fn cut(text: &str, width: usize) -> String {
    if text.width() <= width { text.to_owned() } else { fit(text, width).trim_end().to_owned() }
}
