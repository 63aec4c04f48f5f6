//! Later descriptions: a command with the config file of an existing app.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::message;
use serde_json::{Map, Value};

use super::{Normalized, Overlay, env, normalize};
use crate::check::RawApp;
use crate::context::Context;
use crate::keys;
use crate::problem::Problems;

/// New description of an existing app.
#[derive(Clone, Debug)]
pub struct UpdatedApp {
    /// The description.
    pub app: Normalized,
    /// Lines for the user: options of earlier commands that were kept or dropped.
    pub notes: Vec<String>,
}

/// Describes an existing app by its file.
///
/// The folder of the first start stays. A command from another folder therefore changes neither
/// `cwd` nor script nor logs. Options of earlier commands stay if the file does not set them. Under
/// the name `pm2`, variables of the file are merged over those of the app. Otherwise they replace
/// them, and the profile of the last start stays chosen.
///
/// # Errors
/// Same as [`normalize()`].
pub fn normalize_update(raw: &RawApp, context: &Context, overlay: &Overlay, old: &AppSpec) -> Result<UpdatedApp, Problems> {
    let (mut raw, mut notes) = (raw.clone(), Vec::new());
    let mut overlay = overlay_on(overlay, context);
    keep_options(&mut raw, &overlay, old, context, &mut notes);
    if !context.as_pm2 {
        keep_profile(&mut overlay, &raw, old, &mut notes);
    }
    let mut app = normalize(&raw, &in_place(context, &raw, old), &overlay)?;
    app.spec.env.base = env::inherited(&raw, &context.env, &app.spec.cwd, &app.spec.env.undefined);
    keep_files(&mut app.spec, old);
    if context.as_pm2 {
        // PM2 runs the code of the first start in the namespace of the file.
        if app.spec.namespace != old.namespace {
            (app.spec.cwd, app.spec.script, app.spec.folder) = (old.cwd.clone(), old.script.clone(), old.folder.clone());
        }
        keep_variables(&mut app.spec, old, &context.env);
        notes.clear();
    } else {
        note_lost_variables(&app.spec, old, &mut notes);
    }
    Ok(UpdatedApp { app, notes })
}

/// Returns the context of the first start: its folder, and the app's `PATH`, in which a program
/// without a path is searched.
fn in_place(context: &Context, raw: &RawApp, old: &AppSpec) -> Context {
    let mut here = context.clone();
    if is_of_same_folder(raw, old) {
        here.cwd = PathBuf::from(old.folder.as_deref().unwrap_or(&old.cwd));
    }
    if let Some(path) = old.env.base.get("PATH").filter(|path| context.env.get("PATH") != Some(path)) {
        Arc::make_mut(&mut here.env).insert("PATH".into(), path.clone());
    }
    here
}

/// Returns false if the file is in another folder than before: it is a new release, whose paths
/// count.
fn is_of_same_folder(raw: &RawApp, old: &AppSpec) -> bool {
    let folder = |file: &str| Path::new(file).parent().map(Path::to_owned);
    match (&raw.file, &old.config_file) {
        (Some(new), Some(old)) => folder(new) == folder(old),
        _ => true,
    }
}

/// Returns the options of this command. They are relative to the caller's folder; as in PM2,
/// `--cwd` is for new apps.
fn overlay_on(overlay: &Overlay, context: &Context) -> Overlay {
    let mut overlay = overlay.clone();
    match overlay.attributes.get_mut("cwd") {
        Some(_) if context.as_pm2 => _ = overlay.attributes.shift_remove("cwd"),
        Some(Value::String(cwd)) if !cwd.is_empty() => *cwd = context.in_cwd(cwd).to_string_lossy().into_owned(),
        _ => {}
    }
    overlay
}

/// Keeps options of earlier commands if the file neither has nor had the attribute.
fn keep_options(raw: &mut RawApp, overlay: &Overlay, old: &AppSpec, context: &Context, notes: &mut Vec<String>) {
    let given = old.given.open();
    // PM2 moves the app to the namespace of the file.
    let is_kept = |key: &str| key != "namespace" || !context.as_pm2 && overlay.namespace.is_none();
    let options = old.options.iter().filter(|(key, _)| is_kept(key) && !overlay.attributes.contains_key(*key));
    let (mut kept, mut dropped) = (Map::new(), Vec::new());
    for (key, was_in_file) in options {
        let Some(value) = given.get(key) else { continue };
        match raw.attributes.get(key) {
            // Only the file decides whether an app is a job.
            None if !was_in_file && key != "job" => _ = kept.insert(key.clone(), value.clone()),
            Some(now) if now == value => {}
            _ => dropped.push(option_of(key)),
        }
    }
    if !dropped.is_empty() {
        notes.push(message!(
            "{app}: the file resets these options of an earlier command: {options}",
            app = old.name,
            options = dropped.join(", ")
        ));
    }
    raw.replace_by_options(kept);
}

/// Returns the option as a user types it, or else the attribute.
fn option_of(key: &str) -> String {
    let option = keys::find(key).and_then(|key| key.options.iter().find(|option| option.starts_with("--")));
    option.map_or_else(|| key.to_owned(), |option| (*option).to_owned())
}

/// Chooses the profile of the last start if the command chooses none.
fn keep_profile(overlay: &mut Overlay, raw: &RawApp, old: &AppSpec, notes: &mut Vec<String>) {
    let Some(profile) = old.env.profile.as_ref().filter(|_| overlay.profile.is_none()) else { return };
    if raw.profiles.contains_key(profile) {
        notes.push(message!("{app}: profile {profile} of the last start is kept; --env NAME chooses another", app = old.name, profile));
        overlay.profile = Some(profile.clone());
    } else {
        notes.push(message!("{app}: the file no longer has profile {profile}, which the last start used", app = old.name, profile));
    }
}

/// Keeps the output files that neither the former description nor this one names. They come from
/// variables of the first caller, or from an earlier name of the app.
fn keep_files(spec: &mut AppSpec, old: &AppSpec) {
    let (now, before) = (spec.given.open().into_owned(), old.given.open());
    let is_open = |key: &str| !now.contains_key(key) && !before.contains_key(key);
    if is_open("out_file") {
        spec.logs.out_file.clone_from(&old.logs.out_file);
    }
    if is_open("error_file") {
        spec.logs.error_file.clone_from(&old.logs.error_file);
    }
    if is_open("log_file") {
        spec.logs.log_file.clone_from(&old.logs.log_file);
    }
    if is_open("pid_file") {
        spec.pid_file.clone_from(&old.pid_file);
    }
}

/// Merges the variables of the file over those of the app. PM2 removes none, and does not hide
/// variables of the first caller that are `undefined` now. If the file sets none, the caller's
/// variables reach the app and take precedence over its own, except for those that are `undefined`.
fn keep_variables(spec: &mut AppSpec, old: &AppSpec, caller: &EnvMap) {
    let sets: EnvMap = spec.env.layers().skip(2).flatten().map(|(name, value)| (name.clone(), value.clone())).collect();
    let is_hidden = |name: &String| spec.env.undefined.contains(name);
    let is_kept = |name: &String| match sets.is_empty() {
        true => !caller.contains_key(name) || is_hidden(name),
        false => !sets.contains_key(name),
    };
    let mut kept = old.env.declared();
    kept.retain(|name, _| is_kept(name));
    let is_bare = |name: &&String| old.env.bare.get(&old.env.key_of(name)).is_some_and(|bare| bare.contains(name));
    let bare: Vec<String> = kept.keys().filter(is_bare).cloned().collect();
    if !bare.is_empty() {
        spec.env.bare.entry("env".into()).or_default().extend(bare);
    }
    kept.extend(std::mem::take(&mut spec.env.file));
    spec.env.file = kept;
    spec.env.undefined.clone_from(&old.env.undefined);
}

fn note_lost_variables(spec: &AppSpec, old: &AppSpec, notes: &mut Vec<String>) {
    let now = spec.env.declared();
    let lost: Vec<String> = old.env.declared().into_keys().filter(|name| !now.contains_key(name)).collect();
    if !lost.is_empty() {
        notes.push(message!("{app}: the file no longer sets {names}", app = old.name, names = lost.join(", ")));
    }
}
