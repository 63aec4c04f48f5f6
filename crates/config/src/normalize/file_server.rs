//! `script: "serve"`: ostler's own file server, configured by `PM2_SERVE_*` variables.

use std::path::PathBuf;

use ostler_core::app::AppSpec;
use ostler_core::message;
use ostler_core::serving::ReadyBy;
use serde_json::{Value, json};

use super::{AppContext, listen};
use crate::check::RawApp;
use crate::problem::{Problem, ProblemKind};

/// PM2's default port and address.
const PORT: &str = "8080";
const HOST: &str = "0.0.0.0";

/// Returns true if the script is this word. As in PM2, a file of this name must be given as
/// `./serve`.
pub(super) fn names_file_server(raw: &RawApp) -> bool {
    raw.attributes.get("script").and_then(Value::as_str) == Some("serve")
}

/// Returns true for an app that [`resolve`] made.
pub(super) fn is_file_server(spec: &AppSpec) -> bool {
    spec.given.open().get("script").and_then(Value::as_str) == Some("serve")
}

/// Inserts the word that turns the program into a server before other arguments.
pub(super) fn insert_serve_word(spec: &mut AppSpec, old: &AppSpec) {
    spec.args.splice(0..0, old.args.first().cloned());
}

/// Sets program, folder, socket and readiness signal. ostler owns the socket, so a reload loses no
/// connection, and instances share it.
pub(super) fn resolve(spec: &mut AppSpec, raw: &RawApp, base: &AppContext<'_>) -> Result<(), Problem> {
    let Some((program, word)) = base.context.file_server.clone() else {
        return Err(raw.problem(ProblemKind::ScriptNotFound, "script", message!("this program was built without the file server")));
    };
    spec.script = program;
    spec.args.insert(0, word);
    spec.interpreter = None;
    spec.interpreter_args.clear();
    let folder = folder(spec, raw, base)?;
    spec.env.vars.insert("PM2_SERVE_PATH".into(), folder);
    if spec.listen.is_empty() {
        let port = var(spec, "PM2_SERVE_PORT").unwrap_or_else(|| PORT.into());
        let number = port.trim().parse::<u16>().map_err(|_| {
            let message = message!("PM2_SERVE_PORT: expected a port from 0 to 65535, found \"{port}\"", port);
            raw.problem(ProblemKind::Value, "env", message)
        })?;
        let host = var(spec, "PM2_SERVE_HOST").unwrap_or_else(|| HOST.into());
        let socket = json!({ "port": number, "host": host });
        listen::set(spec, &socket, base)
            .map_err(|fault| raw.problem(ProblemKind::Value, "env", format!("PM2_SERVE_HOST: {}", fault.message)))?;
    }
    spec.ready.by.get_or_insert_with(|| Box::new(ReadyBy::Notify));
    Ok(())
}

/// Returns the variable as the process will get it; an empty one counts as none.
fn var(spec: &AppSpec, name: &str) -> Option<String> {
    spec.env.layers().filter_map(|layer| layer.get(name)).last().filter(|value| !value.is_empty()).cloned()
}

/// Returns the folder, relative to the app's directory if it exists there, otherwise to the file's.
fn folder(spec: &AppSpec, raw: &RawApp, base: &AppContext<'_>) -> Result<String, Problem> {
    let given = var(spec, "PM2_SERVE_PATH").unwrap_or_else(|| ".".into());
    let here = base.context.absolute(&given, &base.cwd);
    let there = base.file_dir.as_deref().map(|dir| base.context.absolute(&given, dir));
    let found = [Some(&here), there.as_ref()].into_iter().flatten().find(|dir| dir.is_dir()).map(PathBuf::as_path);
    match found.map(|dir| dir.to_str().map(str::to_owned)) {
        Some(Some(folder)) => Ok(folder),
        Some(None) => Err(raw.problem(ProblemKind::Value, "env", message!("PM2_SERVE_PATH: the path is not UTF-8"))),
        None => {
            let message = message!("PM2_SERVE_PATH: the directory {path} does not exist", path = here.display());
            Err(raw.problem(ProblemKind::DirectoryNotFound, "env", message))
        }
    }
}
