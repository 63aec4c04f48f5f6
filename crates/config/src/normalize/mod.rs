//! Normalizes a checked app to an [`AppSpec`]: one file per family of attributes.

mod alerts;
mod command;
mod cron;
mod env;
mod env_file;
mod expand;
mod file_server;
#[cfg(debug_assertions)]
pub(crate) mod fuzz;
mod hooks;
mod interpreter;
mod limits;
mod listen;
mod logs;
mod merge;
mod options;
mod order;
mod program;
mod ready;
mod run;
mod safeguards;
mod sandbox;
mod scrape;
mod script;
mod secrets;
mod serving;
mod signal;
mod timing;
mod update;
mod variables;
mod version;
mod watch;

use std::path::{Path, PathBuf};

use ostler_core::app::export_settings::export_settings;
use ostler_core::app::{AppSpec, EnvMap, ExecMode};
use ostler_core::message;
use serde_json::{Map, Value};

use crate::check::RawApp;
use crate::context::{AccountError, Context};
use crate::fault::Fault;
use crate::keys::{self, Group};
use crate::problem::{Problem, ProblemKind, Problems};

pub use env::{EnvOption, variables_in};
pub use merge::merge;
pub use options::from_options;
pub use order::finish_order;
pub use update::{UpdatedApp, normalize_update};

/// Options of the command line over an app of a file.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// `--env NAME`: the profile to choose.
    pub profile: Option<String>,
    /// `--env K=V`: variables on top of everything in the file.
    pub vars: EnvMap,
    /// `--namespace`: for apps that set none.
    pub namespace: Option<String>,
    /// Other options, by main name; they take precedence over the file.
    pub attributes: Map<String, Value>,
}

impl Overlay {
    /// Returns the name that an app of a file gets.
    pub fn name_of(&self, raw: &RawApp) -> String {
        let given = self.attributes.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
        let name = given.map_or_else(|| raw.name(), str::to_owned);
        match &self.profile {
            Some(profile) if raw.attributes.get("append_env_to_name") == Some(&Value::Bool(true)) => format!("{name}-{profile}"),
            _ => name,
        }
    }
}

/// A finished app and the warnings about it.
#[derive(Clone, Debug)]
pub struct Normalized {
    /// The app. `env.base` is the caller's environment after `filter_env` and `env_policy`.
    pub spec: AppSpec,
    /// Warnings.
    pub warnings: Vec<Problem>,
}

/// Turns a checked app into a spec.
///
/// # Errors
/// Returns all problems at once. [`Problems::kind`] distinguishes a missing script or interpreter.
pub fn normalize(raw: &RawApp, context: &Context, overlay: &Overlay) -> Result<Normalized, Problems> {
    let (spec, problems) = attempt(raw, context, overlay);
    let warnings = Problems::check(problems, context.strict)?;
    Ok(Normalized { spec, warnings })
}

/// Turns a checked app into a spec as far as possible, for a command that only reports problems.
/// Parts with an error keep their defaults.
pub fn attempt(raw: &RawApp, context: &Context, overlay: &Overlay) -> (AppSpec, Vec<Problem>) {
    let mut raw = raw.clone();
    let mut problems = Vec::new();
    options::override_with(&mut raw, &overlay.attributes, &mut problems);
    if let Some(namespace) = &overlay.namespace
        && !raw.attributes.contains_key("namespace")
    {
        raw.replace_by_options(Map::from_iter([("namespace".to_owned(), namespace.as_str().into())]));
    }
    env::expand_attributes(&mut raw, &context.env, overlay, &mut problems);
    variables::fill_in(&mut raw, context);
    let spec = build(&raw, context, overlay, &mut problems);
    (spec, problems)
}

/// Context of one app.
pub(super) struct AppContext<'a> {
    pub context: &'a Context,
    /// Absolute working directory of the app.
    pub cwd: PathBuf,
    /// Directory of the config file.
    pub file_dir: Option<PathBuf>,
}

impl AppContext<'_> {
    /// Returns the absolute form of a path of the app.
    pub(super) fn path(&self, path: &str) -> String {
        self.context.absolute(path, &self.cwd).to_string_lossy().into_owned()
    }
}

fn build(raw: &RawApp, context: &Context, overlay: &Overlay, problems: &mut Vec<Problem>) -> AppSpec {
    let file_dir = raw.file.as_deref().and_then(|file| Path::new(file).parent()).map(Path::to_owned);
    let folder = run::working_directory(raw, context, file_dir.as_deref());
    let has_folder = folder.is_ok();
    let cwd = folder.unwrap_or_else(|message| {
        problems.push(raw.problem(ProblemKind::DirectoryNotFound, "cwd", message));
        context.cwd.clone()
    });
    let base = AppContext { context, cwd, file_dir };
    let mut spec = AppSpec {
        name: raw.name(),
        namespace: raw.namespace(),
        folder: (base.cwd != context.cwd).then(|| context.cwd.to_string_lossy().into_owned()),
        cwd: base.cwd.to_string_lossy().into_owned(),
        config_file: raw.file.clone(),
        given: raw.attributes.clone().into(),
        options: raw.options.clone(),
        ..AppSpec::default()
    };
    for (key, value) in &raw.attributes {
        if let Err(message) = set(&mut spec, key, value, &base) {
            problems.push(raw.problem(ProblemKind::Value, key, message));
        }
    }
    warn_unusual(raw, problems);
    watch::warn_unusual(raw, problems);
    limits::drop_forbidden_nice(&mut spec, raw, context, problems);
    env::build(&mut spec, raw, &base, overlay, problems);
    spec.name = overlay.name_of(raw);
    let serves_files = file_server::names_file_server(raw);
    let resolved = if serves_files {
        file_server::resolve(&mut spec, raw, &base).err().into_iter().collect()
    } else {
        script::resolve(&mut spec, raw, &base)
    };
    // Without its folder, an app has no files: these are no separate mistakes.
    let is_own = |problem: &Problem| has_folder || problem.kind != ProblemKind::ScriptNotFound;
    problems.extend(resolved.into_iter().filter(is_own));
    check_account(&spec, raw, context, problems);
    run::finish(&mut spec, raw, &base, problems);
    if serves_files {
        // PM2 differs: its instances are workers of Node's cluster; ostler's instances share the
        // socket in any case.
        spec.mode = ExecMode::Fork;
    }
    if let Some(message) = run::launcher_warning(&spec) {
        problems.push(raw.problem(ProblemKind::Value, "instances", message).as_warning());
    }
    variables::finish(&mut spec, &base);
    timing::finish_stop(&mut spec, context);
    timing::finish_ready(&mut spec, context);
    env::finish_policy(&mut spec, context);
    let finished = [
        serving::finish(&mut spec),
        safeguards::finish(&mut spec),
        alerts::finish(&spec),
        watch::finish(&mut spec),
        sandbox::finish(&mut spec, &base),
    ];
    for (key, fault) in finished.into_iter().filter_map(Result::err) {
        let problem = raw.problem(ProblemKind::Value, key, fault);
        // Two of them read `http`.
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    lay_out_times(&mut spec, raw, problems);
    env::for_interpreter(&mut spec);
    for (name, path) in secrets::world_readable(&spec.secrets) {
        let message = message!("{name}: every user of this machine can read {path}; fix it with `chmod o-r`", name, path);
        problems.push(raw.problem(ProblemKind::Value, "secrets", Fault::from(message).below(name)).as_warning());
    }
    spec.version = version::nearest(&spec);
    spec
}

/// Reports a user or group that does not exist. PM2 differs: it fails only at the start.
fn check_account(spec: &AppSpec, raw: &RawApp, context: &Context, problems: &mut Vec<Problem>) {
    if context.as_pm2 || context.elsewhere {
        return;
    }
    if let Err(error) = (context.check_account)(spec.uid.as_deref(), spec.gid.as_deref()) {
        let key = match error {
            AccountError::User(_) => "uid",
            AccountError::Group(_) => "gid",
        };
        problems.push(raw.problem(ProblemKind::Value, key, error.to_string()));
    }
}

/// Restarts and jobs at given times.
fn lay_out_times(spec: &mut AppSpec, raw: &RawApp, problems: &mut Vec<Problem>) {
    match cron::finish(spec) {
        Ok(None) => {}
        Ok(Some((key, message))) => {
            problems.push(raw.problem(ProblemKind::Value, key, message).as_warning());
        }
        Err((key, fault)) => problems.push(raw.problem(ProblemKind::Value, key, fault)),
    }
}

/// Applies one attribute that depends on no other. The other files handle the rest (script,
/// interpreter, mode, environment).
pub(super) fn set(spec: &mut AppSpec, key: &str, value: &Value, base: &AppContext<'_>) -> Result<(), Fault> {
    match keys::find(key).map(|key| key.group) {
        Some(Group::Run) => {
            run::set(spec, key, value)?;
            order::set(spec, key, value)
        }
        Some(Group::Logs) => logs::set(spec, key, value, base),
        Some(Group::Restart) => timing::set_restart(spec, key, value).and_then(|()| hooks::set(spec, key, value, base)),
        Some(Group::Stop) => {
            timing::set_stop(spec, key, value)?;
            hooks::set(spec, key, value, base)
        }
        Some(Group::Ready) => Ok(timing::set_ready(spec, key, value)?),
        Some(Group::Limits) => limits::set(spec, key, value),
        Some(Group::Serving) => serving::set(spec, key, value, base),
        Some(Group::Node) => {
            match key {
                "disable_source_map_support" => spec.disable_source_map_support = value == &Value::Bool(true),
                "pmx" | "automation" => spec.no_preload |= value == &Value::Bool(false),
                _ => {}
            }
            Ok(())
        }
        Some(Group::Env) if key == "secrets" => {
            spec.secrets = secrets::parse(value, base)?;
            Ok(())
        }
        Some(Group::Health) if key == "alerts" => alerts::check(&spec.name, value),
        Some(Group::Health) if key == "scrape" => Ok(scrape::check(value)?),
        Some(Group::Kept) if key == "export" => export_settings(value).map(|_| ()).map_err(|faults| faults.join("; ").into()),
        Some(Group::Env | Group::Cron | Group::Watch | Group::Health | Group::Kept) | None => Ok(()),
    }
}

/// Warns of values that are accepted but may not be intended.
fn warn_unusual(raw: &RawApp, problems: &mut Vec<Problem>) {
    let mut warn = |key: &str, message: String| problems.push(raw.problem(ProblemKind::Value, key, message).as_warning());
    let attribute = |key: &str| raw.attributes.get(key);
    if attribute("nice").and_then(Value::as_i64) == Some(20) {
        warn("nice", message!("the highest value is 19, which is used"));
    }
    if let Some(kind) = attribute("log_type").and_then(Value::as_str).filter(|kind| !["json", "raw"].contains(kind)) {
        warn("log_type", message!("only \"json\" has an effect{near}", near = listen::meant(kind, &["json", "raw"])));
    }
    if attribute("filter_env") == Some(&Value::Bool(true)) {
        warn("filter_env", message!("true has no effect, as in PM2; use env_policy: \"clean\" to start without the caller's variables"));
    }
    if attribute("umask").is_some_and(|mask| mask.is_number() && mask.as_u64().is_some_and(is_likely_octal)) {
        warn("umask", message!("a number is used as is; write an octal mask as a string, such as \"022\""));
    }
}

/// Returns true for `22` from YAML's `022`: the common masks, read in decimal.
fn is_likely_octal(mask: u64) -> bool {
    matches!(mask, 22 | 27 | 77 | 177 | 277 | 377 | 477)
}

/// Returns the number of a canonical value.
pub(super) fn number(value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| message!("expected a number, found {found}", found = crate::values::describe_value(value)))
}

/// Returns true if Node's cluster module runs the app.
pub(super) fn is_cluster(spec: &AppSpec) -> bool {
    spec.mode == ExecMode::Cluster
}
