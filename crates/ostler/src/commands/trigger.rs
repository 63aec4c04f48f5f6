//! `trigger`: call an action that an app offers.

use ostler_core::message;
use ostler_proto::control::{Failure, Progress, Request, Response};
use serde_json::{Value, json};

use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, Status, UsageError};

/// Default time limit for an answer.
const WITHIN_MS: u64 = 10_000;

/// Runs `trigger <id|name|namespace|all> <action> [params]`. PM2 differs: it waits without a limit
/// if no answer arrives.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let bad = |error: &dyn std::fmt::Display| UsageError::BadValue { option: "--timeout".into(), reason: error.to_string() };
    let within_ms = match call.value("timeout") {
        Some(text) => ostler_core::text::units::millis(text).map_err(|error| bad(&error))?,
        None => WITHIN_MS,
    };
    let (target, action) = (call.targets[0].clone(), call.targets[1].clone());
    let request = Request::Trigger { target, action: action.clone(), params: call.targets.get(2).cloned(), within_ms };
    let is_json = call.has("json");
    let mut all: Vec<Value> = Vec::new();
    let (out, client) = cx.parts()?;
    let answer = client.request(&request, &mut |progress| {
        match progress {
            Progress::Selected { ids, .. } if !is_json => {
                out.line(message!("{count} processes have received command {action}", count = ids.len(), action))
            }
            Progress::Returned { id, name, namespace, value } if is_json => {
                all.push(json!({ "pm_id": id, "name": name, "namespace": namespace, "return": value }));
            }
            Progress::Returned { id, name, namespace, value } => out.line(format_args!("[{name}:{id}:{namespace}]={value}")),
            Progress::InstanceFailed { id, name, reason } => {
                out.error(format_args!("[{name}]({id}) {reason}"));
                all.push(json!({ "pm_id": id, "name": name, "error": reason }));
            }
            _ => {}
        }
        out.flush();
    });
    // The output is one document, no matter which instances have answered.
    let mut print = |status| {
        out.data(format!("{}\n", Value::from(std::mem::take(&mut all))).as_bytes());
        Ok(status)
    };
    match answer {
        Ok(Response::Done { .. }) if is_json => print(Status::Ok),
        Err(ClientError::Refused(Failure::Some { .. })) if is_json => print(Status::Failed),
        answer => match answer? {
            Response::Done { .. } => Ok(Status::Ok),
            _ => Err(ClientError::Unexpected.into()),
        },
    }
}
