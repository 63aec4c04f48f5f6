//! Distribution of connections to the instances, their number, and the checks of settings that must
//! fit together.

use ostler_core::app::instances::MAX_INSTANCES;
use ostler_core::app::{AppSpec, ExecMode};
use ostler_core::message;
use ostler_core::serving::{AutoscaleSettings, Scheduling, Sticky, fd_words};
use serde_json::Value;

use super::listen::known_keys;
use super::{AppContext, listen, number, ready};
use crate::fault::{Fault, KeyFault, below};
use crate::values::{describe_value, whole};

/// Name of the cookie of `sticky: "cookie"`.
const COOKIE: &str = "ostler";
/// Target of `instances: {min, max}`: mean CPU use of an instance.
const TARGET_CPU: u32 = 70;

pub(super) fn set(spec: &mut AppSpec, key: &str, value: &Value, base: &AppContext<'_>) -> Result<(), Fault> {
    match key {
        "listen" => listen::set(spec, value, base)?,
        "scheduling" => spec.scheduling = value.as_str().and_then(scheduling).unwrap_or_default(),
        "sticky" => spec.sticky = sticky(value)?,
        "max_connection_age" => spec.max_connection_age_ms = Some(number(value)?).filter(|ms| *ms > 0),
        "retire_connections" => spec.retire_connections = value == &Value::Bool(true),
        "reload_batch" => spec.rollout.batch = u32::try_from(number(value)?).ok(),
        "canary" => spec.rollout.canary_ms = Some(number(value)?).filter(|ms| *ms > 0),
        _ => {}
    }
    Ok(())
}

fn scheduling(word: &str) -> Option<Scheduling> {
    match word {
        "round_robin" | "rr" => Some(Scheduling::RoundRobin),
        "reuseport" => Some(Scheduling::Reuseport),
        "shared" | "none" => Some(Scheduling::Shared),
        _ => None,
    }
}

fn sticky(value: &Value) -> Result<Option<Sticky>, Fault> {
    match value {
        Value::Bool(on) => Ok(on.then_some(Sticky::Address)),
        Value::String(word) if word == "cookie" => Ok(Some(Sticky::Cookie(COOKIE.into()))),
        Value::String(_) => Ok(Some(Sticky::Address)),
        Value::Object(table) => {
            known_keys(table, &["cookie"])?;
            // A token of RFC 6265.
            let is_token = |name: &&str| {
                (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
            };
            let name = table.get("cookie").and_then(Value::as_str).filter(is_token);
            let cookie =
                name.map(|name| Some(Sticky::Cookie(name.into()))).ok_or_else(|| message!("expected `cookie` as the name of a cookie"));
            cookie.map_err(below("cookie"))
        }
        other => Err(message!("expected true, \"address\", \"cookie\" or a table, found {found}", found = describe_value(other)).into()),
    }
}

/// Reads `instances: {min, max, cpu}`; if `min` and `max` are equal, the number is fixed.
pub(super) fn autoscale(value: &Value, cpus: u32) -> Result<Option<AutoscaleSettings>, Fault> {
    let Value::Object(table) = value else { return Ok(None) };
    known_keys(table, &["min", "max", "cpu"])?;
    if table.is_empty() {
        return Err(message!("expected `min` and `max` in the table, found an empty table").into());
    }
    let bound = |key: &str, most: u32, absent: u32| match table.get(key) {
        None => Ok(absent),
        Some(value) => whole(value)
            .and_then(|count| u32::try_from(count).ok())
            .filter(|count| (1..=most).contains(count))
            .ok_or_else(|| {
                message!("expected `{key}` as a number from 1 to {most}, found {found}", key, most, found = describe_value(value))
            })
            .map_err(below(key)),
    };
    let min = bound("min", MAX_INSTANCES, 1)?;
    let max = bound("max", MAX_INSTANCES, cpus.max(min))?;
    let cpu = bound("cpu", 10_000, TARGET_CPU)?;
    if max < min {
        return Err(message!("`max` is smaller than `min`").into());
    }
    Ok(Some(AutoscaleSettings { min, max, cpu }))
}

/// Attributes that [`finish`] reads together.
pub(super) const TOGETHER: &[&str] = &[
    "listen",
    "scheduling",
    "sticky",
    "max_connection_age",
    "retire_connections",
    "pmx",
    "automation",
    "ready",
    "http",
    "args",
    "listen_timeout",
    "port",
];

/// Checks settings that must fit together. Returns a key and its problem.
pub(super) fn finish(spec: &mut AppSpec) -> Result<(), KeyFault> {
    listen::name(spec).map_err(|message| ("listen", message.into()))?;
    node_policy(spec);
    if spec.sticky.is_some() && spec.mode != ExecMode::Cluster {
        return Err(("sticky", message!("needs exec_mode \"cluster\": only in this mode ostler distributes the connections").into()));
    }
    if spec.sticky.is_some() && spec.scheduling != Scheduling::RoundRobin {
        return Err(("sticky", message!("needs scheduling \"round_robin\": in the others the kernel distributes the connections").into()));
    }
    if spec.max_connection_age_ms.is_some() && !spec.has_preload() {
        let message = message!("is for Node apps with the preload; for others the proxy limits it (nginx: `keepalive_time`)");
        return Err(("max_connection_age", message.into()));
    }
    if spec.retire_connections && !spec.has_shards() {
        let message = message!("is for programs whose processes have their own sockets: other than Node in cluster mode, or with `listen`");
        return Err(("retire_connections", message.into()));
    }
    named_sockets(spec).map_err(|message| ("args", message.into()))?;
    ready::finish(spec)
}

/// Uses Node's own variable if the key is absent.
fn node_policy(spec: &mut AppSpec) {
    if !spec.given.open().contains_key("scheduling") {
        let layers: Vec<_> = spec.env.layers().collect();
        let policy = layers.iter().rev().find_map(|layer| layer.get("NODE_CLUSTER_SCHED_POLICY"));
        spec.scheduling = match policy.map(String::as_str) {
            Some("none") => Scheduling::Shared,
            _ => Scheduling::RoundRobin,
        };
    }
}

/// Checks that `{fd:name}` in the arguments names an existing socket.
fn named_sockets(spec: &AppSpec) -> Result<(), String> {
    if spec.listen.is_empty() {
        return Ok(());
    }
    let names = spec.args.iter().chain(&spec.interpreter_args).flat_map(|arg| fd_words(arg)).filter_map(|word| word.name);
    for name in names {
        if !spec.listen.iter().any(|listen| listen.name == name) {
            return Err(message!("{{fd:{name}}}: no socket of `listen` has this name", name));
        }
    }
    Ok(())
}
