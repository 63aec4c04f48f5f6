//! `why` in ostler's own look: the state, the error, its source line, how often, and who started it.

use std::fmt::Write as _;

use ostler_client::words::{cause_text, exit_text, span};
use ostler_core::health::HealthState;
use ostler_core::lifecycle::{DesiredState, ExitCause, ExitRecord, Instance, InstanceState, ProcessEnding};
use ostler_proto::control::Detail;
use ostler_proto::event::{Event, EventCause, EventKind};
use unicode_width::UnicodeWidthStr as _;

use super::Mark;
use crate::render::shell_word;
use crate::render::style::styles;
use crate::render::view::View;
use crate::render::why::{events_of, health_line};
use crate::text::{fit, shown, wrap_words};

/// Width at which the age ends, on a wide terminal.
const LINE_WIDTH: usize = 80;

/// Most lines of the app's last output.
const OUTPUT_LINES: usize = 8;

/// Most groups of equal exits.
const GROUPS: usize = 4;

/// Line of a program to which an error leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceLine {
    pub number: u32,
    pub text: String,
}

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
    pub user: &'a dyn Fn(u32) -> Option<String>,
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
        add(2, &format!("waiting: {}", shown(dependency)));
    }
    if let Some((_, hook)) = detail.instance.hook() {
        add(2, &format!("running its {hook}"));
    }
    if let Some(health) = detail.health.as_ref().filter(|health| health.state != HealthState::Healthy) {
        add(2, &health_line(health, view));
    }
    if let Some(note) = detail.observations.last() {
        add(2, &format!("{} ago it {}", span(view.since(note.at.wall_ms)), shown(&note.text)));
    }
    let failure = last_failure(&detail.instance);
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
    for (place, line) in wrap_words(&hints, view.width.unwrap_or(usize::MAX).saturating_sub(6)).iter().enumerate() {
        let head = if place == 0 { view.paint.with(styles::BOLD_BLUE, "hint:").to_string() } else { "     ".into() };
        let _ = writeln!(out, "{head} {line}");
    }
    out
}

/// Returns the last failed exit. If the instance was stopped on request since then, it does not
/// matter any more.
pub(crate) fn last_failure(instance: &Instance) -> Option<&ExitRecord> {
    let last = match instance.pid() {
        Some(_) => instance.exits.iter().rev().find(|exit| !exit.is_requested()),
        None => instance.exits.last().filter(|exit| !exit.is_requested()),
    };
    last.filter(|exit| exit.ending != ProcessEnding::Code(0))
}

/// Returns the first line: name, mark, state, and since when.
pub(super) fn headline(detail: &Detail, context: &WhyContext<'_>) -> String {
    let view = context.view;
    let name = shown(&detail.spec.name);
    let name = if context.is_one_of_many { format!("{name} ({})", detail.id) } else { name };
    let (mark, words, since) = state(detail, context);
    let runs = detail.instance.pid().is_some();
    let age = since.map(|ms| if runs { format!("for {}", span(ms)) } else { format!("{} ago", span(ms)) }).unwrap_or_default();
    let plain = format!("{name}  {} {words}", mark.glyph());
    let room = view.width.unwrap_or(LINE_WIDTH).min(LINE_WIDTH);
    let pad = room.saturating_sub(plain.width() + age.width());
    if view.width.is_some_and(|width| plain.width() > width) {
        return wrap_words(&plain, view.width.unwrap_or(LINE_WIDTH)).join("\n") + "\n";
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
            None => (Mark::Stopped, "has not run yet".into(), None),
            Some(exit) if exit.is_requested() => (Mark::Stopped, "stopped".into(), ended),
            Some(exit) if exit.ending == ProcessEnding::Code(0) => (Mark::Stopped, how(exit), ended),
            Some(exit) => (Mark::Error, how(exit), ended),
        },
        InstanceState::Backoff { .. } => {
            (Mark::Restarting, last.map_or("waits for its next start".into(), |exit| format!("restarting: it {}", how(exit))), ended)
        }
        InstanceState::Running { .. } => match detail.health.as_ref().map(|health| health.state) {
            Some(HealthState::Unhealthy) => (Mark::Warning, format!("unhealthy{pid}"), started),
            Some(HealthState::Unready) => (Mark::Warning, format!("not ready{pid}"), started),
            Some(HealthState::Broken) => (Mark::Warning, format!("online, its health check is broken{pid}"), started),
            Some(HealthState::Starting) => (Mark::Starting, format!("online, not checked yet{pid}"), started),
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
    let Some(last) = instance.exits.last() else { return "gave up".into() };
    if let ExitCause::CouldNotStart { .. } | ExitCause::NotStarted { .. } = last.cause {
        return how(last);
    }
    let crashes = events_of(detail, events).into_iter().find_map(|event| match event.kind {
        EventKind::Errored { unstable } => Some(unstable),
        _ => None,
    });
    // Only the last exits are kept. If they are all of the crashes, their time is known.
    let first = instance.exits.first().filter(|_| crashes.is_some_and(|crashes| crashes as usize == instance.exits.len()));
    let within = first.map(|first| format!(" in {}", span(last.ended.mono_ms.saturating_sub(first.started.mono_ms)))).unwrap_or_default();
    match crashes {
        None | Some(0 | 1) => format!("gave up: it {}", how(last)),
        Some(crashes) => format!("gave up after {crashes} crashes{within}"),
    }
}

/// Describes an exit in words that follow "it".
fn how(exit: &ExitRecord) -> String {
    match (&exit.cause, exit.ending) {
        (ExitCause::NotStarted { why }, _) => format!("was not started: {}", shown(why)),
        (ExitCause::CouldNotStart { step }, ProcessEnding::SpawnFailed { errno }) => {
            format!("cannot start: {step}: {}", rustix::io::Errno::from_raw_os_error(errno))
        }
        (ExitCause::OutOfMemory, _) => "was killed by the kernel: out of memory".into(),
        (ExitCause::NotReady, _) => "was stopped, because it was not ready in time".into(),
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
        let ago = if place == 0 && instance.pid().is_none() {
            String::new()
        } else {
            format!(", {} ago", span(view.since(newest.ended.wall_ms)))
        };
        if let ExitCause::Requested(origin) | ExitCause::KilledAfterTimeout(origin) = &newest.cause {
            let cause = cause_words(&EventCause::from(origin), context);
            let killed = matches!(newest.cause, ExitCause::KilledAfterTimeout(_));
            let what = if killed { "killed by SIGKILL, because it did not stop in time," } else { "stopped" };
            let end = if killed { String::new() } else { format!(": it {}", exit_text(newest.ending)) };
            return Some(format!("{}{what} {cause}{end}{ago}", times_word(group.len())));
        }
        if let ExitCause::NotStarted { .. } | ExitCause::CouldNotStart { .. } = newest.cause {
            return Some(format!("{}{}{ago}", times_word(group.len()), how(newest)));
        }
        if group.len() == 1 {
            return Some(format!("{} after {after}{ago}", how(newest)));
        }
        let first = newest.last_lines.first();
        let is_same_error = first.is_some() && group.iter().all(|exit| exit.last_lines.first() == first);
        let error = if is_same_error { ", the same error each time" } else { "" };
        let ago = if ago.is_empty() { ago } else { ago.replacen(", ", ", last ", 1) };
        Some(format!("{}{} after about {after}{error}{ago}", times_word(group.len()), how(newest)))
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
    match events.iter().find(|event| is_start(event) && by_user(event)) {
        Some(event) => Some(format!("started {} at {}", cause_words(&event.cause, context), context.view.time_of_day(event.at_ms))),
        // The events do not reach back so far.
        None => detail.cause.as_ref().map(|cause| format!("last changed {}", cause_words(cause, context))),
    }
}

/// Names the cause: a user by name, and the command as it was typed.
fn cause_words(cause: &EventCause, context: &WhyContext<'_>) -> String {
    match cause {
        EventCause::User { command, uid, on_behalf_of, .. } => {
            let user = (context.user)(*uid).map_or_else(|| format!("uid {uid}"), |name| shown(&name));
            let whom = on_behalf_of.as_ref().map(|name| format!(", on behalf of {}", shown(name))).unwrap_or_default();
            format!("by `{}` ({user}{whom})", shown(command))
        }
        other => cause_text(other),
    }
}

fn hints(detail: &Detail, context: &WhyContext<'_>, is_failed: bool) -> String {
    let (program, name) = (context.program, shell_word(&detail.spec.name));
    let target = if context.is_one_of_many { detail.id.to_string() } else { name };
    let is_wanted = detail.instance.wanted == DesiredState::Up;
    let runs =
        detail.instance.pid().is_some() || is_wanted && !matches!(detail.instance.state, InstanceState::Errored | InstanceState::Stopped);
    match (runs, is_failed) {
        (false, true) => {
            format!("fix it, then `{program} restart {target}` · more: `{program} logs {target} --err`, `{program} why {target} --all`")
        }
        (false, false) => format!("`{program} restart {target}` starts it · more: `{program} why {target} --all`"),
        (true, true) => format!("`{program} logs {target} --err`, `{program} why {target} --all`"),
        (true, false) => format!("`{program} why {target} --all` shows its events"),
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
