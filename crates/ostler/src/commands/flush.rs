//! `flush`: empty the log files.

use ostler_core::message;
use ostler_proto::control::{Failure, Request, Response};

use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::json;
use crate::text::shown;

/// Empties files and prints which. PM2 accepts an unknown target; ostler rejects it.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let log = cx.paths()?.log.display().to_string();
    let request = Request::Flush { target: call.target().map(str::to_owned), own: cx.program.is_pm2().then(|| log.clone()) };
    let paths = match cx.client()?.request(&request, &mut |_| {}) {
        Ok(Response::Paths(paths)) => paths,
        Ok(_) => return Err(ClientError::Unexpected.into()),
        Err(ClientError::Refused(Failure::NotFound { .. } | Failure::Empty)) if cx.program.is_pm2() => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    if call.has("json") {
        json(&mut cx.out, &paths);
        return Ok(Status::Ok);
    }
    if !cx.program.is_pm2() {
        cx.out.info(match paths.len() {
            0 => message!("no log file to empty"),
            1 => message!("emptied 1 log file:"),
            count => message!("emptied {count} log files:", count),
        });
        paths.iter().for_each(|path| cx.out.info(format_args!("  {}", shown(path))));
        return Ok(Status::Ok);
    }
    // As PM2 does: the daemon's own log in one line, the logs of apps below a heading.
    let (own, apps): (Vec<String>, Vec<String>) = paths.into_iter().partition(|path| *path == log);
    for path in own {
        cx.out.info(format_args!("Flushing {path}"));
    }
    if !apps.is_empty() {
        cx.out.info("Flushing:");
    }
    for path in apps {
        cx.out.info(path);
    }
    cx.out.info("Logs flushed");
    Ok(Status::Ok)
}
