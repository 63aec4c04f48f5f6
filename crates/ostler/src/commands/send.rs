//! `send`, `attach`: lines for the standard input of an app.

use std::io::{BufRead, Write, stderr, stdin};

use ostler_core::message;
use ostler_proto::control::Request;

use super::table;
use crate::cli::Call;
use crate::client;
use crate::cx::Cx;
use crate::error::{CliError, CommandError, Status};
use crate::logs::StartPositions;

/// Runs `send <id|name> <line>`.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let id = instance(cx, &call.targets[0])?;
    let mut text = call.targets[1..].join(" ");
    text.push('\n');
    cx.client()?.request(&Request::Input { id, text }, &mut |_| {})?;
    table::after_change(cx, call)?;
    Ok(Status::Ok)
}

/// Runs `attach <id|name> [separator]`: shows the app's output and sends typed lines to the app,
/// until the input ends.
pub(crate) fn attach(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let id = instance(cx, &call.targets[0])?;
    let separator = call.targets.get(1).cloned().unwrap_or_else(|| "\n".into());
    let home = cx.home()?.to_owned();
    cx.find(&[id.to_string()])?;
    let label = if cx.program.is_pm2() { "[PM2][ERROR]" } else { "error:" };
    // The position is taken before any line is sent, so that earlier output is not shown as a
    // response.
    let past = StartPositions::now(cx)?;
    std::thread::spawn(move || {
        let ended = type_lines(&home, id, &separator);
        if let Err(error) = &ended {
            let _ = writeln!(stderr(), "{label} {error}");
        }
        // The output is already flushed. The main thread follows the logs without an end, so this
        // thread exits the process.
        std::process::exit(if ended.is_ok() { i32::from(Status::Ok.code()) } else { i32::from(Status::Failed.code()) });
    });
    crate::logs::stream_instance(cx, id, past)?;
    Ok(Status::Ok)
}

/// Sends each typed line. Stops at the end of the input, or if the app does not accept a line.
fn type_lines(home: &std::path::Path, id: u32, separator: &str) -> Result<(), CliError> {
    for line in stdin().lock().lines() {
        let line = line.map_err(CliError::system(message!("read standard input")))?;
        let text = format!("{line}{separator}");
        client::connect(home)?.request(&Request::Input { id, text }, &mut |_| {})?;
    }
    Ok(())
}

/// Returns the target instance: an id, or the name of an app with one instance.
// PM2 differs: it takes ids only.
fn instance(cx: &mut Cx, target: &str) -> Result<u32, CliError> {
    if let Ok(id) = target.parse() {
        return Ok(id);
    }
    let rows = cx.client()?.table()?;
    let ids: Vec<u32> = rows.iter().filter(|row| row.name == target).map(|row| row.id).collect();
    match ids[..] {
        [id] => Ok(id),
        [] => Err(ostler_proto::control::Failure::NotFound { target: target.into() }.into()),
        _ => Err(CommandError::SeveralInstances { target: target.to_owned(), ids: ids.iter().map(u32::to_string).collect() }.into()),
    }
}
