//! `jobs`: jobs with their next and last runs.

use std::fmt::Write;

use anstyle::Style;
use ostler_client::words::span;
use ostler_core::cron::{CronSpec, Overlap, RunOn};
use ostler_core::lifecycle::{ExitCause, ExitRecord, InstanceState, Origin, PolicyName, ProcessEnding};
use ostler_core::text::language::{fill, translated};
use ostler_core::{marked, message};
use ostler_proto::control::Detail;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr as _;

use super::style::styles;
use super::view::View;
use crate::text::shown;

/// Formats one line for each job, below a heading. If the lines are too wide, the next run loses
/// its date; if they are still too wide, the last run is left out.
pub(crate) fn jobs(details: &[Detail], view: &View) -> String {
    const HEAD: [&str; 6] = ["id", marked!("job"), marked!("schedule"), marked!("next run"), marked!("state"), marked!("last run")];
    let room = view.width.unwrap_or(usize::MAX);
    let table = |is_short: bool, columns: usize| -> Vec<Vec<String>> {
        let rows = details.iter().filter_map(|detail| row(detail, view, is_short));
        std::iter::once(HEAD.map(|head| translated(head).to_owned()))
            .chain(rows)
            .map(|row| row.into_iter().take(columns).collect())
            .collect()
    };
    let forms = [table(false, HEAD.len()), table(true, HEAD.len())];
    let cells = forms.into_iter().find(|table| total(table) <= room).unwrap_or_else(|| table(true, HEAD.len() - 1));
    let widths = widths(&cells);
    let line = |cells: &[String], styles: &[Style]| {
        let mut out = String::new();
        for ((cell, width), style) in cells.iter().zip(&widths).zip(styles) {
            let pad = width.saturating_sub(cell.width());
            let _ = write!(out, "{}{:pad$}{}", view.paint.with(*style, cell), "", " ".repeat(GAP));
        }
        out.trim_end().to_owned() + "\n"
    };
    let plain = Style::new();
    let mut lines = cells.iter();
    let mut out = lines.next().map_or_else(String::new, |head| line(head, &[styles::HEADER; HEAD.len()]));
    for (cells, detail) in lines.zip(details.iter().filter(|detail| detail.spec.cron.is_some())) {
        out += &line(cells, &[plain, styles::BOLD, plain, plain, state(detail).1, plain]);
    }
    out
}

/// Blanks between two columns.
const GAP: usize = 2;

/// Returns the width of each column: that of its widest cell.
fn widths(table: &[Vec<String>]) -> Vec<usize> {
    let columns = table.first().map_or(0, Vec::len);
    let widest = |column: usize| table.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max().unwrap_or_default();
    (0..columns).map(widest).collect()
}

fn total(table: &[Vec<String>]) -> usize {
    let widths = widths(table);
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

fn row(detail: &Detail, view: &View, is_short: bool) -> Option<[String; 6]> {
    let cron = detail.spec.cron.as_ref()?;
    let last = detail.instance.exits.last().map_or_else(
        || message!("never"),
        |run| {
            let (age, duration) = (span(view.since(run.ended.wall_ms)), span(duration_ms(run)));
            message!("{outcome}, {age} ago, took {duration}", outcome = outcome_text(run), age, duration)
        },
    );
    let next = if is_short { next_ms(detail).map(|next| in_time(next, view)) } else { next_run(detail, view) };
    let next = next.unwrap_or_else(|| message!("none"));
    Some([detail.id.to_string(), shown(&detail.spec.name), schedule(cron), next, translated(state(detail).0).into(), last])
}

/// Formats everything about one job: its rules and its last runs, the newest first.
pub(crate) fn job(detail: &Detail, view: &View) -> String {
    let paint = view.paint;
    let mut out = String::new();
    let Some(cron) = &detail.spec.cron else { return out };
    let (word, style) = state(detail);
    let name = paint.with(styles::BOLD, format!("{} ({})", shown(&detail.spec.name), detail.id)).to_string();
    let state = paint.with(style, translated(word));
    let _ =
        writeln!(out, "{}", message!("{name} {state}, by {schedule}{rules}", name, state, schedule = schedule(cron), rules = rules(cron)));
    if let Some(next) = next_run(detail, view) {
        let _ = writeln!(out, "  {}", message!("next run {time}", time = next));
    }
    if detail.instance.exits.is_empty() {
        let _ = writeln!(out, "  {}", message!("it has not run yet"));
    }
    for run in detail.instance.exits.iter().rev() {
        let style = if succeeded(run) { styles::GREEN } else { styles::RED };
        let outcome = outcome_text(run);
        let pad = 12_usize.saturating_sub(outcome.width());
        let outcome = paint.with(style, format!("{outcome}{:pad$}", "")).to_string();
        let took = message!("took {duration} (pid {pid})", duration = span(duration_ms(run)), pid = run.pid);
        let _ = writeln!(out, "  {}  {outcome} {took}", view.local(run.started.wall_ms));
    }
    let newest = detail.instance.exits.last().map(|run| run.last_lines.as_slice()).unwrap_or_default();
    for line in newest {
        let _ = writeln!(out, "    {} {}", paint.with(styles::GREY, '│'), shown(line));
    }
    out
}

/// Works like [`job`], for programs.
pub(crate) fn job_json(detail: &Detail) -> Value {
    let cron = detail.spec.cron.as_ref();
    let job = cron.and_then(|cron| cron.job.as_ref());
    let run = |run: &ExitRecord| {
        json!({
            "started": run.started.wall_ms,
            "duration_ms": duration_ms(run),
            "ok": succeeded(run),
            "outcome": outcome_word(run),
            "exit_code": match run.ending { ProcessEnding::Code(code) => Some(code), _ => None },
            "signal": match run.ending { ProcessEnding::Signal { signal, .. } => Some(ostler_sys::process::signal::name(signal)), _ => None },
            "pid": run.pid,
            "last_lines": run.last_lines,
        })
    };
    json!({
        "id": detail.id,
        "name": detail.spec.name,
        "state": state(detail).0,
        "pid": detail.instance.pid(),
        "schedule": cron.map(|cron| &cron.pattern),
        "timezone": cron.and_then(|cron| cron.zone.as_ref()),
        "overlap": cron.map(|cron| cron.overlap),
        "run_on": cron.map(|cron| cron.run_on),
        "catch_up": cron.map(|cron| cron.catch_up),
        "retries": job.map(|job| job.retries),
        "timeout_ms": job.and_then(|job| job.timeout_ms),
        "next_run": detail.ticks.next_ms,
        "runs": detail.instance.exits.iter().map(run).collect::<Vec<_>>(),
    })
}

fn schedule(cron: &CronSpec) -> String {
    cron.zone.as_ref().map_or_else(|| shown(&cron.pattern), |zone| format!("{} {}", shown(&cron.pattern), shown(zone)))
}

/// Formats the rules that differ from the defaults.
fn rules(cron: &CronSpec) -> String {
    let mut rules = Vec::new();
    match cron.overlap {
        Overlap::Skip => {}
        Overlap::Kill => rules.push(message!("a new run stops the previous one")),
        Overlap::Queue => rules.push(message!("a new run waits for the previous one")),
    }
    if cron.run_on == RunOn::All {
        rules.push(message!("on every instance"));
    }
    if cron.catch_up {
        rules.push(message!("missed runs are caught up"));
    }
    let job = cron.job.as_ref();
    if let Some(retries) = job.map(|job| job.retries).filter(|retries| *retries > 0) {
        rules.push(message!("{count} retries", count = retries));
    }
    if let Some(timeout_ms) = job.and_then(|job| job.timeout_ms) {
        rules.push(message!("at most {time}", time = span(timeout_ms)));
    }
    rules.iter().map(|rule| message!(", {rule}", rule)).collect()
}

/// Formats the next run: `2026-11-22 03:00:00 CET (in 14 h 3 min)`.
pub(super) fn next_run(detail: &Detail, view: &View) -> Option<String> {
    next_ms(detail).map(|next| format!("{} ({})", view.local_with_zone(next), in_time(next, view)))
}

/// Returns the time of the next run, wall clock.
fn next_ms(detail: &Detail) -> Option<u64> {
    detail.ticks.next_ms.filter(|_| detail.ticks.armed)
}

/// Formats `in 14 h 3 min`.
fn in_time(next_ms: u64, view: &View) -> String {
    message!("in {time}", time = span(next_ms.saturating_sub(view.now_ms)))
}

fn state(detail: &Detail) -> (&'static str, Style) {
    match detail.instance.state {
        InstanceState::Waiting { .. }
        | InstanceState::Preparing { .. }
        | InstanceState::Spawning { .. }
        | InstanceState::Starting { .. }
        | InstanceState::Completing { .. }
        | InstanceState::Running { .. } => (marked!("running"), styles::GREEN),
        InstanceState::Leaving { .. }
        | InstanceState::Draining { .. }
        | InstanceState::Stopping { .. }
        | InstanceState::Clearing { .. } => (marked!("ending"), styles::YELLOW),
        InstanceState::Backoff { .. } => (marked!("retrying"), styles::YELLOW),
        _ if !detail.ticks.armed => (marked!("stopped"), styles::RED),
        InstanceState::Errored => (marked!("failed"), styles::RED),
        InstanceState::Stopped | InstanceState::Gone => (marked!("waiting"), Style::new()),
    }
}

fn succeeded(run: &ExitRecord) -> bool {
    run.ending == ProcessEnding::Code(0) && run.cause == ExitCause::Itself
}

/// Returns the outcome for people.
fn outcome_text(run: &ExitRecord) -> String {
    let (text, value) = outcome(run);
    fill(translated(text), &[("value", &value as &dyn std::fmt::Display)])
}

/// Returns the outcome for programs.
fn outcome_word(run: &ExitRecord) -> String {
    let (text, value) = outcome(run);
    fill(text, &[("value", &value as &dyn std::fmt::Display)])
}

/// Returns the text of the outcome, and the value of its parameter.
fn outcome(run: &ExitRecord) -> (&'static str, String) {
    let plain = |text| (text, String::new());
    match (&run.cause, run.ending) {
        (ExitCause::Requested(Origin::Policy(by)) | ExitCause::KilledAfterTimeout(Origin::Policy(by)), _)
            if by.name == PolicyName::Timeout =>
        {
            plain(marked!("timeout"))
        }
        (ExitCause::NotStarted { why }, _) => (marked!("not started: {value}"), shown(why)),
        (ExitCause::CouldNotStart { step }, _) => (marked!("not started: {value}"), shown(step)),
        (ExitCause::Requested(_) | ExitCause::KilledAfterTimeout(_), _) => plain(marked!("stopped")),
        (ExitCause::OutOfMemory, _) => plain(marked!("out of memory")),
        (ExitCause::NotReady, _) => plain(marked!("not ready")),
        (ExitCause::Itself, ProcessEnding::Code(0)) => plain(marked!("ok")),
        (ExitCause::Itself, ProcessEnding::Code(code)) => (marked!("exit code {value}"), code.to_string()),
        (ExitCause::Itself, ProcessEnding::Signal { signal, .. }) => ("{value}", ostler_sys::process::signal::name(signal).to_string()),
        (ExitCause::Itself, ProcessEnding::Unknown | ProcessEnding::SpawnFailed { .. }) => plain(marked!("unknown")),
    }
}

fn duration_ms(run: &ExitRecord) -> u64 {
    run.ended.mono_ms.saturating_sub(run.started.mono_ms)
}
