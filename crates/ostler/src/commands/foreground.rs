//! `--no-daemon`: the command stays in front of what it starts, as a container wants it.
//!
//! Keeper and daemon are the same processes as always, but children of this one, and live as long as it does: a polite signal stops the
//! apps in order, then everything else. It is a subreaper (and as PID 1 the init), so whatever loses its parent is reaped here. When a
//! daemon was there before, it is only watched: Ctrl-C leaves it running.

use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::{self, Cx};
use crate::error::{CliError, Status};
use crate::logs;
use crate::signals::Signals;

/// Attempts to stop everything when the daemon dies over it.
const TRIES: u32 = 3;

/// Runs the command, then stays: until a signal comes, or the daemon has gone.
pub(crate) fn run(cx: &mut Cx, call: &Call, command: fn(&mut Cx, &Call) -> Result<Status, CliError>) -> Result<Status, CliError> {
    let name = cx.program.name();
    cx.out.line(format_args!("{name} launched in no-daemon mode"));
    let past = logs::Past::now(cx)?;
    if cx.running_client()?.is_some() {
        let status = command(cx, call)?;
        return if status == Status::Ok { watch(cx, past, None) } else { Ok(status) };
    }
    own(cx, &mut |cx| command(cx, call), &mut |cx, signals| watch(cx, past.clone(), signals))
}

/// Watcher that shows what runs until it is over.
pub(super) type Watching<'a> = dyn FnMut(&mut Cx, Option<&mut Signals>) -> Result<Status, CliError> + 'a;

/// Starts something, then shows it as long as this process and the daemon live, and stops everything. A daemon that somebody else has
/// started meanwhile is left alone: then there are no signals to receive.
pub(super) fn own(
    cx: &mut Cx,
    start: &mut dyn FnMut(&mut Cx) -> Result<Status, CliError>,
    show: &mut Watching<'_>,
) -> Result<Status, CliError> {
    let mut signals = Signals::take()?;
    cx.heed(signals.asked_to_stop())?;
    let done = start(cx);
    signals.keeper = cx.launched;
    cx.heed_nothing();
    if signals.keeper.is_none() {
        // Nothing was started, or another call was faster and has the daemon.
        return match done {
            Ok(Status::Ok) if !signals.receive() && cx.running_client()?.is_some() => show(cx, None),
            done => done,
        };
    }
    let done = match done {
        Ok(Status::Ok) => show(cx, Some(&mut signals)),
        // Told to stop while it was still starting.
        Err(CliError::Client(ClientError::Interrupted)) => Ok(Status::Ok),
        other => other,
    };
    let stopped = stop(cx);
    signals.receive();
    done.and_then(|status| stopped.map(|()| status))
}

/// Shows the logs as they are written, until the daemon has gone.
fn watch(cx: &mut Cx, past: logs::Past, mut signals: Option<&mut Signals>) -> Result<Status, CliError> {
    let label = cx.program.label();
    let (out, client) = cx.parts()?;
    // What the daemon sends about itself comes with the first answer.
    client.list()?;
    let keeper = client.peer().map_or(0, |peer| peer.keeper_pid);
    out.line("[--no-daemon] Continue to stream logs");
    out.line(format_args!("[--no-daemon] Exit on target {label} exit pid={keeper}"));
    out.flush();
    cx.disconnect();
    let keeper = logs::stream(cx, past, signals.as_deref_mut())?.unwrap_or(keeper);
    cx::wait_for_end(keeper)?;
    let Some(signals) = signals else { return Ok(Status::Ok) };
    if signals.receive() || signals.ended_in_order() {
        return Ok(Status::Ok);
    }
    let name = cx.program.name();
    cx.out.error(format_args!("the daemon and its keeper were killed; apps that still run are found again by `{name} resurrect`"));
    Ok(Status::Failed)
}

/// Stops all apps in order, then daemon and keeper, as far as they are there still.
fn stop(cx: &mut Cx) -> Result<(), CliError> {
    let mut tries = 0;
    loop {
        cx.disconnect();
        if cx.running_client()?.is_none() {
            return Ok(());
        }
        tries += 1;
        match cx.stop_daemon() {
            Err(CliError::Client(ClientError::Lost(_))) if tries < TRIES => {}
            stopped => return stopped,
        }
    }
}
