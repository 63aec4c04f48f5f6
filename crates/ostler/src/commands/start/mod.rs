//! `start`: scripts, commands, config files, and apps that exist already; `serve`, which starts a
//! server of files.

#[cfg(feature = "serve")]
mod serve;

use std::collections::BTreeMap;

use ostler_core::app::sandbox::kernel::FULL_ABI;
use ostler_core::{marked, message};
use ostler_proto::control::Existing;
use ostler_sys::confine::denial::is_available;
use ostler_sys::confine::landlock;

use super::files::{self, Source};
use super::request::reload_of;
use super::{attach, launch, table};
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, CommandError, Status};
use crate::text::shown;

#[cfg(feature = "serve")]
pub(crate) use serve::run as serve;

/// PM2's options that build and run images.
const IMAGES: &[&str] = &["container", "dist", "dockerdaemon"];

/// Starts each target in turn; without a target, the config file of this folder.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    if let Some(option) = IMAGES.iter().find(|option| call.has(option)) {
        let instead = marked!("`ostler runtime <app or file>` is the command of a container, see `ostler help runtime`");
        return Err(CommandError::NoImages { option, program: cx.program.name(), instead }.into());
    }
    let context = files::context(cx, call)?;
    let mut touched = Vec::new();
    if call.targets.is_empty() {
        let source = Source::required(cx, &context)?;
        touched.extend(launch::from_file(cx, call, &source, Existing::Restart)?);
    }
    for target in &call.targets {
        touched.extend(match Source::of(target, &context) {
            Some(source) => launch::from_file(cx, call, &source, Existing::Restart)?,
            None => launch::plain(cx, call, target)?,
        });
        cx.done.push(target.clone());
    }
    table::after_change(cx, call)?;
    warn_of_missing_restrictions(cx, &touched)?;
    attach::logs(cx, call, &touched)
}

/// Reports restrictions of sandboxes that this machine cannot apply. Apps that require them have not
/// started.
fn warn_of_missing_restrictions(cx: &mut Cx, ids: &[u32]) -> Result<(), CliError> {
    let is_full = landlock::abi().is_ok_and(|abi| abi >= FULL_ABI) && is_available().is_ok();
    if is_full || cx.program.is_pm2() || ids.is_empty() {
        return Ok(());
    }
    let mut apps = BTreeMap::new();
    for detail in cx.find(&ids.iter().map(u32::to_string).collect::<Vec<_>>())? {
        if let Some(report) = detail.learned.sandbox.filter(|report| !report.missing.is_empty()) {
            apps.insert(detail.spec.name, report);
        }
    }
    for (name, report) in apps {
        for missing in report.missing() {
            cx.out.warn(message!("{app} runs with a part of its sandbox: {missing}", app = shown(&name), missing));
        }
    }
    Ok(())
}

/// Runs `startOrRestart <file>`.
pub(crate) fn or_restart(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    only_files(cx, call, &Existing::Restart)
}

/// Runs `startOrReload <file>`.
pub(crate) fn or_reload(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    only_files(cx, call, &reload_of(call)?)
}

fn only_files(cx: &mut Cx, call: &Call, existing: &Existing) -> Result<Status, CliError> {
    let context = files::context(cx, call)?;
    for target in &call.targets {
        let source = Source::of(target, &context).unwrap_or_else(|| Source::File(context.cwd.join(target), target.clone()));
        launch::from_file(cx, call, &source, existing.clone())?;
        cx.done.push(target.clone());
    }
    table::after_change(cx, call)?;
    Ok(Status::Ok)
}
