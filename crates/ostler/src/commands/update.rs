//! `update`: replace the running daemon and keeper by this program. Apps go on.

use std::time::{Duration, Instant};

use ostler_proto::control::{Request, Response};

use super::list;
use crate::cli::{Call, CliError, Status};
use crate::client::{self, Client, ClientError, VERSION};
use crate::cx::Cx;

/// How long the new daemon has to answer.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Tells the daemon which binary to become, then waits until that one answers.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let Some(version) = replace(cx)? else {
        cx.out.info("no daemon is running, nothing to update");
        return Ok(Status::Ok);
    };
    cx.out.line(format_args!(">>>>>>>>>> {} updated", cx.program.label()));
    cx.out.info(format_args!("daemon version {version}, all apps kept"));
    list::show(cx, call)?;
    Ok(Status::Ok)
}

/// Replaces keeper and daemon by this program; the version of the new ones, none where there are no old ones.
pub(crate) fn replace(cx: &mut Cx) -> Result<Option<String>, CliError> {
    let exe = own_path()?;
    let Some(client) = cx.running_client()? else { return Ok(None) };
    client.of_any_protocol().request(&Request::Update { exe }, &mut |_| {})?;
    let old = client.peer().map(|peer| peer.pid);
    cx.disconnect();
    let home = cx.home()?.to_owned();
    wait_for_successor(&home, old).map(Some)
}

fn own_path() -> Result<String, CliError> {
    let exe = std::env::current_exe().map_err(|source| CliError::File { what: "find", path: "this program".into(), source })?;
    if !exe.is_file() {
        return Err(CliError::Failed(format!("this program is not at {} any more, run the new one", exe.display())));
    }
    exe.into_os_string().into_string().map_err(|exe| CliError::Failed(format!("the path of this program {exe:?} is not valid UTF-8")))
}

/// The keeper holds the socket, so a connection waits until a daemon takes it; the old one may still take the first.
fn wait_for_successor(home: &std::path::Path, old: Option<i32>) -> Result<String, CliError> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let last = match client::connect(home).map_err(CliError::from).and_then(ping) {
            Ok((pid, version)) if Some(pid) != old => return Ok(version),
            Ok(_) => CliError::Failed(format!("the old daemon is still there after {} s", READY_WITHIN.as_secs())),
            Err(error) => error,
        };
        if Instant::now() >= deadline {
            return Err(last);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ping(mut client: Client) -> Result<(i32, String), CliError> {
    let Response::Pong = client.of_any_protocol().request(&Request::Ping, &mut |_| {})? else { return Err(ClientError::Unexpected.into()) };
    Ok(client.peer().map_or((0, VERSION.to_owned()), |peer| (peer.pid, peer.version.clone())))
}
