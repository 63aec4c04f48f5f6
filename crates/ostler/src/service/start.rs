//! Start of a service: keeper, daemon and the saved apps.

use std::path::Path;
use std::time::Duration;

use ostler_core::message;
use ostler_core::text::causes::with_causes;
use ostler_proto::control::{Failure, Request};

use super::credentials;
use super::job::Unit;
use super::takeover;
use super::watch::{self, Health};
use crate::client::ClientError;
use crate::cx::Cx;
use crate::error::CliError;
use crate::modules::start_all;
use crate::render::Wording;

/// Treatment of a daemon that is already running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakeoverMode {
    /// The daemon is replaced by this program: the service was started or restarted.
    Replace,
    /// The daemon stays: only the main process is new.
    Keep,
}

/// Time within which a daemon must answer; otherwise it counts as hung.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of times that a hung daemon is replaced.
const TRIES: u32 = 3;

/// Makes sure that a daemon runs with its apps. Returns a line about them for users.
///
/// # Errors
/// Returns an error if no daemon can be reached, or if the saved list exists but cannot be read.
pub(super) fn start_service(cx: &mut Cx, mode: TakeoverMode, unit: Option<&Unit>) -> Result<String, CliError> {
    let home = cx.home()?.to_owned();
    cx.disconnect();
    wake(cx, &home)?;
    // If the home does not exist yet, it has no daemon that needs the credentials.
    if home.exists()
        && let Err(error) = credentials::announce(&home)
    {
        cx.out.warn(message!("the credentials of this service cannot be announced in {home}: {error}", home = home.display(), error));
    }
    if mode == TakeoverMode::Replace && cx.running_client()?.is_some() {
        // The daemon may come from another login or version; its apps keep running. It is moved
        // into the unit before it is replaced, so that the new daemon is in the right place.
        if unit.is_some_and(|unit| !takeover::take_into(unit, &home)) {
            cx.out.warn(message!("the running daemon stays part of the login that started it"));
        }
        if takeover::sees_other_files(&home) {
            cx.out.warn(message!(
                "this service has a file system view of its own (PrivateTmp=, ProtectSystem= or the like), and running processes keep the \
                 previous one, with its files and credentials: stop and start the service to change that"
            ));
        }
        match cx.replace_daemon() {
            Ok(Some(version)) => cx.out.info(message!("took over the running apps, daemon version {version}", version)),
            Ok(None) => {}
            // The old daemon still runs, and that is sufficient.
            Err(error) => cx.out.warn(message!("the running daemon was not replaced: {error}", error = with_causes(&error))),
        }
    }
    cx.disconnect();
    // Modules are started after the apps.
    cx.on_launch = None;
    // After the first start, an empty list is what the user wants.
    if mode == TakeoverMode::Replace && cx.client()?.list()?.iter().all(|row| row.module) {
        resurrect(cx)?;
        start_all(cx)?;
    }
    let rows = cx.client()?.list()?;
    let online = rows.iter().filter(|row| row.status == "online").count();
    cx.out.flush();
    Ok(match rows.len() {
        0 => message!("no apps: nothing was saved"),
        all => message!("{online} of {total} instances online when it became ready", online, total = all),
    })
}

fn resurrect(cx: &mut Cx) -> Result<(), CliError> {
    match cx.perform(&Request::Resurrect, Wording::Resurrect) {
        Ok(_) => Ok(()),
        Err(CliError::Daemon(Failure::NothingSaved)) => {
            let name = cx.program.name();
            cx.out.warn(message!("nothing was saved, so nothing is started: `{name} save` saves the list of apps", name));
            Ok(())
        }
        // The other apps run, and the failed ones are retried by their own rules.
        Err(CliError::Daemon(failure @ Failure::Some { .. })) => {
            cx.out.error(failure);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Recovers from a hung daemon or keeper: the hung process is killed, and the other one starts it
/// again.
fn wake(cx: &mut Cx, home: &Path) -> Result<(), CliError> {
    for _ in 0..TRIES {
        if !replace_hung(cx, home, watch::ask(home, RESPONSE_TIMEOUT)?) {
            return Ok(());
        }
    }
    Err(ClientError::Interrupted.into())
}

/// Kills the hung process. Returns true if one of the two was hung.
pub(super) fn replace_hung(cx: &mut Cx, home: &Path, health: Health) -> bool {
    let (process, killed) = match health {
        Health::Alive | Health::Gone => return false,
        Health::DaemonHangs => (message!("the daemon"), watch::kill_daemon(home)),
        Health::KeeperHangs => (message!("the keeper"), watch::kill_keeper(home)),
    };
    cx.out.error(if killed {
        message!("{process} does not respond: it was killed and is restarting; apps keep running", process)
    } else {
        message!("{process} does not respond: its process was not found", process)
    });
    cx.out.flush();
    true
}
