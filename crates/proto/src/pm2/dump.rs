//! `dump.pm2`: the saved list. PM2 can read it; ostler reads it without evaluating any code.
//!
//! ```text
//! [
//!   {
//!     "name": "api",
//!     "args": ["--port", "80"],
//!     "env": { "PATH": "/usr/bin", … },
//!     …           every attribute of pm2_env but pm_id, instances, prev_restart_delay
//!     "ostler": { "version": 1, "seal": "9a…", "base": ["PATH", …], "spec": { … } }
//!   }
//! ]
//! ```
//!
//! The key `ostler` stores values that PM2's attributes cannot express (layers of the environment,
//! limits, …). PM2 ignores it. It is valid only while its seal matches the attributes of the same
//! entry. If a user edits the attributes, or PM2 writes the file again, the attributes take
//! precedence.

use ostler_core::app::AppSpec;
use ostler_core::cron::Ticks;
use ostler_core::lifecycle::{DesiredState, InstanceState};
use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

use super::{View, entry, pm2_env};
use crate::control::Detail;

/// Version of the `ostler` object.
const VERSION: u32 = 1;
/// Name of our own key.
const OWN_KEY: &str = "ostler";

/// A saved list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dump {
    /// One entry per instance, in file order.
    pub entries: Vec<DumpEntry>,
    /// Invalid entries; the others are not affected.
    pub rejected: Vec<EntryError>,
}

/// One saved instance.
#[derive(Clone, Debug, PartialEq)]
pub struct DumpEntry {
    /// The description.
    pub spec: AppSpec,
    /// Number of the instance within its app, if known.
    pub index: Option<u32>,
    /// Whether it is restored in the stopped state.
    pub stopped: bool,
    /// Wire `created_at`, ms since the epoch.
    pub created_ms: Option<u64>,
    /// State of its schedule.
    pub ticks: Option<Ticks>,
}

/// Reason why a dump cannot be read at all. Leave the file in place and try the backup.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The file is not JSON. PM2 would evaluate it as JavaScript, which is unsafe.
    #[error("{}", message!("the saved list is not valid JSON"))]
    Syntax(#[source] serde_json::Error),
    /// The file is JSON, but not a list.
    #[error("{}", message!("the saved list is not a list of apps but {found}", found = translated(found)))]
    NotAList {
        /// Its JSON type.
        found: &'static str,
    },
}

/// Reason why an entry of a dump is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", entry_text(*position, name.as_deref(), reason))]
pub struct EntryError {
    /// Position in the list, from 0.
    pub position: usize,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The reason.
    pub reason: String,
}

fn entry_text(position: usize, name: Option<&str>, reason: &str) -> String {
    match name {
        None => message!("entry {position} of the saved list: {reason}", position, reason),
        Some(name) => message!("entry {position} of the saved list ({name}): {reason}", position, name, reason),
    }
}

/// The part of an entry that only ostler understands.
#[derive(Serialize, Deserialize)]
struct OstlerEntry {
    version: u32,
    seal: String,
    /// Names of the lowest environment layer, in order. Their values are in the entry's `env`;
    /// `spec.env.base` contains only those that another layer overrides. (Otherwise the large
    /// environment would be stored a third time.)
    base: Vec<String>,
    spec: AppSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ticks: Option<Ticks>,
}

/// Returns the text of `dump.pm2`, without instances that are being deleted.
pub fn to_dump(details: &[Detail]) -> String {
    let entries: Vec<Value> = details.iter().filter(|detail| detail.instance.wanted != DesiredState::Gone).map(to_entry).collect();
    serde_json::to_string_pretty(&entries).expect("keys are text and numbers are finite")
}

fn to_entry(detail: &Detail) -> Value {
    let mut map = pm2_env(&View { status: saved_status(detail), kept: None, ..View::from(detail) });
    for key in ["pm_id", "instances", "prev_restart_delay"] {
        map.shift_remove(key);
    }
    let catch_up = detail.spec.cron.as_ref().map(|cron| cron.catch_up);
    let own = OstlerEntry {
        version: VERSION,
        seal: seal(&map),
        base: detail.spec.env.base.keys().cloned().collect(),
        spec: slim(&detail.spec, &map),
        ticks: catch_up.map(|catch_up| detail.ticks.saved(catch_up)),
    };
    // Convert through text: the program already contains that code, and a direct conversion would
    // add as much again.
    let text = serde_json::to_string(&own).expect("keys are text and numbers are finite");
    map.insert(OWN_KEY.into(), serde_json::from_str(&text).expect("this was just written"));
    Value::Object(map)
}

/// Returns `stopped` if the user wants the instance stopped, whatever its current state: a stop
/// requested before a crash of the whole system must not be lost. An app that was given up is
/// started again, as in PM2.
fn saved_status(detail: &Detail) -> &'static str {
    match (&detail.instance.wanted, &detail.instance.state) {
        (_, InstanceState::Errored) => "errored",
        (DesiredState::Down | DesiredState::Gone, _) => "stopped",
        (DesiredState::Up, InstanceState::Stopped | InstanceState::Gone) => "launching",
        (DesiredState::Up, _) => detail.instance.status(),
    }
}

/// Returns the description without those variables of the lowest layer that the entry's `env`
/// already contains.
fn slim(spec: &AppSpec, entry: &Map<String, Value>) -> AppSpec {
    let shown = entry.get("env").and_then(Value::as_object);
    let mut spec = spec.clone();
    Arc::make_mut(&mut spec.env.base)
        .retain(|key, value| shown.and_then(|env| env.get(key)).and_then(Value::as_str) != Some(value.as_str()));
    spec
}

/// Reads a dump of PM2 or of ostler.
///
/// # Errors
/// Returns an error if the file is not a JSON list. Single invalid entries are in
/// [`Dump::rejected`].
pub fn parse_dump(text: &str) -> Result<Dump, DumpError> {
    let text = text.trim_start_matches('\u{feff}');
    let list = match serde_json::from_str(text).map_err(DumpError::Syntax)? {
        Value::Array(list) => list,
        other => return Err(DumpError::NotAList { found: kind(&other) }),
    };
    Ok(of_entries(list))
}

/// Reads the entries of a list.
pub fn of_entries(list: Vec<Value>) -> Dump {
    let mut dump = Dump::default();
    for (position, value) in list.into_iter().enumerate() {
        match from_entry(value) {
            Ok(entry) => dump.entries.push(entry),
            Err((name, reason)) => dump.rejected.push(EntryError { position, name, reason }),
        }
    }
    dump
}

fn from_entry(value: Value) -> Result<DumpEntry, (Option<String>, String)> {
    let Value::Object(mut map) = value else {
        return Err((None, message!("expected an object, found {found}", found = translated(kind(&value)))));
    };
    let own = map.shift_remove(OWN_KEY);
    let name = map.get("name").and_then(Value::as_str).map(str::to_owned);
    let (spec, ticks) = match own.and_then(|own| own_spec(own, &map)) {
        Some(own) => own,
        None => (entry::to_spec(&map).map_err(|error| (name, error.to_string()))?, None),
    };
    Ok(DumpEntry {
        index: entry::index(&map),
        stopped: map.get("status").and_then(Value::as_str) == Some("stopped"),
        created_ms: map.get("created_at").and_then(Value::as_u64),
        spec,
        ticks,
    })
}

/// Returns our own description, if it still matches the attributes of the entry.
fn own_spec(own: Value, map: &Map<String, Value>) -> Option<(AppSpec, Option<Ticks>)> {
    let own: OstlerEntry = serde_json::from_slice(own.to_string().as_bytes()).ok()?;
    if own.version != VERSION || own.seal != seal(map) {
        return None;
    }
    let shown = map.get("env").and_then(Value::as_object);
    let mut spec = own.spec;
    let mut covered = Arc::unwrap_or_clone(std::mem::take(&mut spec.env.base));
    for key in own.base {
        let value = covered.shift_remove(&key).or_else(|| shown?.get(&key)?.as_str().map(str::to_owned))?;
        Arc::make_mut(&mut spec.env.base).insert(key, value);
    }
    Some((spec, own.ticks))
}

/// Returns the FNV-1a hash of the attributes' JSON. It detects edits, not forgeries: a user who can
/// write the file can do anything anyway.
fn seal(map: &Map<String, Value>) -> String {
    let bytes = serde_json::to_vec(map).expect("keys are text and numbers are finite");
    format!("{:016x}", ostler_core::text::fnv::fnv_64(bytes))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => marked!("null"),
        Value::Bool(_) => marked!("a boolean"),
        Value::Number(_) => marked!("a number"),
        Value::String(_) => marked!("text"),
        Value::Array(_) => marked!("a list"),
        Value::Object(_) => marked!("an object"),
    }
}

#[cfg(test)]
mod tests;
