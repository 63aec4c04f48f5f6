//! Reader for the file of a project: it returns the apps as they are to run. Nothing is changed
//! here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ostler_config::{Context, Overlay, Problems, RawApp, finish_order, load_made, values};
use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::message;
use ostler_export::{CannotRun, ComposeService, Notice, compose_project};
use serde_json::{Map, Value};

use super::super::change::EnvChoice;
use super::super::existing_apps::Present;
use super::super::files::{self, Source};
use super::compose::{ComposeFiles, text_of};
use super::name::choose;
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, ProjectError, UsageError};
use crate::text::shown;

/// Most instances of `--scale`; a larger number is probably a mistake.
const MOST_INSTANCES: u32 = 10_000;

/// A project, ready to run.
pub(crate) struct Project {
    /// Name of the project.
    pub name: String,
    /// File of the project, without links.
    pub file: PathBuf,
    /// Apps to run; their names include the project.
    pub wanted: Vec<AppSpec>,
    /// Names of all apps of the file, including the project.
    pub all: Vec<String>,
    /// Names of apps that `--scale` sets to zero, including the project.
    pub none_of: Vec<String>,
    /// Services that cannot run here, each with the reason.
    pub cannot: Vec<(String, CannotRun)>,
    /// Settings that were not carried over.
    pub told: Vec<Notice>,
}

/// Content of a project's file, for both formats.
struct Content {
    apps: Vec<RawApp>,
    name: Option<String>,
    variables: EnvMap,
    services: Vec<ComposeService>,
    told: Vec<Notice>,
}

/// Reads the file. All apps are checked before anything is done: one invalid app stops the command.
///
/// # Errors
/// Returns an error if the file has a problem. Either the problems were already reported, or the
/// error describes them.
pub(crate) fn read(cx: &mut Cx, call: &Call, files: &[PathBuf]) -> Result<Project, CliError> {
    let Some(file) = files.first() else { return Err(CliError::NotFound(message!("the project has no file"))) };
    let mut context = files::context(cx, call)?;
    let dir = file.parent().unwrap_or(Path::new("/")).to_owned();
    // Relative paths in the file start at its folder, wherever the command is called from.
    context.cwd.clone_from(&dir);
    let shown = file.file_name().map_or_else(|| file.display().to_string(), |name| name.to_string_lossy().into_owned());
    let source = Source::File(file.to_owned(), shown.clone());
    let content = if is_compose(file, &shown, &context) {
        compose(cx, files, &shown, &context)?
    } else if files.len() > 1 {
        return Err(
            UsageError::BadValue { option: "--file".into(), reason: message!("only compose files are merged; name one file") }.into()
        );
    } else {
        ecosystem(cx, call, &source, &mut context)?
    };
    let folder = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let variable = context.env.get("COMPOSE_PROJECT_NAME").or_else(|| content.variables.get("COMPOSE_PROJECT_NAME"));
    let name = choose(call.value("project-name"), variable.map(String::as_str), content.name.as_deref(), &folder)?;
    let scales = scales(call)?;
    let all: Vec<String> = content.apps.iter().map(RawApp::name).collect();
    let asked = scales.iter().filter(|(_, count)| *count > 0).map(|(own, _)| own).chain(&call.targets);
    for own in asked {
        let service = content.services.iter().find(|service| service.name == *own);
        if let Some(why) = service.and_then(|service| service.app.as_ref().err()) {
            return Err(ProjectError::Service { service: own.clone(), reason: why.clone() }.into());
        }
    }
    let chosen = chosen(call, &content, &context, &all, &scales)?;
    let with_project = |own: &String| format!("{name}-{own}");
    let none_of = scales.iter().filter(|(_, count)| *count == 0).map(|(own, _)| with_project(own)).collect();
    let mut raw = content.apps;
    for app in &mut raw {
        if let Some((_, count)) = scales.iter().find(|(own, _)| *own == app.name()) {
            app.override_with(Map::from_iter([("instances".to_owned(), Value::from((*count).max(1)))]));
        }
        app.set_project(&name, &all);
    }
    let specs = specs(cx, call, &source, &context, &raw)?;
    let is_chosen = |spec: &AppSpec| super::service(&spec.name, &name).is_some_and(|own| chosen.contains(own));
    let wanted = specs.into_iter().filter(is_chosen).collect();
    let is_asked = |own: &String| call.targets.is_empty() || call.targets.contains(own);
    let cannot = content
        .services
        .into_iter()
        .filter(|service| is_asked(&service.name))
        .filter_map(|service| Some((service.name, service.app.err()?)));
    Ok(Project {
        wanted,
        all: all.iter().map(with_project).collect(),
        none_of,
        cannot: cannot.collect(),
        told: content.told,
        name,
        file: file.to_owned(),
    })
}

/// Returns true if this is a compose file: by its name, or because it has services and no apps.
fn is_compose(file: &Path, shown: &str, context: &Context) -> bool {
    let is_yaml = file.extension().is_some_and(|end| end == "yaml" || end == "yml");
    let has_services = || match values(file, shown) {
        Ok(value) => (value.get("services").is_some() || value.get("include").is_some()) && value.get("apps").is_none(),
        // Compose accepts scalars that the reader of config files rejects.
        Err(_) => text_of(file, shown, context).is_ok_and(|text| text.lines().any(|line| line.starts_with("services:"))),
    };
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or(shown);
    is_yaml && (super::COMPOSE_NAMES.contains(&name) || has_services())
}

fn ecosystem(cx: &mut Cx, call: &Call, source: &Source, context: &mut Context) -> Result<Content, CliError> {
    let loaded = files::read(cx, call, source, context)?;
    Ok(Content { apps: loaded.apps, name: loaded.project, variables: EnvMap::new(), services: Vec::new(), told: Vec::new() })
}

fn compose(cx: &mut Cx, files: &[PathBuf], shown: &str, context: &Context) -> Result<Content, CliError> {
    let read = ComposeFiles::read(files, context)?;
    let project = read.with(context, compose_project).map_err(|source| ProjectError::Import { file: shown.to_owned(), source })?;
    let variables = read.variables;
    let file = files.first().map_or(Path::new("/"), PathBuf::as_path);
    let apps: Vec<Value> = project.services.iter().filter_map(|service| service.app.as_ref().ok()).cloned().map(Value::from).collect();
    let made = if apps.is_empty() {
        Vec::new()
    } else {
        let source = Source::File(file.to_owned(), shown.to_owned());
        let value = Value::from(Map::from_iter([("apps".to_owned(), Value::from(apps))]));
        let loaded = load_made(value, file, shown, context).map_err(|problems| files::report(cx, Some(&source), &problems))?;
        files::warn(cx, &loaded.warnings);
        loaded.apps
    };
    Ok(Content { apps: made, name: project.name, variables, services: project.services, told: project.notices })
}

/// Parses `--scale app=3`, which may occur several times.
fn scales(call: &Call) -> Result<Vec<(String, u32)>, UsageError> {
    let one = |text: &str| {
        let (name, count) = text.rsplit_once('=')?;
        Some((name.to_owned(), count.parse().ok().filter(|count| *count <= MOST_INSTANCES)?)).filter(|(name, _)| !name.is_empty())
    };
    call.values("scale")
        .map(|text| {
            let reason = || message!("expected app=3, up to {most}, found {text}", most = MOST_INSTANCES, text = format!("{text:?}"));
            one(text).ok_or_else(|| UsageError::BadValue { option: "--scale".into(), reason: reason() })
        })
        .collect()
}

/// Returns the apps to run. If the user named apps, these and their dependencies run; otherwise all
/// run, except those of profiles that are not chosen.
fn chosen(
    call: &Call,
    content: &Content,
    context: &Context,
    all: &[String],
    scales: &[(String, u32)],
) -> Result<BTreeSet<String>, CliError> {
    let known = |name: &String| all.contains(name) || content.services.iter().any(|service| service.name == *name);
    if let Some(missing) = call.targets.iter().chain(scales.iter().map(|(name, _)| name)).find(|name| !known(name)) {
        let names: Vec<&str> = all.iter().map(String::as_str).collect();
        let text = message!(
            "this file has no app {app}; its apps: {names}; nothing was changed",
            app = format!("{missing:?}"),
            names = names.join(", ")
        );
        return Err(CliError::unknown(text, missing, names.iter().copied(), ""));
    }
    // Profiles come from Compose's variable and its option.
    let variable = context.env.get("COMPOSE_PROFILES").or_else(|| content.variables.get("COMPOSE_PROFILES"));
    let profiles: Vec<&str> = variable.into_iter().flat_map(|list| list.split(',')).chain(call.values("profile")).map(str::trim).collect();
    let runs = |name: &String| {
        let of = content.services.iter().find(|service| service.name == *name).map_or(&[] as &[String], |service| &service.profiles);
        of.is_empty() || of.iter().any(|profile| profiles.contains(&profile.as_str()) || profiles.contains(&"*"))
    };
    let mut open: Vec<String> =
        if call.targets.is_empty() { all.iter().filter(|name| runs(name)).cloned().collect() } else { call.targets.clone() };
    let mut chosen = BTreeSet::new();
    while let Some(name) = open.pop() {
        if !all.contains(&name) || !chosen.insert(name.clone()) {
            continue;
        }
        let app = content.apps.iter().find(|app| app.name() == name);
        open.extend(app.into_iter().flat_map(|app| match app.attributes().get("depends_on") {
            Some(Value::Object(table)) => table.keys().cloned().collect::<Vec<_>>(),
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::String(name)) => vec![name.clone()],
            _ => Vec::new(),
        }));
    }
    for (name, _) in scales.iter().filter(|(_, count)| *count == 0) {
        chosen.remove(name);
    }
    Ok(chosen)
}

fn specs(cx: &mut Cx, call: &Call, source: &Source, context: &Context, raw: &[RawApp]) -> Result<Vec<AppSpec>, CliError> {
    let choice = EnvChoice::of(call)?;
    let overlay = Overlay { profile: choice.profile, vars: choice.vars, ..Overlay::default() };
    let present = Present::from_file(cx, raw, &overlay)?;
    let (mut all, mut refused) = (Vec::new(), Vec::new());
    for app in raw {
        match present.describe(app, context, &overlay) {
            Ok(again) => {
                again.notes.iter().for_each(|note| cx.out.warn_err(shown(note)));
                all.push(again.app);
            }
            Err(problems) => refused.extend(problems.0),
        }
    }
    if !refused.is_empty() {
        return Err(files::report(cx, Some(source), &Problems(refused)));
    }
    files::check_profile(cx, overlay.profile.as_deref(), &all, false)?;
    files::warn_all(cx, overlay.profile.as_deref(), &all);
    let mut specs: Vec<AppSpec> = all.into_iter().map(|app| app.spec).collect();
    let mut together: Vec<_> = raw.iter().zip(&mut specs).collect();
    let problems = Problems(finish_order(&mut together));
    if problems.0.is_empty() { Ok(specs) } else { Err(files::report(cx, Some(source), &problems)) }
}
