//! `--no-daemon`: the command stays in the foreground while its apps run, for example in a
//! container.
//!
//! Keeper and daemon are the same processes as always, but they are children of this command and
//! live as long as it does. The first stop signal stops the apps in order, then everything else. A
//! second signal kills the apps. The command is a subreaper (and as PID 1 the init), so it reaps
//! processes that lose their parent. If a daemon was already running, the command only watches it:
//! Ctrl-C leaves it running.

use std::collections::BTreeSet;
use std::time::Instant;

use ostler_core::message;
use ostler_proto::control::{Action, Event, Request, Summary};
use ostler_sys::process::signal::KILL;

use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::{self, Cx};
use crate::error::{CliError, Status};
use crate::logs::{self, Observer};
use crate::render::Out;
use crate::signals::Signals;

/// Attempts to stop everything if the daemon dies during the stop.
const TRIES: u32 = 3;

/// Runs the command, then stays in the foreground until a signal arrives or the daemon has exited.
pub(crate) fn run(cx: &mut Cx, call: &Call, command: fn(&mut Cx, &Call) -> Result<Status, CliError>) -> Result<Status, CliError> {
    let name = cx.program.name();
    cx.out.line(message!("{name} launched in no-daemon mode", name));
    let past = logs::StartPositions::now(cx)?;
    if cx.running_client()?.is_some() {
        let status = command(cx, call)?;
        return if status == Status::Ok { watch(cx, past, None) } else { Ok(status) };
    }
    own(cx, &mut |cx| command(cx, call), &mut |cx, signals| watch(cx, past.clone(), signals))
}

/// Function that shows the running apps until they have stopped.
pub(super) type ShowApps<'a> = dyn FnMut(&mut Cx, Option<&mut Signals>) -> Result<Status, CliError> + 'a;

/// Starts something, shows it as long as this process and the daemon live, and then stops
/// everything. If another process started the daemon in between, the daemon is left running, and
/// signals are not handled.
pub(super) fn own(
    cx: &mut Cx,
    start: &mut dyn FnMut(&mut Cx) -> Result<Status, CliError>,
    show: &mut ShowApps<'_>,
) -> Result<Status, CliError> {
    let mut signals = Signals::take()?;
    cx.interrupt_on(signals.stop_fd())?;
    let done = start(cx);
    signals.keeper = cx.launched;
    cx.clear_interrupt();
    if signals.keeper.is_none() {
        // Nothing was started, or another call was faster and owns the daemon.
        return match done {
            Ok(Status::Ok) if !signals.receive() && cx.running_client()?.is_some() => show(cx, None),
            done => done,
        };
    }
    let done = match done {
        Ok(Status::Ok) => show(cx, Some(&mut signals)),
        // A signal arrived during the start. The apps that already run are stopped, and their logs
        // are shown until then.
        Err(CliError::Client(ClientError::Interrupted)) => {
            cx.disconnect();
            signals.receive();
            if cx.running_client()?.is_some() { show(cx, Some(&mut signals)) } else { Ok(Status::Ok) }
        }
        other => other,
    };
    let stopped = stop(cx);
    signals.receive();
    done.and_then(|status| stopped.map(|()| status))
}

/// Returns the running instances of a list; if names are given, only those of these apps.
fn running<'a>(list: &'a [Summary], names: Option<&'a [String]>) -> impl Iterator<Item = &'a Summary> {
    list.iter().filter(move |row| row.pid > 0 && names.is_none_or(|names| names.contains(&row.name)))
}

/// Returns the line that explains the effect of a first Ctrl-C on these apps.
pub(super) fn stopping_line(list: &[Summary], names: Option<&[String]>) -> String {
    match running(list, names).map(|row| &row.name).collect::<BTreeSet<_>>().len() {
        0 => message!("stopping"),
        1 => message!("stopping 1 app; press Ctrl-C again to kill it"),
        count => message!("stopping {count} apps; press Ctrl-C again to kill them", count),
    }
}

/// Returns the requests that kill these apps at once. An app that still runs normally is stopped
/// first; otherwise its restart policy would start it again.
pub(super) fn kill_at_once(list: &[Summary], names: Option<&[String]>) -> Vec<Request> {
    let stop = |row: &Summary| Request::act(Action::Stop, vec![row.id.to_string()], "stop");
    let stops = running(list, names).filter(|row| row.status != "stopping").map(stop);
    let kills = running(list, names).map(|row| Request::Signal { signal: KILL, target: row.id.to_string() });
    stops.chain(kills).collect()
}

/// Shutdown of everything that `--no-daemon` started.
struct Shutdown;

impl Observer for Shutdown {
    fn on_event(&mut self, _: &mut Out, _: &Event) {}

    fn on_stopping(&mut self, out: &mut Out, list: &[Summary]) {
        out.line(stopping_line(list, None));
        out.flush();
    }

    fn due(&self) -> Option<Instant> {
        None
    }

    fn observe(&mut self, _: &[Summary]) -> bool {
        false
    }

    fn stops(&self, nth: u32, list: &[Summary]) -> Option<Vec<Request>> {
        (nth > 1).then(|| kill_everything(list))
    }
}

/// Returns the requests that kill all apps at once, and stop the daemon.
pub(super) fn kill_everything(list: &[Summary]) -> Vec<Request> {
    kill_at_once(list, None).into_iter().chain([Request::Kill]).collect()
}

/// Shows the logs as they are written, until the daemon has exited.
fn watch(cx: &mut Cx, past: logs::StartPositions, mut signals: Option<&mut Signals>) -> Result<Status, CliError> {
    let label = cx.program.label();
    let (out, client) = cx.parts()?;
    // The daemon sends its own details with its first response.
    client.list()?;
    let keeper = client.peer().map_or(0, |peer| peer.keeper_pid);
    out.line(message!("[--no-daemon] Continue to stream logs"));
    out.line(message!("[--no-daemon] Exit on target {label} exit pid={keeper}", label, keeper));
    out.flush();
    cx.disconnect();
    let has_keys = signals.is_some() && !cx.program.is_pm2();
    let mut ending = Shutdown;
    let observer = has_keys.then_some(&mut ending as &mut dyn Observer);
    let keeper = logs::stream(cx, past, signals.as_deref_mut(), observer)?.unwrap_or(keeper);
    cx::wait_for_exit(keeper)?;
    let Some(signals) = signals else { return Ok(Status::Ok) };
    if signals.receive() || signals.ended_in_order() {
        return Ok(Status::Ok);
    }
    let name = cx.program.name();
    cx.out.error(message!("the daemon and its keeper were killed; `{name} resurrect` finds the apps that still run", name));
    Ok(Status::Failed)
}

/// Stops all apps in order, then daemon and keeper, if they still run.
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
