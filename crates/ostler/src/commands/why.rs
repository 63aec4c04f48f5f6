//! `why`: the last exit of an app, its cause, and the reasons for the present state.

use ostler_client::source_line::of_error;
use ostler_proto::control::{Detail, Request, Response, RolloutReport, RolloutState};

use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::{Cx, user_name};
use crate::error::{CliError, Status};
use crate::render::face::{WhyContext, rollout_own, why_short};
use crate::render::{events_of, json, rollout, why};
use crate::text::wrap_indented;

/// Prints for each matching instance: the cause, time and way of its last exit, its last lines, and
/// the events since then.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let details = cx.find(&call.targets)?;
    let Response::Events { list: events, .. } = cx.client()?.request(&Request::Events, &mut |_| {})? else {
        return Err(ClientError::Unexpected.into());
    };
    if call.has("json") {
        let failed = failed_reloads(cx, &details)?;
        let list: Vec<_> = details
            .iter()
            .map(|detail| {
                serde_json::json!({
                    "id": detail.id,
                    "name": detail.spec.name,
                    "status": detail.instance.status(),
                    "restarts": detail.instance.counters.restarts,
                    "exits": detail.instance.exits,
                    "cause": detail.cause,
                    "own_sockets": detail.learned.own_sockets,
                    "sandbox": detail.learned.sandbox,
                    "events": events_of(detail, &events),
                    "failed_reload": failed.iter().find(|report| report.app == detail.spec.name),
                })
            })
            .collect();
        json(&mut cx.out, &list);
        return Ok(Status::Ok);
    }
    let view = cx.out.view();
    let is_pm2 = cx.program.is_pm2();
    let (program, is_short) = (cx.program.name(), !cx.program.is_pm2() && !call.has("all"));
    let explain = |detail: &Detail| {
        if !is_short {
            let text = why(detail, &events, &view);
            return match view.width {
                Some(width) if !is_pm2 => wrap_indented(&text, width),
                _ => text,
            };
        }
        let is_one_of_many = details.iter().filter(|other| other.spec.name == detail.spec.name).count() > 1 || detail.index > 0;
        let source = of_error(detail);
        why_short(detail, &WhyContext { program, events: &events, source, is_one_of_many, user: &user_name, view: &view })
    };
    let mut texts: Vec<String> = details.iter().map(explain).collect();
    let runs = |app: &str| details.iter().any(|detail| detail.spec.name == app && detail.instance.pid().is_some());
    let report = |report: &RolloutReport| match is_pm2 {
        true => rollout(report, &view),
        false => rollout_own(report, runs(&report.app), program, &view),
    };
    texts.extend(failed_reloads(cx, &details)?.iter().map(report));
    cx.out.line(texts.join("\n").trim_end_matches('\n'));
    Ok(Status::Ok)
}

/// Returns the last reload of each app, if it failed. Such a failure is no exit of an instance,
/// because the old release still serves.
fn failed_reloads(cx: &mut Cx, details: &[Detail]) -> Result<Vec<RolloutReport>, CliError> {
    let mut apps: Vec<&str> = details.iter().map(|detail| detail.spec.name.as_str()).collect();
    apps.dedup();
    let mut failed = Vec::new();
    for app in apps {
        let reports = match cx.client()?.request(&Request::Rollouts { app: Some(app.to_owned()) }, &mut |_| {})? {
            Response::Rollouts(reports) => reports,
            _ => return Err(ClientError::Unexpected.into()),
        };
        failed.extend(
            reports.into_iter().next_back().filter(|newest| matches!(newest.state, RolloutState::Failed | RolloutState::Returning)),
        );
    }
    Ok(failed)
}
