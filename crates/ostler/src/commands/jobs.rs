//! `jobs`: apps that run at given times, and running one now.

use ostler_core::message;
use ostler_proto::control::{Detail, Failure, Request};

use crate::cli::{Call, missing_argument};
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::{Wording, job, job_json, jobs, json};

/// Runs `jobs`, `jobs <name>`, `jobs run <name>`.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    match call.targets.as_slice() {
        [word] if word == "run" => Err(missing_argument("name".into(), "jobs").into()),
        [word, targets @ ..] if word == "run" => run_now(cx, targets),
        targets => show(cx, call, targets),
    }
}

fn show(cx: &mut Cx, call: &Call, targets: &[String]) -> Result<Status, CliError> {
    let all = if targets.is_empty() { cx.client()?.inspect(&[])? } else { cx.find(targets)? };
    let found: Vec<Detail> = all.into_iter().filter(|detail| detail.spec.is_job()).collect();
    if call.has("json") {
        json(&mut cx.out, &found.iter().map(job_json).collect::<Vec<_>>());
        return Ok(Status::Ok);
    }
    match (found.is_empty(), targets.first()) {
        (true, Some(name)) => return Err(Failure::Other(message!("{name} is not a job: it has no `job` in its config", name)).into()),
        (true, None) => cx.out.info(message!("no jobs; to define one, add `job: '0 3 * * *'` to an app in the config file")),
        (false, None) => cx.out.line(jobs(&found, &cx.out.view()).trim_end_matches('\n')),
        (false, Some(_)) => {
            let texts: Vec<String> = found.iter().map(|detail| job(detail, &cx.out.view())).collect();
            cx.out.line(texts.join("\n").trim_end_matches('\n'));
        }
    }
    Ok(Status::Ok)
}

/// Starts a run; its result is in the job's history.
fn run_now(cx: &mut Cx, targets: &[String]) -> Result<Status, CliError> {
    for target in targets {
        cx.perform(&Request::RunJob { target: target.clone(), command: "jobs run".into() }, Wording::Action)?;
        cx.done.push(target.clone());
    }
    Ok(Status::Ok)
}
