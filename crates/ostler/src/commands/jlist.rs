//! `jlist`: PM2's JSON, nothing else on stdout.

use ostler_proto::pm2::process_object;
use serde_json::Value;

use crate::cli::{Call, CliError, Status};
use crate::cx::Cx;

/// One array in one line, without a final newline, as PM2 prints it.
pub(crate) fn run(cx: &mut Cx, _call: &Call) -> Result<Status, CliError> {
    let list = processes(cx)?;
    cx.out.data(list.to_string().as_bytes());
    Ok(Status::Ok)
}

/// Every instance in PM2's shape, by id.
pub(super) fn processes(cx: &mut Cx) -> Result<Value, CliError> {
    cx.out.data_only();
    let details = cx.client()?.inspect(&[])?;
    Ok(Value::Array(details.iter().map(process_object).collect()))
}
