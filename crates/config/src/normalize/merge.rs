//! Options over an existing app: `restart <name> --max-restarts 5`.

use std::path::PathBuf;

use ostler_core::app::AppSpec;
use ostler_core::message;
use serde_json::{Map, Value};

use super::{AppContext, Normalized, cron, env, file_server, options, safeguards, script, serving, set, timing, watch};
use crate::context::Context;
use crate::problem::{ProblemKind, Problems};

/// Returns a copy of an app with these attributes changed (by main name, values as typed) and, if
/// given, other arguments. Other attributes stay, and only files that the change needs are read
/// again.
///
/// # Errors
/// Returns all problems at once.
pub fn merge(old: &AppSpec, attributes: &Map<String, Value>, args: Option<&[String]>, context: &Context) -> Result<Normalized, Problems> {
    let mut table = attributes.clone();
    if let Some(args) = args {
        table.insert("args".into(), args.to_vec().into());
    }
    let mut problems = Vec::new();
    let Some(raw) = options::checked(table, &mut problems) else { return Err(Problems(problems)) };
    let mut spec = old.clone();
    raw.attributes.keys().filter(|key| *key != "name").for_each(|key| spec.note_option(key));
    spec.given.open_mut().extend(raw.attributes.clone());
    if attributes.get("node_args").is_some_and(|words| words == "null") {
        // PM2 removes the attribute and does not show it any more.
        spec.given.open_mut().insert("node_args".into(), Value::Null);
    }
    if let Some(cwd) = raw.attributes.get("cwd").and_then(Value::as_str).filter(|cwd| !cwd.is_empty()) {
        let dir = context.in_cwd(cwd);
        if !dir.is_dir() {
            problems.push(raw.problem(ProblemKind::Value, "cwd", message!("the directory {path} does not exist", path = dir.display())));
        }
        spec.cwd = dir.to_string_lossy().into_owned();
    }
    // Paths of an option are relative to the caller's directory, but PM2 resolves those of logs
    // against the app's.
    let base = AppContext { context, cwd: PathBuf::from(&spec.cwd), file_dir: None };
    let shell_args = spec.shell.then(|| spec.args.clone());
    for (key, value) in &raw.attributes {
        if let Err(message) = set(&mut spec, key, value, &base) {
            problems.push(raw.problem(ProblemKind::Value, key, message));
        }
    }
    if let Some(old_args) = shell_args
        && raw.attributes.contains_key("args")
    {
        spec.args = script::shell_args(&old_args, std::mem::take(&mut spec.args));
    }
    if file_server::is_file_server(old) && raw.attributes.contains_key("args") {
        file_server::insert_serve_word(&mut spec, old);
    }
    if raw.attributes.contains_key("exec_interpreter") && !spec.shell {
        let path = script::search_path(&spec);
        let file = PathBuf::from(&spec.script);
        if let Err(problem) = super::interpreter::choose(&mut spec, &raw, &base, path.as_deref(), &file) {
            problems.push(problem);
        }
        spec.program = super::program::kind(&spec, path.as_deref());
    }
    let touches = |keys: &[&str]| keys.iter().any(|key| raw.attributes.contains_key(*key));
    // Decisions from the start of the app stay, unless this change concerns them.
    if touches(&["kill_mode", "treekill", "exec_interpreter"]) {
        timing::finish_stop(&mut spec, context);
    }
    if touches(&["wait_ready", "listen_timeout", "ready", "ready_timeout_action"]) {
        timing::finish_ready(&mut spec, context);
    }
    if touches(&["uid", "env_policy"]) {
        env::finish_policy(&mut spec, context);
    }
    let finished = if touches(serving::TOGETHER) { serving::finish(&mut spec) } else { Ok(()) };
    let guarded = finished.and_then(|()| if touches(safeguards::KEYS) { safeguards::finish(&mut spec) } else { Ok(()) });
    if let Err((key, message)) = guarded {
        problems.push(raw.problem(ProblemKind::Value, key, message));
    }
    if watch::TOGETHER.iter().any(|key| raw.attributes.contains_key(*key))
        && let Err((key, message)) = watch::finish(&mut spec)
    {
        problems.push(raw.problem(ProblemKind::Value, key, message));
    }
    if cron::TOGETHER.iter().any(|key| raw.attributes.contains_key(*key)) {
        super::lay_out_times(&mut spec, &raw, &mut problems);
    }
    problems.iter_mut().for_each(options::name_option);
    let warnings = Problems::check(problems, context.strict)?;
    Ok(Normalized { spec, warnings })
}
