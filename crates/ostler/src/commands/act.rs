//! Actions on existing instances: `stop`, `restart`, `reload`, `delete`.

use ostler_config::{Context, Overlay};
use ostler_core::app::select::{SelectError, select};
use ostler_core::message;
use ostler_proto::control::{Action, Existing, Failure};

use super::change::{change, stop_change};
use super::existing_apps::Present;
use super::files::{self, Source};
use super::request::{reload_of, request, unknown_id};
use super::{attach, launch, ports, table};
use crate::cli::Call;
use crate::cx::{self, Cx};
use crate::error::{CliError, Status};
use crate::left_behind;
use crate::render::{Wording, styles};

/// Runs `stop`: stops instances and keeps them in the list.
pub(crate) fn stop(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    each(cx, call, Action::Stop)
}

/// Runs `restart`: stops and starts.
pub(crate) fn restart(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    each(cx, call, Action::Restart)
}

/// Runs `reload`: replaces instances one after the other.
pub(crate) fn reload(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    each(cx, call, Action::Reload)
}

/// Runs `delete`: stops instances and removes them from the list.
pub(crate) fn delete(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    each(cx, call, Action::Delete)
}

/// Acts on one target after the other; ostler stops all targets together, though. The first failure
/// stops the loop; completed actions are not undone.
fn each(cx: &mut Cx, call: &Call, action: Action) -> Result<Status, CliError> {
    let mut touched = Vec::new();
    let context = files::context(cx, call)?;
    if cx.program.is_pm2() || !matches!(action, Action::Stop | Action::Delete) {
        for target in &call.targets {
            touched.extend(match Source::of(target, &context) {
                Some(source) => on_file(cx, call, action, &source)?,
                None => on_target(cx, call, action, target)?,
            });
            cx.done.push(target.clone());
        }
    } else {
        touched = down(cx, call, action, &context)?;
    }
    // PM2 prints no table after a reload.
    if action != Action::Reload || call.has("json") {
        table::after_change(cx, call)?;
    }
    attach::logs(cx, call, &touched)
}

/// Stops or deletes all targets at once, level by level of their dependencies.
fn down(cx: &mut Cx, call: &Call, action: Action, context: &Context) -> Result<Vec<u32>, CliError> {
    let (mut targets, mut wording) = (Vec::new(), Wording::Names);
    for target in &call.targets {
        match Source::of(target, context) {
            Some(source) => targets.extend(running_of(cx, call, &source)?),
            None => {
                wording = Wording::Action;
                targets.push(target.clone());
            }
        }
    }
    let Some(first) = targets.first() else { return Ok(Vec::new()) };
    expect_apps(cx, first)?;
    cx.client()?;
    let change = if action == Action::Stop { stop_change(cx, call) } else { None };
    let result = cx.perform(&request(cx, action, call, targets.clone(), change)?, wording);
    if let Err(CliError::Daemon(Failure::NotFound { target: missing })) = &result {
        cx.done.extend(targets.into_iter().take_while(|target| target != missing));
    }
    result
}

/// Returns the targets for those apps of a config file that are in the list.
fn running_of(cx: &mut Cx, call: &Call, source: &Source) -> Result<Vec<String>, CliError> {
    let mut context = files::context(cx, call)?;
    let apps = files::read(cx, call, source, &mut context)?.apps;
    cx.client()?;
    Ok(Present::from_file(cx, &apps, &Overlay::default())?.targets(&apps))
}

/// Returns an error if no daemon runs and no former daemon left apps behind. The target then selects
/// nothing, and a daemon would be started in vain. PM2 starts one.
fn expect_apps(cx: &mut Cx, target: &str) -> Result<(), CliError> {
    let home = cx.home()?.to_owned();
    if cx.program.is_pm2() || cx.running_client()?.is_some() || left_behind::of(&home).is_some() {
        return Ok(());
    }
    cx.refuse_beside_pm2(&home, &message!("start a daemon"))?;
    match select(target, &[], &cx::cwd()?) {
        Err(SelectError::Empty) => Err(Failure::Empty.into()),
        Err(error @ SelectError::BadRegex { .. }) => Err(CliError::Target(error)),
        Ok(_) | Err(SelectError::NotFound(_)) => Err(Failure::NotFound { target: target.to_owned() }.into()),
    }
}

fn on_target(cx: &mut Cx, call: &Call, action: Action, target: &str) -> Result<Vec<u32>, CliError> {
    expect_apps(cx, target)?;
    cx.client()?;
    let starts_again = matches!(action, Action::Restart | Action::Reload);
    if cx.program.is_pm2() && starts_again && !call.has("update-env") {
        let hint = "Use --update-env to update environment variables";
        cx.out.line(cx.out.paint().with(styles::BOLD_BLUE, hint));
    }
    let targets = vec![target.to_owned()];
    let change = match action {
        Action::Restart | Action::Reload => change(cx, call, &targets)?,
        Action::Stop => stop_change(cx, call),
        Action::Delete | Action::Reset => None,
    };
    let request = request(cx, action, call, targets, change)?;
    let result = ports::perform(cx, &request, Wording::Action);
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

/// Acts on the apps of a config file. `restart` and `reload` apply the file's description; the
/// other actions use only the names.
fn on_file(cx: &mut Cx, call: &Call, action: Action, source: &Source) -> Result<Vec<u32>, CliError> {
    match action {
        Action::Restart => launch::from_file(cx, call, source, Existing::Restart),
        Action::Reload => launch::from_file(cx, call, source, reload_of(call)?),
        Action::Stop | Action::Delete | Action::Reset => {
            let running = running_of(cx, call, source)?;
            if running.is_empty() {
                return Ok(Vec::new());
            }
            let change = if action == Action::Stop { stop_change(cx, call) } else { None };
            cx.perform(&request(cx, action, call, running, change)?, Wording::Names)
        }
    }
}
