//! `rollout`: releases in progress, earlier releases, and the rollback to one.

use ostler_proto::control::{Failure, Request, Response, RolloutReport, RolloutState};

use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, Status, UsageError};
use crate::render::{Wording, history, json, rollout};

/// Runs `status [name]`, `history [name]`, `undo <name> [--to release]`.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let word = call.targets.first().map(String::as_str).unwrap_or_default();
    let app = call.targets.get(1).cloned();
    match word {
        "status" => status(cx, call, app),
        "history" => past(cx, call, app),
        "undo" => match app {
            Some(app) => undo(cx, call, app),
            None => Err(UsageError::MissingArgument { name: "name".into() }.into()),
        },
        other => Err(UsageError::UnknownArgument { word: other.to_owned() }.into()),
    }
}

/// Prints the newest rollout of each app. The exit code is 1 if one of them failed, so that a
/// script can check it.
fn status(cx: &mut Cx, call: &Call, app: Option<String>) -> Result<Status, CliError> {
    let mut newest: Vec<RolloutReport> = Vec::new();
    for report in ask(cx, app)? {
        match newest.iter_mut().find(|other| other.app == report.app) {
            Some(other) => *other = report,
            None => newest.push(report),
        }
    }
    let failed = newest.iter().any(|report| matches!(report.state, RolloutState::Failed | RolloutState::Returning));
    if call.has("json") {
        json(&mut cx.out, &newest);
    } else if !newest.is_empty() {
        let texts: Vec<String> = newest.iter().map(|report| rollout(report, &cx.out.view())).collect();
        cx.out.line(texts.join("\n").trim_end_matches('\n'));
    }
    Ok(if failed { Status::Failed } else { Status::Ok })
}

fn past(cx: &mut Cx, call: &Call, app: Option<String>) -> Result<Status, CliError> {
    let reports = ask(cx, app)?;
    if call.has("json") {
        json(&mut cx.out, &reports);
    } else if !reports.is_empty() {
        cx.out.line(history(&reports, &cx.out.view()).trim_end_matches('\n'));
    }
    Ok(Status::Ok)
}

/// Requests the reports. An app that was never reloaded has no report; an app that does not exist
/// is an error.
fn ask(cx: &mut Cx, app: Option<String>) -> Result<Vec<RolloutReport>, CliError> {
    let reports = match cx.client()?.request(&Request::Rollouts { app: app.clone() }, &mut |_| {})? {
        Response::Rollouts(reports) => reports,
        _ => return Err(ClientError::Unexpected.into()),
    };
    if reports.is_empty() {
        let rows = cx.client()?.table()?;
        match app {
            Some(app) if rows.iter().all(|row| row.name != app && format!("{}/{}", row.namespace, row.name) != app) => {
                return Err(Failure::NotFound { target: app }.into());
            }
            Some(app) => cx.out.info(format_args!("{app} has not been reloaded since it was started")),
            None => cx.out.info("nothing has been reloaded yet"),
        }
    }
    Ok(reports)
}

fn undo(cx: &mut Cx, call: &Call, app: String) -> Result<Status, CliError> {
    let to = match call.value("to") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| UsageError::BadValue {
            option: "--to".into(),
            reason: format!("expected the number of a release, found {text:?}"),
        })?),
    };
    cx.perform(&Request::Undo { app, to, command: "rollout undo".into() }, Wording::Action)?;
    Ok(Status::Ok)
}
