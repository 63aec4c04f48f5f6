//! Changes by `restart <name> <options>`: options, arguments, environment, and the profile of the
//! remembered config file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use ostler_config::{Context, EnvOption, Normalized, Overlay, Problem, ProblemKind, load, merge, normalize_update};
use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::message;
use ostler_core::watch::WatchSpec;
use ostler_proto::control::{Change, Detail};
use serde_json::{Map, Value};

use super::{files, request};
use crate::cli::Call;
use crate::cx::{self, Cx};
use crate::error::{CliError, CommandError, UsageError};
use crate::preflight::name_fault;
use crate::text::shown;

/// `--env`: a profile, or variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EnvChoice {
    /// `--env production`.
    pub profile: Option<String>,
    /// `--env A=1,B=2`.
    pub vars: EnvMap,
}

impl EnvChoice {
    /// Returns the choice from every `--env` of the call.
    pub(super) fn of(call: &Call) -> Result<Self, UsageError> {
        let mut choice = Self::default();
        for text in call.values("env") {
            match EnvOption::parse(text) {
                EnvOption::Profile(name) => choice.profile = Some(name),
                EnvOption::Vars(vars) if vars.is_empty() => {
                    let reason =
                        message!("expected NAME=VALUE,NAME=VALUE or the name of a profile, found {found}", found = format!("{text:?}"));
                    return Err(UsageError::BadValue { option: "--env".into(), reason });
                }
                EnvOption::Vars(vars) => choice.vars.extend(vars),
            }
        }
        Ok(choice)
    }
}

/// Returns the change that comes with a restart or reload of these targets, or none if nothing
/// changes.
pub(super) fn change(cx: &mut Cx, call: &Call, targets: &[String]) -> Result<Option<Change>, CliError> {
    let choice = EnvChoice::of(call)?;
    let mut attributes = call.attributes();
    let namespace = request::namespace(cx, call);
    if namespace.is_some() {
        attributes.shift_remove("namespace");
    }
    let mut change = Change { env: call.has("update-env").then(|| cx.env()), vars: choice.vars, ..Change::default() };
    // A description is found by its name, so it cannot carry a new name.
    if let Some(name) = attributes.shift_remove("name") {
        if let Some(fault) = name.as_str().and_then(name_fault).filter(|_| !cx.program.is_pm2()) {
            return Err(CommandError::ReservedName(fault).into());
        }
        change.attributes.insert("name".into(), name);
    }
    if choice.profile.is_some() || !attributes.is_empty() || call.app_args.is_some() {
        let mut details = cx.client()?.inspect_in(targets, cx::cwd()?)?;
        details.retain(|detail| namespace.as_ref().is_none_or(|namespace| *namespace == detail.spec.namespace));
        let context = files::context(cx, call)?;
        // `restart --watch` is a switch, as in PM2; `start --watch` is not.
        let toggles_watch = call.command.name != "start" && attributes.get("watch") == Some(&Value::Bool(true));
        let wanted =
            RequestedChange { profile: choice.profile.as_deref(), attributes: &attributes, args: call.app_args.as_deref(), toggles_watch };
        (change.specs, change.spec_of) = describe_changed(cx, &details, &wanted, &context)?;
        change.profile = choice.profile;
    }
    Ok(Some(change).filter(|change| *change != Change::default()))
}

/// Requested differences.
struct RequestedChange<'a> {
    profile: Option<&'a str>,
    attributes: &'a Map<String, Value>,
    args: Option<&'a [String]>,
    toggles_watch: bool,
}

/// Returns the attributes of apps that are not watched from now on, nor after a later start.
pub(super) fn unwatched() -> Map<String, Value> {
    Map::from_iter([("watch".to_owned(), Value::Bool(false))])
}

/// Returns the change of `stop --watch`, and of each `stop` as `pm2`.
pub(super) fn stop_change(cx: &Cx, call: &Call) -> Option<Change> {
    (cx.program.is_pm2() || call.has("watch")).then(|| Change { attributes: unwatched(), ..Change::default() })
}

/// Returns new descriptions of the apps: from their config file if the user chose a profile, with
/// the options on top.
fn describe_changed(
    cx: &mut Cx,
    details: &[Detail],
    wanted: &RequestedChange<'_>,
    context: &Context,
) -> Result<(Vec<AppSpec>, BTreeMap<u32, usize>), CliError> {
    let (mut specs, spec_of) = descriptions(details);
    describe_each(cx, &mut specs, wanted, context)?;
    Ok((specs, spec_of))
}

/// Describes an app that a command starts again by its script: its old description, with the
/// options of the command on top.
pub(super) fn updated_spec(cx: &mut Cx, call: &Call, old: &AppSpec) -> Result<AppSpec, CliError> {
    let choice = EnvChoice::of(call)?;
    let mut attributes = call.attributes();
    attributes.shift_remove("name");
    let context = files::context(cx, call)?;
    let wanted = RequestedChange {
        profile: choice.profile.as_deref(),
        attributes: &attributes,
        args: call.app_args.as_deref(),
        toggles_watch: false,
    };
    let mut spec = [old.clone()];
    describe_each(cx, &mut spec, &wanted, &context)?;
    let [mut spec] = spec;
    spec.env.vars.extend(choice.vars);
    Ok(spec)
}

/// Writes a new description for each of these apps.
fn describe_each(cx: &mut Cx, specs: &mut [AppSpec], wanted: &RequestedChange<'_>, context: &Context) -> Result<(), CliError> {
    if let Some(profile) = wanted.profile {
        let apps = specs.iter().map(|spec| with_profile(cx, spec, profile, context)).collect::<Result<Vec<_>, _>>()?;
        files::check_profile(cx, wanted.profile, &apps, true)?;
        files::warn_all(cx, wanted.profile, &apps);
        specs.iter_mut().zip(apps).for_each(|(spec, app)| *spec = app.spec);
    }
    for spec in &mut *specs {
        if !wanted.attributes.is_empty() || wanted.args.is_some() {
            let mut attributes = wanted.attributes.clone();
            if wanted.toggles_watch {
                let toggled = WatchSpec { on: !spec.watch.on, ..(*spec.watch).clone() };
                attributes.insert("watch".into(), toggled.attribute());
                if !cx.program.is_pm2() {
                    // The option is a switch, which users do not expect.
                    let app = shown(&spec.name);
                    cx.out.info(match toggled.on {
                        true => message!("{app} is watched for changes from now on", app),
                        false => message!("{app} is not watched any more: `--watch` is a switch", app),
                    });
                }
            }
            let merged = merge(spec, &attributes, wanted.args, context).map_err(|problems| files::report(cx, None, &problems))?;
            files::warn(cx, &merged.warnings);
            *spec = merged.spec;
        }
        // The daemon keeps the caller's environment apart; only `--update-env` changes it.
        spec.env.base = Arc::default();
    }
    if let Some(spec) = specs.first().filter(|_| wanted.attributes.contains_key("cron_restart")) {
        files::print_cron(cx, spec);
    }
    Ok(())
}

/// Returns each distinct description of these instances once. The map gives the description of an
/// instance if several apps share its name.
fn descriptions(details: &[Detail]) -> (Vec<AppSpec>, BTreeMap<u32, usize>) {
    let mut specs: Vec<AppSpec> = Vec::new();
    let mut spec_of = BTreeMap::new();
    for detail in details {
        let index = specs.iter().position(|spec| *spec == detail.spec).unwrap_or_else(|| {
            specs.push(detail.spec.clone());
            specs.len() - 1
        });
        spec_of.insert(detail.id, index);
    }
    let names: BTreeSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    if names.len() == specs.len() {
        spec_of.clear();
    }
    (specs, spec_of)
}

/// Describes the app as its config file does now, under this profile. Without the file, the
/// remembered profile is used.
fn with_profile(cx: &mut Cx, old: &AppSpec, profile: &str, context: &Context) -> Result<Normalized, CliError> {
    if let Some(file) = old.config_file.as_ref().filter(|file| PathBuf::from(file).is_file()) {
        let mut context = context.clone();
        let loaded = load(&PathBuf::from(file), file, &context).map_err(|problems| files::report(cx, None, &problems))?;
        context.apply_env_changes(&loaded.env_changes);
        let overlay = Overlay { profile: Some(profile.to_owned()), ..Overlay::default() };
        for app in &loaded.apps {
            if ![app.name(), overlay.name_of(app)].contains(&old.name) {
                continue;
            }
            let again = normalize_update(app, &context, &overlay, old).map_err(|problems| files::report(cx, None, &problems))?;
            again.notes.iter().for_each(|note| cx.out.info(shown(note)));
            let found = again.app;
            // The name does not change, even if the profile is usually appended to it. The names of
            // the apps that it depends on do not change either.
            let order = if old.name == app.name() { found.spec.order } else { old.order.clone() };
            let spec = AppSpec { name: old.name.clone(), order, ..found.spec };
            return Ok(Normalized { spec, ..found });
        }
    }
    let mut spec = old.clone();
    if !old.env.profiles.contains_key(profile) {
        if !cx.program.is_pm2() {
            let message = message!("Environment [{profile}] is not defined for {app}", profile, app = old.name);
            return Ok(Normalized { spec, warnings: vec![Problem::warning(ProblemKind::UnknownProfile, message)] });
        }
        return Err(CommandError::NoProfile { profile: profile.to_owned(), app: old.name.clone() }.into());
    }
    spec.env.profile = Some(profile.to_owned());
    Ok(Normalized { spec, warnings: Vec::new() })
}
