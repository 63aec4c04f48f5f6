//! `rollout`: progress and history of releases, as text.

use std::fmt::Write;

use anstyle::Style;
use ostler_client::words::span;
use ostler_proto::control::{RolloutReport, RolloutState};

use super::style::styles;
use super::view::View;
use crate::text::shown;

/// Formats one rollout: its state, each instance, the failures.
pub(crate) fn rollout(report: &RolloutReport, view: &View) -> String {
    let paint = view.paint;
    let mut out = String::new();
    let name = paint.with(styles::BOLD, shown(&report.app)).to_string();
    let (word, style) = state(report.state);
    let when = match report.ended_ms {
        Some(ended) => format!("{} ago, after {}", span(view.since(ended)), span(ended.saturating_sub(report.started_ms))),
        None => format!("since {}", span(view.since(report.started_ms))),
    };
    let _ = writeln!(out, "{name} release {}: {} ({}, {when})", report.release, paint.with(style, word), shown(&report.command));
    for replica in &report.replicas {
        let _ = writeln!(out, "  {:>3}  {}", replica.id, replica.state);
    }
    if report.cut > 0 {
        let were = if report.cut == 1 { "request was" } else { "requests were" };
        let _ =
            writeln!(out, "  {}", paint.with(styles::YELLOW, format_args!("{} {were} not finished in time (drain_timeout)", report.cut)));
    }
    if let Some(fault) = &report.fault {
        let _ = writeln!(out, "  instance {} {}", fault.id, shown(&fault.reason));
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
            RolloutState::Done if !report.current => ("served", Style::new()),
            other => state(other),
        };
        let mark = if report.current { "▶" } else { " " };
        let version =
            report.version.as_deref().filter(|version| *version != "N/A").map(|version| format!(" v{version}")).unwrap_or_default();
        let _ = writeln!(
            out,
            "{mark} {} {:>3}{}  {}  {} ago by {}  {}",
            paint.with(styles::BOLD, shown(&report.app)),
            report.release,
            shown(&version),
            paint.with(style, format_args!("{word:<10}")),
            span(view.since(report.started_ms)),
            shown(&report.command),
            shown(&report.script),
        );
        if let Some(fault) = &report.fault {
            let _ = writeln!(out, "      instance {} {}", fault.id, shown(&fault.reason));
        }
    }
    out
}

fn state(state: RolloutState) -> (&'static str, Style) {
    match state {
        RolloutState::Running => ("replacing", styles::YELLOW),
        RolloutState::Canary => ("canary", styles::YELLOW),
        RolloutState::Returning => ("returning", styles::RED),
        RolloutState::Done => ("serves", styles::GREEN),
        RolloutState::Failed => ("failed", styles::RED),
        RolloutState::Overruled => ("overruled", styles::YELLOW),
    }
}
