//! Launch of new apps from a script, a command line or a config file. Existing apps get the new
//! description.

use std::path::Path;
use std::sync::Arc;

use ostler_config::{Overlay, Problems, finish_order, from_options};
use ostler_core::app::select::{Selectable, select};
use ostler_core::app::{AppSpec, EnvMap, ExecMode};
use ostler_core::message;
use ostler_proto::control::{Action, Existing, Failure, Progress, Request, Response};
use serde_json::{Map, Value};

use super::change::{EnvChoice, change, unwatched, updated_spec};
use super::existing_apps::Present;
use super::files::{self, Source};
use super::request::{proof, request, unknown_id};
use super::{instance_limit, ports, write};
use crate::cli::Call;
use crate::client::ClientError;
use crate::cx::{self, Cx};
use crate::error::{CliError, CommandError};
use crate::render::{ProgressPrinter, Wording};
use crate::text::{shell_word, shown};

/// Starts the target of `runtime`. A target is never the name of an existing app here. Returns
/// false if no target is named and there is no default file.
pub(super) fn in_front(cx: &mut Cx, call: &Call) -> Result<bool, CliError> {
    let context = files::context(cx, call)?;
    let (target, source) = match call.target() {
        None => ("", Source::default(&context)?),
        Some(target) => (target, Source::of(target, &context)),
    };
    match source {
        Some(source) => {
            if selected(cx, call, &source, Existing::Restart)?.is_none() {
                return Err(CommandError::NothingToStart(message!("no app of {source} is selected", source = source.shown())).into());
            }
        }
        None if target.is_empty() => return Ok(false),
        None => {
            plain_spec(cx, call, target).and_then(|spec| launch(cx, call, spec, Existing::Restart))?;
        }
    }
    Ok(true)
}

/// Starts every app of a config file; existing apps get its description. A selection without apps
/// is a warning.
pub(super) fn from_file(cx: &mut Cx, call: &Call, source: &Source, existing: Existing) -> Result<Vec<u32>, CliError> {
    let ids = selected(cx, call, source, existing)?;
    if ids.is_none() && !cx.program.is_pm2() {
        cx.out.warn_err(message!("no app of {file} is selected; nothing was started", file = source.shown()));
    }
    Ok(ids.unwrap_or_default())
}

/// Starts the selected apps of a config file; `None` if no app is selected.
fn selected(cx: &mut Cx, call: &Call, source: &Source, existing: Existing) -> Result<Option<Vec<u32>>, CliError> {
    let mut context = files::context(cx, call)?;
    let loaded = files::read(cx, call, source, &mut context)?;
    let overlay = overlay(call, loaded.apps.len())?;
    let present = Present::from_file(cx, &loaded.apps, &overlay)?;
    let (mut apps, mut raw, mut notes, mut left_out, mut refused) = (Vec::new(), Vec::new(), Vec::new(), None, Vec::new());
    for app in &loaded.apps {
        refused.extend(present.name_fault(app, &overlay).map(|fault| app.mistake("name", fault)));
        match present.describe(app, &context, &overlay) {
            Ok(restart_listed) => {
                notes.extend(restart_listed.notes);
                apps.push(restart_listed.app);
                raw.push(app);
            }
            // As PM2 does: an app with a missing program does not keep the others from starting.
            Err(problems) if cx.program.is_pm2() && files::is_missing(&problems) => {
                left_out = Some(files::report(cx, Some(source), &problems))
            }
            Err(problems) if cx.program.is_pm2() => return Err(files::report(cx, Some(source), &problems)),
            Err(problems) => refused.extend(problems.0),
        }
    }
    // All apps are checked before any of them starts: one invalid app, and none is started.
    if !refused.is_empty() {
        return Err(files::report(cx, Some(source), &Problems(refused)));
    }
    files::check_profile(cx, overlay.profile.as_deref(), &apps, false)?;
    apps.iter().for_each(|app| files::print_cron(cx, &app.spec));
    files::warn_all(cx, overlay.profile.as_deref(), &apps);
    notes.iter().for_each(|note| cx.out.info(shown(note)));
    let mut apps: Vec<AppSpec> = apps.into_iter().map(|app| app.spec).collect();
    apps.iter().try_for_each(cx::check_working_directory)?;
    let mut together: Vec<_> = raw.into_iter().zip(&mut apps).collect();
    let problems = Problems(finish_order(&mut together));
    if !problems.0.is_empty() {
        return Err(files::report(cx, Some(source), &problems));
    }
    if apps.is_empty() {
        return left_out.map_or(Ok(None), Err);
    }
    apps.iter().try_for_each(|app| instance_limit::check(cx, call, &app.name, app.instances))?;
    write::config(cx, call, &apps)?;
    let base_env = share_base(&mut apps);
    let wording = if matches!(source, Source::Stdin) { Wording::Names } else { Wording::Action };
    let (command, confirm, as_pm2) = (call.word.clone(), proof(cx, call), cx.program.is_pm2());
    let request = Request::Start { apps, base_env: Arc::unwrap_or_clone(base_env), existing, command, confirm, named_only: as_pm2, as_pm2 };
    let ids = ports::perform(cx, &request, wording)?;
    left_out.map_or(Ok(Some(ids)), Err)
}

/// Returns the options of the command line as an overlay for the apps of a file. A name makes sense
/// only for a single app.
fn overlay(call: &Call, apps: usize) -> Result<Overlay, CliError> {
    let choice = EnvChoice::of(call)?;
    let mut attributes = call.attributes();
    let namespace = attributes.shift_remove("namespace").and_then(|value| value.as_str().map(str::to_owned));
    if apps != 1 {
        attributes.shift_remove("name");
    }
    Ok(Overlay { profile: choice.profile, vars: choice.vars, namespace, attributes })
}

/// Takes the caller's environment out of the descriptions, so that the request carries it once.
/// Only an app that filters it keeps its own.
pub(super) fn share_base(apps: &mut [AppSpec]) -> Arc<EnvMap> {
    // An empty environment means "travels once". If one app has an empty environment, the shared
    // one must be empty too.
    let shared = apps.iter().map(|app| &app.env.base).min_by_key(|base| (!base.is_empty()) as u8).cloned().unwrap_or_default();
    for app in apps.iter_mut().filter(|app| Arc::ptr_eq(&app.env.base, &shared) || app.env.base == shared) {
        app.env.base = Arc::default();
    }
    shared
}

/// Starts a script, a command line, or the name of an existing app.
pub(super) fn plain(cx: &mut Cx, call: &Call, target: &str) -> Result<Vec<u32>, CliError> {
    if may_be_name(target) && exists(cx, target)? {
        return restart_listed(cx, call, target);
    }
    if is_number(target) && !Path::new(target).exists() {
        if cx.program.is_pm2() {
            cx.client()?;
            return Err(unknown_id(cx, Action::Restart, target));
        }
        return Err(Failure::NotFound { target: target.to_owned() }.into());
    }
    let spec = plain_spec(cx, call, target)?;
    let present = Present::of(cx, std::slice::from_ref(&spec.name))?;
    if let Some(fault) = present.name_fault_of(&spec.name) {
        return Err(CommandError::ReservedName(fault).into());
    }
    match present.down(&spec) {
        // The settings from the app's file or from an earlier command are kept.
        Some(old) => {
            let spec = updated_spec(cx, call, old)?;
            launch(cx, call, spec, Existing::PlainScript { force: false })
        }
        None => launch(cx, call, spec, Existing::PlainScript { force: call.has("force") }),
    }
}

/// Starts the file server with these attributes and variables, unless the call overrides them.
#[cfg(feature = "serve")]
pub(super) fn file_server(cx: &mut Cx, call: &Call, mut attributes: Map<String, Value>, mut vars: EnvMap) -> Result<Vec<u32>, CliError> {
    let choice = EnvChoice::of(call)?;
    attributes.extend(call.attributes());
    vars.extend(choice.vars);
    let overlay = Overlay { profile: choice.profile, vars, ..Overlay::default() };
    let spec = described(cx, call, "serve", attributes, &overlay)?;
    launch(cx, call, spec, Existing::PlainScript { force: call.has("force") })
}

/// Describes a script or command line by the options of the call.
fn plain_spec(cx: &mut Cx, call: &Call, target: &str) -> Result<AppSpec, CliError> {
    let choice = EnvChoice::of(call)?;
    let overlay = Overlay { profile: choice.profile, vars: choice.vars, ..Overlay::default() };
    described(cx, call, target, call.attributes(), &overlay)
}

fn described(cx: &mut Cx, call: &Call, target: &str, mut attributes: Map<String, Value>, overlay: &Overlay) -> Result<AppSpec, CliError> {
    let context = files::context(cx, call)?;
    let args = call.app_args.as_deref().unwrap_or_default();
    if call.command.name == "runtime" {
        // As PM2: the output of a container is its log.
        for key in ["out_file", "error_file"] {
            attributes.entry(key).or_insert_with(|| "/dev/null".into());
        }
    }
    let app = from_options(target, &attributes, args, &context, overlay).map_err(|problems| files::report(cx, None, &problems))?;
    instance_limit::check(cx, call, &app.spec.name, app.spec.instances)?;
    files::print_cron(cx, &app.spec);
    files::warn(cx, &app.warnings);
    cx::check_working_directory(&app.spec)?;
    write::config(cx, call, std::slice::from_ref(&app.spec))?;
    Ok(app.spec)
}

/// Starts a new app, or a stopped app with the same script and name.
fn launch(cx: &mut Cx, call: &Call, spec: AppSpec, existing: Existing) -> Result<Vec<u32>, CliError> {
    let mode = if spec.mode == ExecMode::Fork { "fork_mode" } else { "cluster_mode" };
    let (script, name) = (spec.script.clone(), spec.name.clone());
    let mut apps = vec![spec];
    let base_env = share_base(&mut apps);
    let (command, confirm, as_pm2) = (call.word.clone(), proof(cx, call), cx.program.is_pm2());
    let request = Request::Start { apps, base_env: Arc::unwrap_or_clone(base_env), existing, command, confirm, named_only: false, as_pm2 };
    if !as_pm2 {
        return match cx.perform(&request, Wording::PlainStart) {
            Err(CliError::Daemon(Failure::AlreadyLaunched)) => {
                let error = CommandError::AlreadyRuns { app: shown(&name), word: shell_word(&name), program: cx.program.name() };
                Err(if cx.done.is_empty() { CliError::unchanged(error) } else { error.into() })
            }
            result => result,
        };
    }
    let (out, client) = cx.parts()?;
    out.flush();
    let mut printer = ProgressPrinter::new(out, Wording::PlainStart);
    let mut is_new = false;
    let answer = client.request(&request, &mut |progress| {
        if let Progress::Launched { ids, .. } = &progress {
            is_new = true;
            let plural = if ids.len() == 1 { "" } else { "s" };
            printer.info(format_args!("Starting {script} in {mode} ({} instance{plural})", ids.len()));
        }
        printer.print(progress);
    })?;
    let Response::Done { ids } = answer else { return Err(ClientError::Unexpected.into()) };
    cx.out.info(if is_new { "Done." } else { "Process successfully started" });
    Ok(ids)
}

/// Restarts the existing apps with this name, namespace or id.
fn restart_listed(cx: &mut Cx, call: &Call, target: &str) -> Result<Vec<u32>, CliError> {
    let targets = vec![target.to_owned()];
    let mut change = change(cx, call, &targets)?;
    // As PM2 does: `start` of an existing app turns its watching off, except `start all`.
    if cx.program.is_pm2() && target != "all" && !call.attributes().contains_key("watch") {
        change.get_or_insert_default().attributes.extend(unwatched());
    }
    let request = request(cx, Action::Restart, call, targets, change)?;
    let ids = ports::perform(cx, &request, Wording::Action)?;
    if cx.program.is_pm2() {
        cx.out.info("Process successfully started");
    }
    Ok(ids)
}

/// Returns true if the word is no path and has no extension.
fn may_be_name(target: &str) -> bool {
    let has_extension = Path::new(target).extension().is_some();
    is_number(target) || !(target.contains('/') || has_extension || target.contains(char::is_whitespace))
}

fn is_number(target: &str) -> bool {
    !target.is_empty() && target.bytes().all(|b| b.is_ascii_digit())
}

/// Returns true if a running daemon knows the target. Without a daemon nothing exists, and none is
/// started just for this check.
fn exists(cx: &mut Cx, target: &str) -> Result<bool, CliError> {
    let cwd = cx::cwd()?;
    let rows = match cx.running_client()? {
        Some(client) => client.list()?,
        None => return Ok(false),
    };
    let entries: Vec<Selectable<'_>> = rows
        .iter()
        .map(|row| Selectable { id: row.id, name: &row.name, namespace: &row.namespace, script: &row.script, is_module: row.module })
        .collect();
    Ok(select(target, &entries, &cwd).is_ok_and(|ids| !ids.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_may_be_app_names() {
        for (target, expected) in [
            ("api", true),
            ("0", true),
            ("455", true),
            ("app.js", false),
            ("./api", false),
            ("npm run x", false),
            ("all", true),
            ("v1.2", false),
        ] {
            assert_eq!(may_be_name(target), expected, "{target}");
        }
    }

    #[test]
    fn shared_environment_is_sent_once() {
        let env = |text: &str| Arc::new(text.split_whitespace().map(|word| (word.to_owned(), "1".to_owned())).collect::<EnvMap>());
        let app = |base: &str| AppSpec { env: ostler_core::app::EnvSpec { base: env(base), ..Default::default() }, ..AppSpec::default() };
        for (bases, shared, kept) in
            [(vec!["A B", "A B"], "A B", vec!["", ""]), (vec!["A B", "A"], "A B", vec!["", "A"]), (vec!["A B", ""], "", vec!["A B", ""])]
        {
            let mut apps: Vec<AppSpec> = bases.into_iter().map(app).collect();
            assert_eq!(share_base(&mut apps), env(shared));
            assert_eq!(apps.iter().map(|app| app.env.base.clone()).collect::<Vec<_>>(), kept.into_iter().map(env).collect::<Vec<_>>());
        }
    }
}
