//! `rollout` in ostler's own look: the progress of a release, and the releases of apps.

use std::fmt::Write as _;

use ostler_client::words::span;
use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use ostler_proto::control::{RolloutReport, RolloutState};
use unicode_width::UnicodeWidthStr as _;

use super::{Cell, Column, Mark, grid, short_age};
use crate::render::style::styles;
use crate::render::view::View;
use crate::text::{fit, shell_word, shown, wrap_all, wrap_commands};

/// Formats one rollout: its state, each instance, the failure. `runs`: whether the app has a
/// process.
pub(crate) fn rollout_own(report: &RolloutReport, runs: bool, program: &str, view: &View) -> String {
    let paint = view.paint;
    let (mark, words) = state(report, runs);
    let words = if report.current && !runs { message!("{state}; the app is stopped", state = words) } else { words.to_owned() };
    let when = match report.ended_ms {
        Some(ended) => {
            let took = span(ended.saturating_sub(report.started_ms));
            message!(
                "finished {age} ago after {duration}, by `{command}`",
                age = span(view.since(ended)),
                duration = took,
                command = shown(&report.command)
            )
        }
        None => {
            message!("for {duration}, by `{command}`", duration = span(view.since(report.started_ms)), command = shown(&report.command))
        }
    };
    let release = message!("release {release}", release = report.release);
    let (name, rest) = (shown(&report.app), format!("{release}: {} {words}", mark.glyph()));
    let mut out = String::new();
    match view.width {
        Some(width) if name.width() + 2 + rest.width() > width => {
            let _ = writeln!(out, "{}", paint.with(styles::BOLD, cut(&name, width)));
            add(&mut out, 2, &rest, view);
        }
        _ => {
            let mark = paint.with(mark.style(), mark.glyph());
            let _ = writeln!(out, "{}  {release}: {mark} {words}", paint.with(styles::BOLD, name));
        }
    }
    add(&mut out, 2, &when, view);
    out += &instances(report, view);
    if report.cut > 0 {
        let text = match report.cut {
            1 => message!("1 request was not finished in time (drain_timeout)"),
            count => message!("{count} requests were not finished in time (drain_timeout)", count),
        };
        add(&mut out, 2, &format!("{} {text}", Mark::Warning.glyph()), view);
    }
    if let Some(fault) = &report.fault {
        let text = message!("instance {id} {reason}", id = fault.id, reason = shown(&fault.reason));
        add(&mut out, 2, &format!("{} {text}", Mark::Error.glyph()), view);
        for line in &fault.last_lines {
            let room = view.width.map_or(usize::MAX, |width| width.saturating_sub(4));
            let _ = writeln!(out, "    {}", cut(&shown(line), room));
        }
        let app = shell_word(&report.app);
        let more = message!("more: `{program} logs {app} --err`, `{program} rollout history {app}`", program, app);
        let lines = wrap_commands(&more, view.width.unwrap_or(usize::MAX).saturating_sub(2));
        for line in lines {
            let _ = writeln!(out, "  {}", paint.with(styles::DIM, line));
        }
    }
    out
}

/// Formats the instances, each with its step.
fn instances(report: &RolloutReport, view: &View) -> String {
    if report.replicas.is_empty() {
        return String::new();
    }
    let steps: Vec<(Mark, &str)> = report.replicas.iter().map(|replica| step(&replica.state)).collect();
    let columns = vec![
        Column::numbers("  ID", 0, report.replicas.iter().map(|replica| replica.id.to_string())),
        Column::text("INSTANCE", 0, steps.iter().map(|(mark, words)| Cell::new(format!("{} {words}", mark.glyph()), mark.style()))),
    ];
    grid(columns, view)
}

/// Returns the mark of an instance's step, and the step in words.
fn step(state: &str) -> (Mark, &str) {
    match state {
        "waiting" => (Mark::Stopped, translated(marked!("waiting"))),
        "starting" => (Mark::Starting, translated(marked!("starting"))),
        "ready" => (Mark::Starting, translated(marked!("ready"))),
        "draining" => (Mark::Starting, translated(marked!("new; the old one finishes its requests"))),
        "new" => (Mark::Online, translated(marked!("new"))),
        "old" => (Mark::Stopped, translated(marked!("old"))),
        "failed" => (Mark::Error, translated(marked!("failed"))),
        "down" => (Mark::Error, translated(marked!("down"))),
        "left" => (Mark::Warning, translated(marked!("left to another command"))),
        "returning" => (Mark::Starting, translated(marked!("rolling back"))),
        other => (Mark::Stopped, other),
    }
}

/// Formats all releases, the newest first. `runs`: whether an app has a process.
pub(crate) fn history_own(reports: &[RolloutReport], runs: &dyn Fn(&str) -> bool, view: &View) -> String {
    let newest = || reports.iter().rev();
    let states: Vec<(Mark, &str)> = newest().map(|report| state(report, runs(&report.app))).collect();
    let version = |report: &RolloutReport| report.version.as_deref().filter(|version| *version != "N/A").map(shown).unwrap_or_default();
    let columns = vec![
        Column::text("APP", 0, newest().map(|report| Cell::new(shown(&report.app), styles::BOLD))),
        Column::numbers("RELEASE", 0, newest().map(|report| report.release.to_string())),
        Column::text("STATE", 0, states.iter().map(|(mark, words)| Cell::new(format!("{} {words}", mark.glyph()), mark.style()))),
        Column::text("STARTED", 1, newest().map(|report| message!("{age} ago", age = short_age(view.since(report.started_ms))))),
        Column::text("BY", 2, newest().map(|report| shown(&report.command))),
        Column::text("VERSION", 3, newest().map(version)),
        Column::text("SCRIPT", 4, newest().map(|report| shown(&report.script))),
    ];
    let mut out = grid(columns, view);
    for (report, fault) in newest().filter_map(|report| Some((report, report.fault.as_ref()?))) {
        let text = message!(
            "{app} release {release}: instance {id} {reason}",
            app = shown(&report.app),
            release = report.release,
            id = fault.id,
            reason = shown(&fault.reason)
        );
        add(&mut out, 0, &text, view);
    }
    out
}

/// Returns the mark of a release, and its state in words. Only a release with processes serves.
fn state(report: &RolloutReport, runs: bool) -> (Mark, &'static str) {
    match report.state {
        RolloutState::Running => (Mark::Starting, translated(marked!("replacing"))),
        RolloutState::Canary => (Mark::Starting, translated(marked!("canary"))),
        RolloutState::Returning => (Mark::Warning, translated(marked!("rolling back"))),
        RolloutState::Done if report.current && runs => (Mark::Online, translated(marked!("serves"))),
        RolloutState::Done => (Mark::Stopped, translated(marked!("served"))),
        RolloutState::Failed => (Mark::Error, translated(marked!("failed"))),
        RolloutState::Overruled => (Mark::Warning, translated(marked!("cancelled by another command"))),
    }
}

/// Adds a text in lines that fit.
fn add(out: &mut String, indent: usize, text: &str, view: &View) {
    let room = view.width.unwrap_or(usize::MAX).saturating_sub(indent).max(4);
    for line in wrap_all(text, room) {
        let _ = writeln!(out, "{:indent$}{line}", "");
    }
}

fn cut(text: &str, room: usize) -> String {
    if text.width() > room { fit(text, room).trim_end().to_owned() } else { text.to_owned() }
}
