//! Requests that act on instances, built from the options that all such commands share.

use ostler_core::environment::START_WATCH;
use ostler_core::message;
use ostler_proto::control::{Action, Change, Confirm, Existing, Request};

use crate::cli::Call;
use crate::cx::{self, Cx};
use crate::error::{CliError, Status, UsageError};

/// Default time for which a canary is watched.
const CANARY_MS: u64 = 10_000;

/// Longest wait of `start` for a runtime to run the script.
const RUNS_WITHIN_MS: u64 = 1000;

/// Commands whose new processes have to prove that they stay up.
const STARTS: &[&str] = &["start", "restart", "reload", "startOrRestart", "startOrReload", "scale"];

/// Returns the proof of a start that this command waits for.
///
/// Called as `pm2`, only `start` waits. It waits until the runtime runs the script, so that signals
/// may be sent afterwards. If the script then fails, the command does not fail.
pub(super) fn proof(cx: &Cx, call: &Call) -> Option<Confirm> {
    let command = call.command.name;
    if !STARTS.contains(&command) {
        return None;
    }
    if call.has("no-wait") {
        return Some(Confirm { within_ms: 0, early_exit_fails: false, watches: false, detached: true });
    }
    let is_pm2 = cx.program.is_pm2();
    let watches = !is_pm2 && START_WATCH.switch(|name| std::env::var(name).ok()).unwrap_or(true);
    let confirm = Confirm { within_ms: RUNS_WITHIN_MS, early_exit_fails: !is_pm2, watches, detached: false };
    (watches || command == "start").then_some(confirm)
}

/// Returns the request for an action.
pub(super) fn request(cx: &Cx, action: Action, call: &Call, targets: Vec<String>, change: Option<Change>) -> Result<Request, CliError> {
    Ok(Request::Act {
        action,
        targets,
        cwd: cx::cwd()?,
        change: change.map(Box::new),
        parallel: parallel(call)?,
        // PM2 accepts `stop --wait-ready` and ignores it. A user who types it wants requests in
        // flight to finish.
        gentle: call.has("drain") || (matches!(action, Action::Stop | Action::Delete) && call.has("wait-ready")),
        canary_ms: canary(call)?,
        command: call.word.clone(),
        named_only: cx.program.is_pm2(),
        confirm: if matches!(action, Action::Restart | Action::Reload) { proof(cx, call) } else { None },
        namespace: namespace(cx, call),
        // PM2 stops one target after the other. A project does not exist in PM2.
        together: matches!(action, Action::Stop | Action::Delete) && (!cx.program.is_pm2() || matches!(call.command.name, "up" | "down")),
    })
}

/// Returns the namespace to which the targets are limited. PM2 changes the namespace of a restarted
/// app instead ([`super::change`]).
pub(super) fn namespace(cx: &Cx, call: &Call) -> Option<String> {
    if cx.program.is_pm2() { None } else { call.value("namespace").map(str::to_owned) }
}

/// Returns the options of a reload by a config file.
pub(super) fn reload_of(call: &Call) -> Result<Existing, UsageError> {
    Ok(Existing::Reload { parallel: parallel(call)?, canary_ms: canary(call)? })
}

/// Returns the time of `--canary [time]`.
fn canary(call: &Call) -> Result<Option<u64>, UsageError> {
    match call.value("canary") {
        None => Ok(call.has("canary").then_some(CANARY_MS)),
        Some(text) => ostler_core::text::units::millis(text)
            .map(Some)
            .map_err(|error| UsageError::BadValue { option: "--canary".into(), reason: error.to_string() }),
    }
}

/// Returns the number of `--parallel`, else of `PM2_CONCURRENT_ACTIONS`. Without a number the
/// daemon decides.
fn parallel(call: &Call) -> Result<u32, UsageError> {
    let Some(text) = call.value("parallel") else {
        let variable = std::env::var("PM2_CONCURRENT_ACTIONS").ok();
        return Ok(variable.and_then(|text| text.trim().parse().ok()).unwrap_or(0));
    };
    text.parse().map_err(|_| UsageError::BadValue {
        option: "--parallel".into(),
        reason: message!("expected a number, found {found}", found = format!("{text:?}")),
    })
}

/// Returns PM2's error for an id that does not exist. Its words depend on the action, and scripts
/// search for them.
pub(super) fn unknown_id(cx: &mut Cx, action: Action, target: &str) -> CliError {
    let (name, words) = match action {
        Action::Restart => ("restartProcessId", "God db process id unknown".to_owned()),
        Action::Reload => ("reloadProcessId", "PM2 ID unknown".to_owned()),
        Action::Stop => ("stopProcessId", format!("{target} : id unknown")),
        Action::Delete | Action::Reset => ("deleteProcessId", format!("{target} : id unknown")),
    };
    cx.out.info(format_args!("Applying action {name} on app [{target}](ids: [ '{target}' ])"));
    cx.out.error(words);
    CliError::Reported(Status::NotFound)
}
