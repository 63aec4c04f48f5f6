//! `rollout`: replacements of releases in words.

use std::fmt::Write;

use anstyle::Style;
use ostler_proto::control::{RolloutReport, RolloutState};

use super::age::span;
use super::style::{Paint, styles};
use super::table::shown;

/// One replacement: where it stands, each instance, what failed.
pub(crate) fn rollout(report: &RolloutReport, now_ms: u64, paint: Paint) -> String {
    let mut out = String::new();
    let name = paint.with(styles::BOLD, shown(&report.app)).to_string();
    let (word, style) = state(report.state);
    let when = match report.ended_ms {
        Some(ended) => format!("{} ago, after {}", span(now_ms.saturating_sub(ended)), span(ended.saturating_sub(report.started_ms))),
        None => format!("since {}", span(now_ms.saturating_sub(report.started_ms))),
    };
    let _ = writeln!(out, "{name} release {}: {} ({}, {when})", report.release, paint.with(style, word), shown(&report.command));
    for place in &report.places {
        let _ = writeln!(out, "  {:>3}  {}", place.id, place.state);
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

/// All releases, the newest first.
pub(crate) fn history(reports: &[RolloutReport], now_ms: u64, paint: Paint) -> String {
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
            span(now_ms.saturating_sub(report.started_ms)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_proto::control::{FaultReport, PlaceReport};

    fn report() -> RolloutReport {
        RolloutReport {
            app: "api".into(),
            release: 3,
            version: Some("1.2.0".into()),
            script: "/srv/api/current/app.js".into(),
            command: "reload".into(),
            started_ms: 1_000,
            ended_ms: Some(2_500),
            state: RolloutState::Failed,
            current: false,
            places: vec![PlaceReport { id: 0, state: "failed".into() }, PlaceReport { id: 1, state: "waiting".into() }],
            fault: Some(FaultReport {
                id: 0,
                reason: "exited with code 1 before it was ready".into(),
                last_lines: vec!["Error: no".into()],
            }),
            cut: 0,
        }
    }

    #[test]
    fn a_failure_says_which_and_why_with_its_last_lines() {
        let text = rollout(&report(), 10_500, Paint(false));
        assert_eq!(
            text,
            "api release 3: failed (reload, 8.0 s ago, after 1.5 s)\n    0  failed\n    1  waiting\n  instance 0 exited with code 1 before it \
             was ready\n    │ Error: no\n"
        );
    }

    #[test]
    fn history_is_newest_first() {
        let first = RolloutReport { release: 2, state: RolloutState::Done, current: true, fault: None, ..report() };
        let text = history(&[first, report()], 10_500, Paint(false));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("  api   3 v1.2.0  failed") && lines[2].starts_with("▶ api   2 v1.2.0  serves"), "{text}");
    }
}
