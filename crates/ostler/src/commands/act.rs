//! Actions on existing instances: `stop`, `restart`, `reload`, `delete`.

use ostler_proto::control::{Action, Change, Existing, Failure, Request, Response};

use super::change::{change, without_watch};
use super::files::{self, Source};
use super::{attach, list, start};
use crate::cli::{Call, CliError, Status, UsageError};
use crate::client::ClientError;
use crate::cx::{self, Cx};
use crate::render::{Teller, Wording, styles};

/// How long a canary is watched when no time is given.
const CANARY_MS: u64 = 10_000;

/// Stop, but keep in the list.
pub(crate) fn stop(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    each(cx, call, Action::Stop)
}

/// Stop and start.
pub(crate) fn restart(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    each(cx, call, Action::Restart)
}

/// Replace instances one after the other.
pub(crate) fn reload(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    each(cx, call, Action::Reload)
}

/// Stop and forget.
pub(crate) fn delete(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    each(cx, call, Action::Delete)
}

/// One target after the other; the first failure ends it, what was done stays done.
fn each(cx: &mut Cx, call: &Call, action: Action) -> Result<Status, CliError> {
    let mut touched = Vec::new();
    let context = files::context(cx, call)?;
    for target in &call.targets {
        touched.extend(match Source::of(target, &context) {
            Some(source) => on_file(cx, call, action, &source)?,
            None => on_target(cx, call, action, target)?,
        });
    }
    // PM2 prints no table after a reload.
    if action != Action::Reload || call.has("json") {
        list::show(cx, call)?;
    }
    attach::logs(cx, call, &touched)
}

fn on_target(cx: &mut Cx, call: &Call, action: Action, target: &str) -> Result<Vec<u32>, CliError> {
    cx.client()?;
    let starts_again = matches!(action, Action::Restart | Action::Reload);
    if starts_again && !call.has("update-env") {
        let hint = "Use --update-env to update environment variables";
        cx.out.line(cx.out.paint().with(styles::BOLD_BLUE, hint));
    }
    let targets = vec![target.to_owned()];
    let change = match action {
        Action::Restart | Action::Reload => change(cx, call, &targets)?,
        Action::Stop if call.has("watch") => Some(without_watch(cx, call, &targets)?),
        Action::Stop | Action::Delete | Action::Reset => None,
    };
    let result = perform(cx, &request(action, call, targets, change)?, Wording::Action);
    match result {
        Err(CliError::Daemon(Failure::NotFound { ref target })) if cx.program.is_pm2() && is_id(target) => {
            Err(unknown_id(cx, action, target))
        }
        result => result,
    }
}

fn is_id(target: &str) -> bool {
    !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_digit())
}

/// As PM2 says that there is no such id, which depends on what was to be done: scripts look for these words.
pub(super) fn unknown_id(cx: &mut Cx, action: Action, target: &str) -> CliError {
    let (name, words) = match action {
        Action::Restart => ("restartProcessId", "God db process id unknown".to_owned()),
        Action::Reload => ("reloadProcessId", "PM2 ID unknown".to_owned()),
        Action::Stop => ("stopProcessId", format!("{target} : id unknown")),
        Action::Delete | Action::Reset => ("deleteProcessId", format!("{target} : id unknown")),
    };
    cx.out.info(format_args!("Applying action {name} on app [{target}](ids: [ '{target}' ])"));
    cx.out.error(words);
    CliError::Told(Status::NotFound)
}

/// The apps of a config file: `restart` and `reload` bring the file's description, the others act by name.
fn on_file(cx: &mut Cx, call: &Call, action: Action, source: &Source) -> Result<Vec<u32>, CliError> {
    match action {
        Action::Restart => start::from_file(cx, call, source, Existing::Restart),
        Action::Reload => start::from_file(cx, call, source, reload_of(call)?),
        Action::Stop | Action::Delete | Action::Reset => {
            let names = files::names(cx, call, source)?;
            let rows = cx.client()?.list()?;
            let running: Vec<String> = names.into_iter().filter(|name| rows.iter().any(|row| row.name == *name)).collect();
            if running.is_empty() {
                return Ok(Vec::new());
            }
            let change = if action == Action::Stop && call.has("watch") { Some(without_watch(cx, call, &running)?) } else { None };
            perform(cx, &request(action, call, running, change)?, Wording::Names)
        }
    }
}

/// The request for an action.
pub(super) fn request(action: Action, call: &Call, targets: Vec<String>, change: Option<Change>) -> Result<Request, CliError> {
    Ok(Request::Act {
        action,
        targets,
        cwd: cx::cwd()?,
        change: change.map(Box::new),
        parallel: parallel(call)?,
        // PM2 takes `stop --wait-ready` and does nothing about it; who types it means that requests under way are to be finished.
        gentle: call.has("drain") || (matches!(action, Action::Stop | Action::Delete) && call.has("wait-ready")),
        canary_ms: canary(call)?,
        command: call.word.clone(),
    })
}

/// A reload by a config file.
pub(super) fn reload_of(call: &Call) -> Result<Existing, UsageError> {
    Ok(Existing::Reload { parallel: parallel(call)?, canary_ms: canary(call)? })
}

/// `--canary [time]`.
fn canary(call: &Call) -> Result<Option<u64>, UsageError> {
    match call.value("canary") {
        None => Ok(call.has("canary").then_some(CANARY_MS)),
        Some(text) => ostler_core::units::millis(text)
            .map(Some)
            .map_err(|error| UsageError::BadValue { option: "--canary".into(), reason: error.to_string() }),
    }
}

/// `--parallel`, else `PM2_CONCURRENT_ACTIONS`; without a number the daemon decides.
fn parallel(call: &Call) -> Result<u32, UsageError> {
    let Some(text) = call.value("parallel") else {
        let variable = std::env::var("PM2_CONCURRENT_ACTIONS").ok();
        return Ok(variable.and_then(|text| text.trim().parse().ok()).unwrap_or(0));
    };
    text.parse().map_err(|_| UsageError::BadValue { option: "--parallel".into(), reason: format!("expected a number, found {text:?}") })
}

/// Sends a request that changes something, tells its progress, and gives the ids that were touched.
pub(crate) fn perform(cx: &mut Cx, request: &Request, wording: Wording) -> Result<Vec<u32>, CliError> {
    let (out, client) = cx.parts()?;
    out.flush();
    let mut teller = Teller::new(out, wording);
    match client.request(request, &mut |progress| teller.tell(progress))? {
        Response::Done { ids } => Ok(ids),
        _ => Err(ClientError::Unexpected.into()),
    }
}
