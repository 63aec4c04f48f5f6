//! `rollout` in ostler's own look.

use ostler_proto::control::{RolloutReport, RolloutState};

use super::{assert_fits, data, golden_at_each_width, many_widths};
use crate::render::View;
use crate::render::face::{history_own, rollout_own};

/// Returns rollouts in each state: in progress, failed, serving, and of a stopped app.
fn reports() -> Vec<RolloutReport> {
    let [serving, failed] = data::rollouts();
    let mut running = RolloutReport { release: 4, state: RolloutState::Running, ended_ms: None, fault: None, cut: 0, ..failed.clone() };
    running.replicas[0].state = "draining".into();
    running.replicas[1].state = "starting".into();
    let stopped = RolloutReport { app: "stopped".into(), ..serving.clone() };
    vec![stopped, serving, failed, running]
}

fn runs(app: &str) -> bool {
    app == "api"
}

fn shown(reports: &[RolloutReport], view: &View) -> String {
    let status: Vec<String> = reports.iter().map(|report| rollout_own(report, runs(&report.app), "ostler", view)).collect();
    format!("{}\n{}", status.join("\n"), history_own(reports, &runs, view))
}

#[test]
fn rollouts_in_own_look_fit_and_match_golden_files() {
    golden_at_each_width("own-rollout", |view| shown(&reports(), view));
}

#[test]
fn only_an_app_with_processes_serves() {
    let view = View::played(data::NOW_MS, None);
    let [serving, _] = data::rollouts();
    assert!(rollout_own(&serving, true, "ostler", &view).contains("● serves"));
    let stopped = rollout_own(&serving, false, "ostler", &view) + &history_own(&[serving], &|_| false, &view);
    assert!(!stopped.contains("serves") && stopped.contains("○ served"), "{stopped}");
}

#[test]
fn rollouts_are_never_wider_than_the_terminal() {
    for name in data::hostile_names() {
        let mut reports = reports();
        for report in &mut reports {
            (report.app, report.script, report.command) = (name.clone(), name.clone(), name.clone());
            report.version = Some(name.clone());
            if let Some(fault) = &mut report.fault {
                fault.reason.clone_from(&name);
                fault.last_lines.push(name.clone());
            }
        }
        for width in many_widths() {
            assert_fits(&shown(&reports, &View::played(data::NOW_MS, Some(width))), width);
        }
    }
}
