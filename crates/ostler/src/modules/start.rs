//! Start of modules: one after its installation, or all after a new daemon has started.

use std::path::Path;

use ostler_config::{Context, Overlay, load_stdin, normalize};
use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::message;
use ostler_proto::control::{Confirm, Existing, Request};
use serde_json::{Map, Value, json};

use super::installed::{self, Installed, ModuleKind};
use super::package::Package;
use crate::cx::Cx;
use crate::error::{CliError, ModuleError};
use crate::module_conf;
use crate::render::Wording;

/// Starts all installed modules that are not in the list. A module that cannot be started is
/// reported, and does not stop the others.
pub(crate) fn start_all(cx: &mut Cx) -> Result<(), CliError> {
    let home = cx.home()?.to_owned();
    // Broken settings keep modules from starting, but no app.
    let settings = match module_conf::read(&module_conf::path(cx)?) {
        Ok(settings) => settings,
        Err(error) => {
            cx.out.warn_err(ostler_core::text::causes::with_causes(&error));
            return Ok(());
        }
    };
    let modules: Vec<Installed> = installed::all(&settings).into_iter().filter(|module| module.kind != ModuleKind::BuiltIn).collect();
    if modules.is_empty() {
        return Ok(());
    }
    let rows = cx.client()?.table()?;
    let folder = installed::modules_of(&home);
    for module in modules.into_iter().filter(|module| !rows.iter().any(|row| module_conf::is_of(row, &module.name))) {
        let started = Package::read(&module.package(&folder))
            .and_then(|package| check_name(&module, &package))
            .map_err(CliError::from)
            .and_then(|package| start(cx, &module, &package, &module.package(&folder), None));
        match started {
            Ok(_) => cx.out.info(message!("Started module {name}", name = module.name)),
            Err(error) => cx.out.error(message!(
                "cannot start module {name}: {error}",
                name = module.name,
                error = ostler_core::text::causes::with_causes(&error)
            )),
        }
    }
    Ok(())
}

fn check_name(module: &Installed, package: &Package) -> Result<Package, ModuleError> {
    if package.name == module.name { Ok(package.clone()) } else { Err(ModuleError::OtherName(package.name.clone())) }
}

/// Starts the apps of a module; running apps get the new description.
///
/// # Errors
/// Returns an error if a description is invalid, or the daemon's error.
pub(super) fn start(
    cx: &mut Cx,
    module: &Installed,
    package: &Package,
    folder: &Path,
    confirm: Option<Confirm>,
) -> Result<Vec<u32>, CliError> {
    let mut more = Map::new();
    for (key, value) in [("uid", &module.uid), ("gid", &module.gid)] {
        if let Some(value) = value {
            more.insert(key.into(), value.clone().into());
        }
    }
    let apps = described(cx, package, folder, &more)?;
    launch(cx, apps, confirm)
}

/// Starts the package in this folder for development: it is restarted when a file changes.
///
/// # Errors
/// Returns the errors of [`start`].
pub(super) fn start_watched(cx: &mut Cx, package: &Package, folder: &Path, confirm: Option<Confirm>) -> Result<Vec<u32>, CliError> {
    let apps = described(cx, package, folder, &Map::from_iter([("watch".to_owned(), json!(true))]))?;
    launch(cx, apps, confirm)
}

fn described(cx: &Cx, package: &Package, folder: &Path, more: &Map<String, Value>) -> Result<Vec<AppSpec>, CliError> {
    let failed = |reason: String| CliError::from(ModuleError::App { module: package.name.clone(), reason });
    let context =
        Context::new(folder.to_owned(), cx.env(), ostler_sys::machine::cpus::available()).map_err(|error| failed(error.to_string()))?;
    let apps: Vec<Value> = package.apps.iter().map(|app| as_module(app.clone(), folder, more)).collect();
    let text = json!({ "apps": apps }).to_string();
    let first = |problems: ostler_config::Problems| match problems.0.iter().find(|problem| problem.is_error()) {
        Some(problem) => failed(problem.message.clone()),
        None => failed(message!("its package.json is invalid")),
    };
    let loaded = load_stdin(text.as_bytes(), &context).map_err(first)?;
    let specs = loaded.apps.iter().map(|app| normalize(app, &context, &Overlay::default()).map(|app| app.spec).map_err(first));
    specs.collect()
}

/// Describes an app of a module in the way in which PM2 runs it.
fn as_module(mut app: Map<String, Value>, folder: &Path, more: &Map<String, Value>) -> Value {
    app.insert("cwd".into(), folder.to_string_lossy().into_owned().into());
    app.insert("pmx_module".into(), true.into());
    app.entry("merge_logs").or_insert(true.into());
    app.extend(more.clone());
    Value::Object(app)
}

fn launch(cx: &mut Cx, apps: Vec<AppSpec>, confirm: Option<Confirm>) -> Result<Vec<u32>, CliError> {
    let request = Request::Start {
        apps,
        base_env: EnvMap::default(),
        existing: Existing::Restart,
        command: "start".into(),
        confirm,
        named_only: false,
        as_pm2: true,
    };
    cx.perform(&request, Wording::Names)
}
