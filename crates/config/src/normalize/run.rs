//! Name, directory, arguments, mode and number of instances.

use std::path::{Path, PathBuf};

use ostler_core::app::instances::resolve;
use ostler_core::app::launcher::launcher;
use ostler_core::app::program::ProgramKind;
use ostler_core::app::{AppSpec, ExecMode};
use ostler_core::message;
use ostler_core::serving::AutoscaleSettings;
use serde_json::{Map, Value};

use super::{AppContext, is_cluster, program, script, serving};
use crate::check::RawApp;
use crate::context::Context;
use crate::fault::Fault;
use crate::problem::{Problem, ProblemKind};

/// Returns the app's directory, relative to the caller's if it exists there, otherwise to the
/// file's. PM2 differs: it only tries the caller's, so a file can be used from its own directory
/// only.
pub(super) fn working_directory(raw: &RawApp, context: &Context, file_dir: Option<&Path>) -> Result<PathBuf, String> {
    let Some(given) = raw.attributes.get("cwd").and_then(Value::as_str).filter(|cwd| !cwd.is_empty()) else {
        return Ok(context.cwd.clone());
    };
    let here = context.in_cwd(given);
    let there = file_dir.map(|dir| context.absolute(given, dir));
    match [Some(&here), there.as_ref()].into_iter().flatten().find(|dir| dir.is_dir()) {
        Some(dir) => Ok(dir.clone()),
        // It exists on the machine where the apps run.
        None if context.elsewhere => Ok(there.as_ref().unwrap_or(&here).clone()),
        None if here.exists() => Err(message!("{path} is not a directory", path = here.display())),
        None => Err(message!("the directory {path} does not exist", path = here.display())),
    }
}

pub(super) fn set(spec: &mut AppSpec, key: &str, value: &Value) -> Result<(), String> {
    match (key, value) {
        ("args", value) => spec.args = texts(value),
        ("node_args", value) => spec.interpreter_args = texts(value),
        ("name", Value::String(name)) if name.chars().any(char::is_control) => {
            return Err(message!("a name cannot contain control characters"));
        }
        ("name" | "namespace", Value::String(name)) if !name.is_empty() && name.trim().is_empty() => {
            return Err(message!("a name cannot be blank"));
        }
        ("name" | "namespace", Value::String(name)) if name.len() > 255 => return Err(message!("a name cannot be longer than 255 bytes")),
        ("name", Value::String(name)) if !name.is_empty() => spec.name.clone_from(name),
        ("namespace", Value::String(name)) if name.chars().any(char::is_control) => {
            return Err(message!("a name cannot contain control characters"));
        }
        ("namespace", Value::String(name)) if !name.is_empty() => spec.namespace.clone_from(name),
        _ => {}
    }
    Ok(())
}

/// Returns the texts of a canonical list.
pub(super) fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Sets the values that depend on the interpreter: mode, instances, shared logs.
pub(super) fn finish(spec: &mut AppSpec, raw: &RawApp, base: &AppContext<'_>, problems: &mut Vec<Problem>) {
    let attributes = &raw.attributes;
    spec.instances_given = attributes.contains_key("instances");
    match attributes.get("instances").map(|value| instances(value, base.context.cpus)) {
        None => {}
        Some(Ok((count, autoscale))) => (spec.instances, spec.autoscale) = (count, autoscale),
        Some(Err(message)) => problems.push(raw.problem(ProblemKind::Value, "instances", message)),
    }
    let kind = |spec: &AppSpec| program::kind(spec, script::search_path(spec).as_deref()).filter(|_| !base.context.elsewhere);
    // PM2 differs: it recognizes Node only by its name, so several instances of `nodejs` are
    // separate processes.
    let is_node = runs_in_node(spec) || !base.context.as_pm2 && kind(spec) == Some(ProgramKind::Node);
    let fork = attributes.get("execute_command") == Some(&Value::Bool(true));
    let is_unnamed = !fork && spec.instances_given && !attributes.contains_key("exec_mode");
    spec.mode = match attributes.get("exec_mode").and_then(Value::as_str) {
        Some(mode) if mode.starts_with("cluster") => ExecMode::Cluster,
        None if is_unnamed && is_node => ExecMode::Cluster,
        None if is_unnamed && !is_one(attributes) && !base.context.as_pm2 && !base.context.elsewhere => mode_of_several(spec, kind),
        Some(_) | None => ExecMode::Fork,
    };
    spec.program = kind(spec);
    if !attributes.contains_key("merge_logs") {
        // PM2's instances share their files if `instances` means one per CPU and the mode is not
        // given as cluster. Scripts of its users read them there. PM2 differs: not if the files
        // show which instance is ready.
        let per_cpu = attributes.get("instances").is_some_and(is_per_cpu);
        let is_cluster_given = attributes.contains_key("exec_mode") && is_cluster(spec);
        let is_shared_in_pm2 = per_cpu && !is_cluster_given && !attributes.contains_key("ready");
        spec.logs.merge_logs = !is_cluster(spec) && !spec.instances_given || base.context.as_pm2 && is_shared_in_pm2;
    }
}

/// Returns the mode of several instances of a program that Node does not run. PM2 differs: they are
/// always separate processes. ostler's share the port that they open.
fn mode_of_several(spec: &AppSpec, kind: impl Fn(&AppSpec) -> Option<ProgramKind>) -> ExecMode {
    let mut clustered = AppSpec { mode: ExecMode::Cluster, ..spec.clone() };
    clustered.program = kind(&clustered);
    if clustered.shares_opened_port() { ExecMode::Cluster } else { ExecMode::Fork }
}

/// Returns true if the number of instances is given as 1. `max` is not, even on a machine with one
/// CPU.
fn is_one(attributes: &Map<String, Value>) -> bool {
    attributes.get("instances").and_then(Value::as_i64) == Some(1)
}

fn runs_in_node(spec: &AppSpec) -> bool {
    spec.interpreter.as_deref().is_some_and(|name| name.ends_with("node") || name.ends_with("bun"))
}

/// Returns true for `max` or 0.
fn is_per_cpu(instances: &Value) -> bool {
    instances.as_i64() == Some(0) || instances.is_string()
}

/// Returns the number of instances: `max` and 0 are one per CPU, a negative number is that many
/// fewer (at least one), a table starts its `min`. PM2 differs: any other word is an error in
/// ostler, not one instance per CPU.
fn instances(value: &Value, cpus: u32) -> Result<(u32, Option<AutoscaleSettings>), Fault> {
    if let Some(scale) = serving::autoscale(value, cpus)? {
        // If both are equal, the number is fixed.
        return Ok((scale.min, Some(scale).filter(|scale| scale.max > scale.min)));
    }
    let wanted = if value.is_string() { 0 } else { value.as_i64().unwrap_or(1) };
    resolve(wanted, cpus).map(|count| (count, None)).map_err(|error| error.to_string().into())
}

/// Returns the warning about several instances of a program that runs the app in a child process
/// (`npm start`, `tsx app.ts`): each child opens the same port by itself. In cluster mode, they
/// share it.
pub(super) fn launcher_warning(spec: &AppSpec) -> Option<String> {
    let alone = spec.instances < 2 || !spec.listen.is_empty() || spec.env.increment_var.is_some() || spec.shares_opened_port();
    let launcher = launcher(spec).filter(|_| !alone)?;
    Some(message!(
        "{launcher} starts its own server for each of {count} instances: on one port, all but the first fail. Use cluster mode \
         (exec_mode: \"cluster\"), or give each its own port (increment_var: \"PORT\")",
        launcher,
        count = spec.instances
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn instances_are_counted_from_the_cpus() {
        let cases = [(json!("max"), 8), (json!(0), 8), (json!(-1), 7), (json!(-20), 1), (json!(3), 3), (json!({"min": 2, "max": 4}), 2)];
        for (value, count) in cases {
            assert_eq!(instances(&value, 8).map(|(count, _)| count), Ok(count), "{value}");
        }
        let scale = |value| instances(&value, 8).unwrap().1;
        assert_eq!(scale(json!({"min": 2, "max": 4})), Some(AutoscaleSettings { min: 2, max: 4, cpu: 70 }));
        assert_eq!(scale(json!({"min": 2, "cpu": 50})), Some(AutoscaleSettings { min: 2, max: 8, cpu: 50 }));
        assert_eq!(scale(json!({"min": 4, "max": 4})), None);
        for value in
            [json!({}), json!({"mni": 1}), json!({"min": 1, "cpu": 0}), json!({"min": 0}), json!({"min": 3, "max": 2}), json!({"max": "x"})]
        {
            assert!(instances(&value, 8).is_err(), "{value}");
        }
    }
}
