//! The stop of a service: every app in order, then daemon and keeper.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use ostler_proto::control::{Detail, Progress, Request};

use super::credentials;
use super::notify::Notify;
use super::start::replace_hung;
use super::watch::{self, alarm};
use crate::client::{self, ClientError};
use crate::cx::Cx;
use crate::cx::wait_for_exit;
use crate::error::CliError;

/// Time within which a daemon must answer before it stops everything; otherwise it counts as hung.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);
/// Extra time in addition to that of an app.
const MARGIN: Duration = Duration::from_secs(10);
/// Number of times that a daemon that does not answer is replaced.
const TRIES: u32 = 3;

/// Stops everything.
///
/// # Errors
/// Returns an error if the daemon did not stop everything, even after it was started again.
pub(super) fn stop(cx: &mut Cx, home: &Path, notify: &Notify) -> Result<(), CliError> {
    notify.send("STOPPING=1\nSTATUS=stopping all apps");
    extend(notify, RESPONSE_TIMEOUT * 4);
    // A hung process would use up the time that the apps need.
    replace_hung(cx, home, watch::ask(home, RESPONSE_TIMEOUT)?);
    let mut tries = 0;
    loop {
        match kill(home, notify) {
            Ok(()) | Err(CliError::Client(ClientError::NotRunning { .. })) => {
                credentials::withdraw(home);
                return Ok(());
            }
            Err(CliError::Client(ClientError::Interrupted)) if tries < TRIES => {
                tries += 1;
                watch::kill_daemon(home);
            }
            Err(CliError::Client(ClientError::Lost(_))) if tries < TRIES => tries += 1,
            failed @ Err(_) => return failed,
        }
    }
}

fn kill(home: &Path, notify: &Notify) -> Result<(), CliError> {
    let mut client = client::connect(home)?;
    client.interrupt_on(alarm(MARGIN)?.as_fd())?;
    let apps = match client.allow_any_protocol().inspect(&[]) {
        Err(error @ (ClientError::Interrupted | ClientError::Lost(_))) => return Err(error.into()),
        // A daemon of another version may not understand the request. Then each app gets the
        // default time.
        apps => apps.unwrap_or_default(),
    };
    let patience = patience(&apps);
    extend(notify, patience);
    let id = client.send(Request::Kill)?;
    loop {
        client.interrupt_on(alarm(patience)?.as_fd())?;
        let frame = client.next_frame()?;
        if frame.id != id {
            continue;
        }
        match frame.response {
            // One instance is done: the next one gets its full time, too.
            ostler_proto::control::Response::Progress(Progress::InstanceDone { .. }) => extend(notify, patience),
            ostler_proto::control::Response::Progress(_) => {}
            ostler_proto::control::Response::Failed(failure) => return Err(failure.into()),
            _ => break,
        }
    }
    client.peer().map_or(Ok(()), |peer| wait_for_exit(peer.keeper_pid))
}

/// Requests this much time, plus a margin.
pub(super) fn extend(notify: &Notify, by: Duration) {
    notify.send(&format!("EXTEND_TIMEOUT_USEC={}", (by + MARGIN).as_micros()));
}

/// Returns the longest time that any app may take to stop.
fn patience(apps: &[Detail]) -> Duration {
    let longest = apps.iter().map(|app| ostler_core::lifecycle::stop::longest_ms(&app.spec)).max().unwrap_or(0);
    Duration::from_millis(longest).saturating_add(MARGIN)
}
