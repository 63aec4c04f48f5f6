//! `describe`: everything about an app.

use ostler_proto::control::{Detail, Failure};

use crate::cli::{Call, CliError, Status};
use crate::cx::Cx;
use crate::render::{Surroundings, describe, json};

/// Tables for each instance that matches.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let details = match find(cx, &call.targets[..1]) {
        Err(CliError::Daemon(Failure::NotFound { target })) => {
            cx.out.warn_err(format_args!("{target} doesn't exist"));
            return Err(CliError::Told(Status::NotFound));
        }
        other => other?,
    };
    if call.has("json") {
        json(&mut cx.out, &details);
        return Ok(Status::Ok);
    }
    let env = cx.env();
    let view = cx.out.view();
    let around = Surroundings { program: cx.program.name(), env: &env, view: &view };
    for detail in &details {
        cx.out.line(describe(detail, &around).trim_end_matches('\n'));
    }
    Ok(Status::Ok)
}

/// The instances that the targets select; none is "not found", too.
pub(super) fn find(cx: &mut Cx, targets: &[String]) -> Result<Vec<Detail>, CliError> {
    let details = cx.client()?.inspect(targets)?;
    match targets.first() {
        Some(target) if details.is_empty() => Err(Failure::NotFound { target: target.clone() }.into()),
        _ => Ok(details),
    }
}
