//! `why`: the last exit of an app, its cause, and the reasons for the present state.

mod source;

use ostler_proto::control::{Detail, Request, Response, RolloutReport, RolloutState};
use ostler_sys::users::user::user_by_id;

use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::face::{WhyContext, why_short};
use crate::render::{events_of, json, rollout, why};

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
                    "events": events_of(detail, &events),
                    "failed_reload": failed.iter().find(|report| report.app == detail.spec.name),
                })
            })
            .collect();
        json(&mut cx.out, &list);
        return Ok(Status::Ok);
    }
    let view = cx.out.view();
    let (program, is_short) = (cx.program.name(), !cx.program.is_pm2() && !call.has("all"));
    let explain = |detail: &Detail| {
        if !is_short {
            return why(detail, &events, &view);
        }
        let is_one_of_many = details.iter().filter(|other| other.spec.name == detail.spec.name).count() > 1 || detail.index > 0;
        let source = source::of_error(detail);
        why_short(detail, &WhyContext { program, events: &events, source, is_one_of_many, user: &user_name, view: &view })
    };
    let mut texts: Vec<String> = details.iter().map(explain).collect();
    texts.extend(failed_reloads(cx, &details)?.iter().map(|report| rollout(report, &view)));
    cx.out.line(texts.join("\n").trim_end_matches('\n'));
    Ok(Status::Ok)
}

fn user_name(uid: u32) -> Option<String> {
    Some(user_by_id(uid).ok()??.name)
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
