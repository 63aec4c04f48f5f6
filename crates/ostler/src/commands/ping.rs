//! `ping`: is the daemon there?

use ostler_proto::control::{Request, Response};

use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::json;

/// Prints `{ msg: 'pong' }`.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let client = cx.client()?;
    let Response::Pong = client.request(&Request::Ping, &mut |_| {})? else { return Err(ClientError::Unexpected.into()) };
    let peer = client.peer().cloned();
    if call.has("json") {
        let peer = peer.map(|peer| serde_json::json!({ "version": peer.version, "pid": peer.pid, "keeper_pid": peer.keeper_pid }));
        json(&mut cx.out, &serde_json::json!({ "msg": "pong", "daemon": peer }));
    } else {
        cx.out.line("{ msg: 'pong' }");
    }
    Ok(Status::Ok)
}
