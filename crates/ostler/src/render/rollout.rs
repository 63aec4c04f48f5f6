//! `rollout`: progress and history of releases, as text.

use std::fmt::Write;

use anstyle::Style;
use ostler_client::words::span;
use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use ostler_proto::control::{RolloutReport, RolloutState};

use super::style::styles;
use super::view::View;
use crate::text::{fit, shown};

/// Formats one rollout: its state, each instance, the failures.
pub(crate) fn rollout(report: &RolloutReport, view: &View) -> String {
    let paint = view.paint;
    let mut out = String::new();
    let name = paint.with(styles::BOLD, shown(&report.app)).to_string();
    let (word, style) = state(report.state);
    let when = match report.ended_ms {
        Some(ended) => {
            message!("{age} ago, after {duration}", age = span(view.since(ended)), duration = span(ended.saturating_sub(report.started_ms)))
        }
        None => message!("since {duration}", duration = span(view.since(report.started_ms))),
    };
    let line = message!(
        "{name} release {release}: {state} ({command}, {time})",
        name,
        release = report.release,
        state = paint.with(style, translated(word)),
        command = shown(&report.command),
        time = when
    );
    let _ = writeln!(out, "{line}");
    for replica in &report.replicas {
        let _ = writeln!(out, "  {:>3}  {}", replica.id, replica.state);
    }
    if report.cut > 0 {
        let text = match report.cut {
            1 => message!("1 request was not finished in time (drain_timeout)"),
            count => message!("{count} requests were not finished in time (drain_timeout)", count),
        };
        let _ = writeln!(out, "  {}", paint.with(styles::YELLOW, text));
    }
    if let Some(fault) = &report.fault {
        let _ = writeln!(out, "  {}", message!("instance {id} {reason}", id = fault.id, reason = shown(&fault.reason)));
        for line in &fault.last_lines {
            let _ = writeln!(out, "    {} {}", paint.with(styles::GREY, '│'), shown(line));
        }
    }
    out
}

/// Formats all releases, the newest first.
pub(crate) fn history(reports: &[RolloutReport], view: &View) -> String {
    let paint = view.paint;
    let mut out = String::new();
    for report in reports.iter().rev() {
        let (word, style) = match report.state {
            RolloutState::Done if !report.current => (marked!("served"), Style::new()),
            other => state(other),
        };
        let mark = if report.current { "▶" } else { " " };
        let version =
            report.version.as_deref().filter(|version| *version != "N/A").map(|version| format!(" v{version}")).unwrap_or_default();
        let age = span(view.since(report.started_ms));
        let _ = writeln!(
            out,
            "{mark} {} {:>3}{}  {}  {}  {}",
            paint.with(styles::BOLD, shown(&report.app)),
            report.release,
            shown(&version),
            paint.with(style, fit(translated(word), 10)),
            message!("{age} ago by {command}", age, command = shown(&report.command)),
            shown(&report.script),
        );
        if let Some(fault) = &report.fault {
            let _ = writeln!(out, "      {}", message!("instance {id} {reason}", id = fault.id, reason = shown(&fault.reason)));
        }
    }
    out
}

fn state(state: RolloutState) -> (&'static str, Style) {
    match state {
        RolloutState::Running => (marked!("replacing"), styles::YELLOW),
        RolloutState::Canary => (marked!("canary"), styles::YELLOW),
        RolloutState::Returning => (marked!("returning"), styles::RED),
        RolloutState::Done => (marked!("serves"), styles::GREEN),
        RolloutState::Failed => (marked!("failed"), styles::RED),
        RolloutState::Overruled => (marked!("overruled"), styles::YELLOW),
    }
}
