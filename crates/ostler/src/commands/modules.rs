//! `install`, `uninstall`, `module:list`: the modules of PM2 whose work is done here. Others come later.

use ostler_core::rotate::settings::{MODULE as LOGROTATE, MODULE_DEFAULTS};
use serde_json::{Map, Value, json};

use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::module_conf;
use crate::module_conf::notify_daemon;

/// Where PM2 keeps which modules there are.
const INSTALLED: &str = "module-db-v2";

/// A module of PM2 that is not needed here.
struct BuiltIn {
    name: &'static str,
    /// Description of its work.
    does: &'static str,
    /// Settings that it writes into its section when it is installed.
    defaults: &'static [(&'static str, &'static str)],
}

const BUILT_IN: &[BuiltIn] = &[
    BuiltIn { name: LOGROTATE, does: "log rotation is built in and follows the settings of pm2-logrotate", defaults: MODULE_DEFAULTS },
    BuiltIn {
        name: "pm2-server-monit",
        does: "the figures of the host are built in: see `slist`, and the last line of `list`",
        defaults: &[("drive", "/")],
    },
];

/// The built-in module for `pm2-logrotate`, `pm2-logrotate@2.7.0`, `keymetrics/pm2-logrotate`, or an address that ends in that.
fn built_in(word: &str) -> Option<&'static BuiltIn> {
    let last = word.trim_end_matches('/').trim_end_matches(".git").rsplit('/').next().unwrap_or_default();
    let name = last.split(['@', '#']).next().unwrap_or_default();
    BUILT_IN.iter().find(|module| module.name == name)
}

/// Runs `install <module>`.
pub(crate) fn install(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    for word in &call.targets {
        let Some(module) = built_in(word) else { return Err(later(word)) };
        let path = module_conf::writable(cx)?;
        module_conf::change(&path, |all| {
            table(all, INSTALLED).entry(module.name).or_insert_with(|| json!({}));
            let section = table(all, module.name);
            for (key, value) in module.defaults {
                section.entry(*key).or_insert_with(|| (*value).into());
            }
            Ok(())
        })?;
        notify_daemon(cx)?;
        cx.out.info(format_args!("Module {} is built in: {}", module.name, module.does));
        if let Some(section) = module_conf::read(&path)?.get(module.name).and_then(Value::as_object) {
            let program = cx.program.name();
            for (key, value) in section {
                cx.out.line(format_args!("$ {program} set {}:{key} {}", module.name, module_conf::shown(value)));
            }
        }
    }
    Ok(Status::Ok)
}

/// Runs `uninstall <module>`: its settings go out of force, and stay for the next time.
pub(crate) fn uninstall(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    for word in &call.targets {
        let path = module_conf::writable(cx)?;
        let names: Vec<&str> = match (word.as_str(), built_in(word)) {
            ("all", _) => BUILT_IN.iter().map(|module| module.name).collect(),
            (_, Some(module)) => vec![module.name],
            (_, None) => Vec::new(),
        };
        let gone: Vec<&str> = module_conf::change(&path, |all| {
            let Some(Value::Object(installed)) = all.get_mut(INSTALLED) else { return Ok(Vec::new()) };
            Ok(names.iter().filter(|name| installed.shift_remove(**name).is_some()).copied().collect())
        })?;
        if gone.is_empty() && word != "all" {
            return Err(CliError::Failed(format!("Unknown module: {word} is not installed")));
        }
        notify_daemon(cx)?;
        for name in gone {
            cx.out.info(format_args!("Module {name} uninstalled; what is built in goes on as it does by itself"));
        }
    }
    Ok(Status::Ok)
}

/// Runs `module:list`.
pub(crate) fn list(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let all = module_conf::read(&module_conf::path(cx.home()?))?;
    let is_installed = |name: &str| all.get(INSTALLED).and_then(|modules| modules.get(name)).is_some();
    let found: Vec<&BuiltIn> = BUILT_IN.iter().filter(|module| is_installed(module.name)).collect();
    if call.has("json") {
        let rows: Vec<Value> = found.iter().map(|module| json!({ "name": module.name, "built_in": true })).collect();
        crate::render::json(&mut cx.out, &rows);
        return Ok(Status::Ok);
    }
    for module in found {
        cx.out.line(format_args!("{}  built in", module.name));
    }
    Ok(Status::Ok)
}

fn later(word: &str) -> CliError {
    let names: Vec<&str> = BUILT_IN.iter().map(|module| module.name).collect();
    CliError::Failed(format!(
        "cannot install {word:?}: modules are not available yet, except for those that are built in: {}",
        names.join(", ")
    ))
}

/// The table of this name; whatever else was there makes no sense and gives way.
fn table<'a>(all: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let value = all.entry(name).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(table) => table,
        _ => unreachable!("it was just made one"),
    }
}
