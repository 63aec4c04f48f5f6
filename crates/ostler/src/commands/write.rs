//! `--write`: the options as a config file.

use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_core::{marked, message};
use serde_json::{Map, Value, json};

use crate::cli::Call;
use crate::cx::{self, Cx};
use crate::error::CliError;
use ostler_sys::fs::replace::{Durability, Writers, replace};

/// Writes `<cwd>/<name>-pm2.json` if requested. Starting that file gives the same apps.
pub(super) fn config(cx: &mut Cx, call: &Call, apps: &[AppSpec]) -> Result<(), CliError> {
    let Some(first) = apps.first().filter(|_| call.has("write")) else { return Ok(()) };
    let name: String = first.name.chars().map(|c| if c == '/' || c.is_control() { '-' } else { c }).collect();
    let path = Path::new(&cx::cwd()?).join(format!("{name}-pm2.json"));
    cx.out.info(message!("Writing configuration to {path}", path = path.display()));
    let apps: Vec<Value> = apps.iter().map(|app| Value::Object(attributes(app))).collect();
    let mut text = serde_json::to_string_pretty(&json!({ "apps": apps })).unwrap_or_default();
    text.push('\n');
    replace(&path, text.as_bytes(), Durability::Power, Writers::Many).map_err(|error| CliError::File {
        what: marked!("write"),
        path: path.display().to_string(),
        source: error.source,
    })
}

/// Returns the attributes that the user gave, with paths made absolute.
fn attributes(app: &AppSpec) -> Map<String, Value> {
    let mut map = app.given.open().into_owned();
    map.insert("name".into(), app.name.clone().into());
    map.insert("cwd".into(), app.cwd.clone().into());
    if !app.shell {
        map.insert("script".into(), app.script.clone().into());
    }
    if !app.env.vars.is_empty() {
        map.insert("env".into(), json!(app.env.vars));
    }
    map
}
