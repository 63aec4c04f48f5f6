//! The native API as bytes, and a check that every change raises [`PROTOCOL`]. Otherwise a client
//! and a daemon of different versions would notice their difference only in the middle of a
//! conversation. With the version, a client knows after the first answer that it has to update.
//!
//! `wire/protocol-<n>.jsonl` has a line for every variant of every transmitted type: the type and
//! its JSON. Each line must be readable and must be written back unchanged, and every variant must
//! have a line. A new optional field changes no line, and readers may ignore it.
//!
//! If this test fails: raise `PROTOCOL`, copy the file to its new name, add the new formats to it,
//! append the row to [`PROTOCOLS`]. (`UPDATE_GOLDEN=1` writes the lines in the program's spelling.)
//! As long as no release uses the current protocol, its file and row may change.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use ostler_core::app::secrets::SecretSource;
use ostler_core::app::{AppSpec, CombinedLog, ExecMode};
use ostler_core::lifecycle::{AfterStop, DesiredState, ExitCause, Instance, InstanceState, Origin, ProcessEnding};
use ostler_core::serving::{ListenAt, ReadyBy, Scheduling, Sticky};
use ostler_core::{app::hooks, cron, health, health::limits, lifecycle::order, logs::rotate};
use ostler_proto::control::{
    Action, ClientFrame, DaemonFrame, Existing, Failure, LogOutcome, PROTOCOL, Progress, ReloadedLog, Request, Response, RolloutState,
    ScaleTo,
};
use ostler_proto::event;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Every protocol since this check exists, and the checksum of its file. Append rows; released ones
/// never change.
const PROTOCOLS: &[(u32, u32)] = &[(3, 1680794058)];
/// Types without variants.
const RECORDS: &[&str] = &["ClientFrame", "DaemonFrame", "ReloadedLog", "Instance", "AppSpec", "Event"];

/// Operations on the type of a line.
struct Kind {
    name: &'static str,
    /// Reads the JSON and writes it again.
    round: fn(&str) -> Result<String, serde_json::Error>,
    /// Its variants; empty for a record.
    variants: fn() -> Vec<String>,
}

fn round<T: DeserializeOwned + Serialize>(text: &str) -> Result<String, serde_json::Error> {
    serde_json::to_string(&serde_json::from_str::<T>(text)?)
}

/// Returns the variants of a type: serde lists them in its error about an unknown variant.
fn variants<T: DeserializeOwned>() -> Vec<String> {
    let told = |text: &str| serde_json::from_str::<T>(text).err().map(|error| error.to_string());
    // The second text is for an enum with its tag among its fields.
    let texts = [told("\"no such variant\""), told(r#"{"outcome": "no such variant"}"#)];
    let list =
        texts.iter().flatten().find_map(|text| text.split_once("unknown variant `no such variant`, expected ")).map(|(_, list)| list);
    let words = list.into_iter().flat_map(|list| list.split('`').skip(1).step_by(2));
    words.map(str::to_owned).collect()
}

macro_rules! kinds {
    ($($name:literal => $t:ty),* $(,)?) => {
        const KINDS: &[Kind] = &[$(Kind { name: $name, round: round::<$t>, variants: variants::<$t> }),*];
    };
}

kinds! {
    "ClientFrame" => ClientFrame,
    "DaemonFrame" => DaemonFrame,
    "Request" => Request,
    "Existing" => Existing,
    "Action" => Action,
    "ScaleTo" => ScaleTo,
    "Response" => Response,
    "ReloadedLog" => ReloadedLog,
    "LogOutcome" => LogOutcome,
    "Progress" => Progress,
    "Failure" => Failure,
    "RolloutState" => RolloutState,
    "Instance" => Instance,
    "Wanted" => DesiredState,
    "State" => InstanceState,
    "AfterStop" => AfterStop,
    "Origin" => Origin,
    "Ending" => ProcessEnding,
    "ExitCause" => ExitCause,
    "health::State" => health::HealthState,
    "AppSpec" => AppSpec,
    "ExecMode" => ExecMode,
    "CombinedLog" => CombinedLog,
    "SecretSource" => SecretSource,
    "ListenAt" => ListenAt,
    "Scheduling" => Scheduling,
    "Sticky" => Sticky,
    "ReadyBy" => ReadyBy,
    "OnFailure" => hooks::OnFailure,
    "Condition" => order::Condition,
    "Overlap" => cron::Overlap,
    "RunOn" => cron::RunOn,
    "Times" => rotate::Times,
    "Ask" => health::CheckMethod,
    "care::Action" => health::Action,
    "Amount" => limits::MemoryAmount,
    "Event" => event::Event,
    "event::What" => event::EventKind,
    "event::Cause" => event::EventCause,
    "event::Health" => event::Health,
    "event::Limit" => event::LimitKind,
    "event::Lost" => event::LostProcesses,
    "event::Missed" => event::MissedEntries,
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/wire/protocol-{PROTOCOL}.jsonl"))
}

fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).unwrap_or_else(|| panic!("no type is called {name}"))
}

/// Returns the variant of a text.
fn variant(text: &str) -> Option<String> {
    match serde_json::from_str(text).unwrap() {
        Value::String(word) => Some(word),
        Value::Object(table) => match table.get("outcome") {
            Some(Value::String(word)) => Some(word.clone()),
            _ => table.keys().next().cloned(),
        },
        _ => None,
    }
}

/// Every new request belongs to one of the two lists: whether clients may send it on a read-only
/// connection, and repeat it if the answer was lost.
#[test]
fn every_request_is_listed_as_read_or_change() {
    const READ: &[&str] = &[
        "hello",
        "ping",
        "list",
        "table",
        "health",
        "processes",
        "inspect",
        "events",
        "rollouts",
        "host",
        "pulse",
        "subscribe",
        "listen",
        "collect",
        "reach",
    ];
    const CHANGE: &[&str] = &[
        "start",
        "act",
        "undo",
        "run_job",
        "scale",
        "signal",
        "trigger",
        "profile",
        "flush",
        "settings_changed",
        "reload_logs",
        "save",
        "resurrect",
        "restore",
        "input",
        "kill",
        "update",
    ];
    let all: BTreeSet<String> = variants::<Request>().into_iter().collect();
    assert_eq!(READ.iter().chain(CHANGE).map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), all);
    let text = std::fs::read_to_string(file()).unwrap();
    for shape in text.lines().filter_map(|line| line.strip_prefix("Request ")) {
        let (request, name) = (serde_json::from_str::<Request>(shape).unwrap(), variant(shape).unwrap());
        assert_eq!(request.is_read_only(), READ.contains(&&*name), "{name}");
    }
}

#[test]
fn wire_change_requires_a_new_protocol_version() {
    let mut text = std::fs::read_to_string(file()).unwrap_or_else(|error| panic!("{}: {error}", file().display()));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let lines = text.lines().map(|line| line.split_once(' ').unwrap());
        text = lines
            .map(|(name, shape)| format!("{name} {}\n", (kind(name).round)(shape).unwrap_or_else(|e| panic!("{name} {shape}: {e}"))))
            .collect();
        std::fs::write(file(), &text).unwrap();
    }
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        let (name, shape) = line.split_once(' ').unwrap();
        let again = (kind(name).round)(shape).unwrap_or_else(|error| panic!("{name} is not understood any more: {error}\n{shape}"));
        assert_eq!(again, shape, "{name} is written in another way");
        seen.insert((name, variant(shape)));
    }
    for kind in KINDS {
        let variants = (kind.variants)();
        for variant in &variants {
            assert!(seen.contains(&(kind.name, Some(variant.clone()))), "{}::{variant} is new: no line shows it", kind.name);
        }
        let has_line = seen.iter().any(|(name, _)| *name == kind.name);
        assert!(
            has_line && (!variants.is_empty() || RECORDS.contains(&kind.name)),
            "{} has no line, or its variants are not known",
            kind.name
        );
    }
    let sum = ostler_core::text::fnv::fnv_32(text.as_bytes());
    assert_eq!(PROTOCOLS.last(), Some(&(PROTOCOL, sum)), "the lines of a protocol do not change: another number, another file");
}
