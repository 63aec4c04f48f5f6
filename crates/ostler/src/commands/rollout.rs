//! `rollout`: releases in progress, earlier releases, and the rollback to one.

use std::collections::BTreeSet;

use ostler_core::message;
use ostler_proto::control::{Failure, Request, Response, RolloutReport, RolloutState, TableRow};

use crate::cli::{Call, missing_argument};
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, Status, UsageError};
use crate::render::face::{history_own, rollout_own};
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
            None => Err(missing_argument("name".into(), "rollout").into()),
        },
        other => Err(UsageError::unknown_value("rollout", other, &["status", "history", "undo"]).into()),
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
        let (view, program) = (cx.out.view(), cx.program);
        let running = running_apps(cx)?;
        let one = |report: &RolloutReport| match program.is_pm2() {
            true => rollout(report, &view),
            false => rollout_own(report, running.contains(&report.app), program.name(), &view),
        };
        let texts: Vec<String> = newest.iter().map(one).collect();
        cx.out.line(texts.join("\n").trim_end_matches('\n'));
    }
    Ok(if failed { Status::Failed } else { Status::Ok })
}

fn past(cx: &mut Cx, call: &Call, app: Option<String>) -> Result<Status, CliError> {
    let reports = ask(cx, app)?;
    if call.has("json") {
        json(&mut cx.out, &reports);
    } else if !reports.is_empty() {
        let view = cx.out.view();
        let running = running_apps(cx)?;
        let text = match cx.program.is_pm2() {
            true => history(&reports, &view),
            false => history_own(&reports, &|app| running.contains(app), &view),
        };
        cx.out.line(text.trim_end_matches('\n'));
    }
    Ok(Status::Ok)
}

/// Returns the names of the apps with a process.
fn running_apps(cx: &mut Cx) -> Result<BTreeSet<String>, CliError> {
    Ok(cx.client()?.table()?.into_iter().filter(|row| row.pid > 0).map(|row| row.name).collect())
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
            Some(app) if !has_app(&rows, &app) => {
                return Err(Failure::NotFound { target: app }.into());
            }
            Some(app) => cx.out.info(message!("{app} has not been reloaded since it was started", app)),
            None => cx.out.info(message!("nothing has been reloaded yet")),
        }
    }
    Ok(reports)
}

fn has_app(rows: &[TableRow], app: &str) -> bool {
    rows.iter().any(|row| row.name == app || format!("{}/{}", row.namespace, row.name) == app)
}

fn undo(cx: &mut Cx, call: &Call, app: String) -> Result<Status, CliError> {
    let to = match call.value("to") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| UsageError::BadValue {
            option: "--to".into(),
            reason: message!("expected the number of a release, found {text}", text = format!("{text:?}")),
        })?),
    };
    let rows = cx.client()?.table()?;
    if !has_app(&rows, &app) {
        return Err(Failure::NotFound { target: app }.into());
    }
    cx.perform(&Request::Undo { app, to, command: "rollout undo".into() }, Wording::Action)?;
    Ok(Status::Ok)
}
