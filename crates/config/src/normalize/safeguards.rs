//! Safeguards: `http`, `health`, `error`, `autokill`, and the limits of memory and CPU.

use ostler_core::app::AppSpec;
use ostler_core::app::RestartBudget;
use ostler_core::health::limits::{CpuLimit, ErrorLimit, HardLimits, MemoryAmount};
use ostler_core::health::probe::addresses;
use ostler_core::health::safeguards::Safeguards;
use ostler_core::health::{Action, Check, CheckMethod, HealthSpec};
use ostler_core::message;
use ostler_core::serving::{HttpProbe, ReadyBy};
use ostler_core::text::units;
use serde_json::{Map, Value};

use super::listen::{known_keys, meant};
use super::ready::{self, no_time};
use crate::fault::{Fault, KeyFault, below};
use crate::values::{describe_value, whole};

/// Default time between two checks.
const INTERVAL_MS: u64 = 30_000;
const TIMEOUT_MS: u64 = 5000;
const RETRIES: u32 = 3;
/// Longest time between two heartbeats of an event loop.
const HEARTBEAT_MS: u64 = 30_000;
const HEARTBEAT_MIN_MS: u64 = 1000;
/// Default window of `max_cpu` and `error`.
const WINDOW_MS: u64 = 60_000;
const ERRORS: u32 = 50;

/// Keys that are read here.
pub(super) const KEYS: &[&str] = &[
    "http",
    "health",
    "error",
    "autokill",
    "max_memory_restart",
    "max_cpu",
    "max_cpu_unit",
    "max_cpu_window",
    "cpu_quota",
    "memory_max",
    "pids_max",
    "io_weight",
    // Keys that determine the port of a check, and the heartbeat.
    "pmx",
    "port",
];

/// Reads all keys after everything else is known. An error names the key.
pub(super) fn finish(spec: &mut AppSpec) -> Result<(), KeyFault> {
    let given = spec.given.open();
    let value = |key: &str| given.get(key).filter(|value| !value.is_null());
    let mut safeguards = Safeguards { autokill: value("autokill") == Some(&Value::Bool(true)), ..Safeguards::default() };
    let at = |key: &'static str| move |message: String| (key, Fault::from(message));
    if let Some(value) = value("http") {
        safeguards.health = http(value, spec).map_err(|fault| ("http", fault))?;
    }
    if let Some(value) = value("health") {
        health(value, spec, &mut safeguards.health).map_err(|fault| ("health", fault))?;
    }
    if safeguards.autokill && safeguards.health.heartbeat_ms.is_none() && sends_heartbeat(spec) && !heartbeat_is_off(value("health")) {
        safeguards.health.heartbeat_ms = Some(HEARTBEAT_MS);
    }
    safeguards.memory = value("max_memory_restart").map(amount).transpose().map_err(at("max_memory_restart"))?.flatten();
    safeguards.cpu = cpu(&given).map_err(at("max_cpu"))?;
    // A text is the path of the error log and never reaches this point.
    safeguards.errors = value("error").and_then(Value::as_object).map(errors).transpose().map_err(|fault| ("error", fault))?;
    safeguards.hard = HardLimits {
        cpu_percent: value("cpu_quota").map(quota).transpose().map_err(at("cpu_quota"))?.flatten(),
        memory: value("memory_max").map(amount).transpose().map_err(at("memory_max"))?.flatten(),
        pids: value("pids_max").and_then(whole).and_then(|pids| u32::try_from(pids).ok()).filter(|pids| *pids > 0),
        io_weight: value("io_weight").and_then(whole).and_then(|weight| u16::try_from(weight).ok()).filter(|weight| *weight > 0),
    };
    spec.safeguards = (!safeguards.is_none()).then(|| Box::new(safeguards));
    Ok(())
}

/// Returns true if the preload sends heartbeats from it.
fn sends_heartbeat(spec: &AppSpec) -> bool {
    spec.runs_in_node() && !spec.no_preload
}

fn heartbeat_is_off(health: Option<&Value>) -> bool {
    health.and_then(|health| health.get("heartbeat")) == Some(&Value::Bool(false))
}

/// Reads `http: {…}`: readiness and liveness by the same request. After one bad answer the instance
/// gets no new connections; after `retries` of them it is restarted.
fn http(value: &Value, spec: &AppSpec) -> Result<HealthSpec, Fault> {
    let Value::Object(table) = value else { return Err(message!("expected a table, found {found}", found = describe_value(value)).into()) };
    let probe = request_only(ready::http(value, spec)?)?;
    let liveness = check(CheckMethod::Http(probe), table)?;
    let readiness = Check { failures: 1, ..liveness.clone() };
    Ok(HealthSpec {
        readiness: Some(readiness),
        liveness: Some(liveness),
        grace_ms: grace(table)?,
        action: action(table)?,
        ..HealthSpec::default()
    })
}

/// Reads `health: {startup: {…}, readiness: {…}, liveness: {…}, heartbeat, grace, action}`.
fn health(value: &Value, spec: &AppSpec, health: &mut HealthSpec) -> Result<(), Fault> {
    let Value::Object(table) = value else { return Err(message!("expected a table, found {found}", found = describe_value(value)).into()) };
    known_keys(table, &["startup", "readiness", "liveness", "heartbeat", "grace", "start_period", "action"])?;
    for (phase, position) in [("startup", &mut health.startup), ("readiness", &mut health.readiness), ("liveness", &mut health.liveness)] {
        match table.get(phase) {
            None | Some(Value::Null) => {}
            Some(Value::Bool(false)) => *position = None,
            Some(value) => {
                let check = phase_check(value, spec).map_err(|fault| fault.in_words(|message| format!("`{phase}`: {message}")));
                *position = Some(check.map_err(below(phase))?);
            }
        }
    }
    match table.get("heartbeat") {
        None | Some(Value::Null | Value::Bool(false)) => {}
        Some(_) if !sends_heartbeat(spec) => {
            return Err(message!(
                "`heartbeat` is for Node apps with the preload; other apps send `WATCHDOG=1` by sd_notify (key `watchdog`)"
            )
            .into());
        }
        Some(Value::Bool(true)) => health.heartbeat_ms = Some(HEARTBEAT_MS),
        Some(value) => {
            let ms = units::millis_of(value).ok_or_else(|| no_time("heartbeat", value)).map_err(below("heartbeat"))?;
            if ms < HEARTBEAT_MIN_MS {
                let message = message!(
                    "expected `heartbeat` as {least} ms or more, found {found}",
                    least = HEARTBEAT_MIN_MS,
                    found = describe_value(value)
                );
                return Err(Fault::from(message).below("heartbeat"));
            }
            health.heartbeat_ms = Some(ms);
        }
    }
    health.grace_ms = grace(table)?.or(health.grace_ms);
    if table.contains_key("action") {
        health.action = action(table)?;
    }
    Ok(())
}

/// Reads `{http: {…} | tcp: … | command: …, interval, timeout, failures, successes, delay}`.
fn phase_check(value: &Value, spec: &AppSpec) -> Result<Check, Fault> {
    let Value::Object(table) = value else { return Err(message!("expected a table, found {found}", found = describe_value(value)).into()) };
    known_keys(table, &[&["http", "tcp", "command", "exec"], CHECK_KEYS].concat())?;
    let kinds: Vec<&str> = ["http", "tcp", "command", "exec"].into_iter().filter(|kind| table.contains_key(*kind)).collect();
    let [kind] = kinds[..] else { return Err(message!("expected one of `http`, `tcp`, `command`").into()) };
    let asked_for = &table[kind];
    let (ask, inner) = match kind {
        "http" => {
            let Value::Object(inner) = asked_for else {
                return Err(
                    Fault::from(message!("expected `http` as a table, found {found}", found = describe_value(asked_for))).below(kind)
                );
            };
            let probe = ready::http(asked_for, spec).map_err(below(kind))?;
            (CheckMethod::Http(request_only(probe).map_err(below("host")).map_err(below(kind))?), Some(inner))
        }
        "tcp" => match ready::tcp(asked_for).map_err(below(kind))? {
            ReadyBy::Tcp { host, port } => {
                known_address(&host).map_err(below(kind))?;
                (CheckMethod::Tcp { host, port }, None)
            }
            _ => return Err(message!("expected `tcp` as a port or \"host:port\", found {found}", found = describe_value(asked_for)).into()),
        },
        _ => (CheckMethod::Command(command(asked_for).map_err(below(kind))?), None),
    };
    // Interval and similar keys may be beside the question or in it.
    let mut merged = inner.cloned().unwrap_or_default();
    merged.extend(table.iter().map(|(key, value)| (key.clone(), value.clone())));
    check(ask, &merged)
}

/// Keys of a check, without its question.
const CHECK_KEYS: &[&str] =
    &["interval", "timeout", "retries", "failures", "failure_threshold", "successes", "success_threshold", "delay", "initial_delay"];

fn check(ask: CheckMethod, table: &Map<String, Value>) -> Result<Check, Fault> {
    let time = |key: &str, default: u64| match table.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => units::millis_of(value).filter(|ms| *ms > 0).ok_or_else(|| no_time(key, value)).map_err(below(key)),
    };
    let count = |keys: &[&str], default: u32| match keys.iter().find_map(|key| Some((*key, table.get(*key)?))) {
        None => Ok(default),
        Some((key, value)) => whole(value)
            .and_then(|count| u32::try_from(count).ok())
            .filter(|count| (1..=1000).contains(count))
            .ok_or_else(|| message!("expected `{key}` as a number from 1 to 1000, found {found}", key, found = describe_value(value)))
            .map_err(below(key)),
    };
    let delay = ["delay", "initial_delay"].into_iter().find_map(|key| Some((key, table.get(key)?)));
    Ok(Check {
        method: ask,
        interval_ms: time("interval", INTERVAL_MS)?,
        timeout_ms: time("timeout", TIMEOUT_MS)?,
        failures: count(&["retries", "failures", "failure_threshold"], RETRIES)?,
        successes: count(&["successes", "success_threshold"], 1)?,
        delay_ms: delay.map(millis).transpose()?.unwrap_or(0),
    })
}

fn millis((key, value): (&str, &Value)) -> Result<u64, Fault> {
    units::millis_of(value).ok_or_else(|| no_time(key, value)).map_err(below(key))
}

/// Returns a probe of which only the question counts.
fn request_only(probe: HttpProbe) -> Result<HttpProbe, String> {
    known_address(&probe.host)?;
    Ok(HttpProbe { interval_ms: 0, timeout_ms: 0, ..probe })
}

fn known_address(host: &str) -> Result<(), String> {
    let known = addresses(host).is_some();
    known.then_some(()).ok_or_else(|| message!("\"{host}\" would need a DNS lookup; use an address or \"localhost\"", host))
}

/// Returns the words of a command: a list is the arguments; a text with a blank is for the shell,
/// as for `script`.
fn command(value: &Value) -> Result<Vec<String>, String> {
    let bad = || message!("expected `command` as a string or a list of strings, found {found}", found = describe_value(value));
    let words: Vec<String> = match value {
        Value::String(text) if text.trim().contains(char::is_whitespace) => vec!["sh".into(), "-c".into(), text.clone()],
        Value::String(text) => vec![text.trim().to_owned()],
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<_>>().ok_or_else(bad)?,
        _ => return Err(bad()),
    };
    if words.first().is_none_or(String::is_empty) { Err(bad()) } else { Ok(words) }
}

fn grace(table: &Map<String, Value>) -> Result<Option<u64>, Fault> {
    let given = ["grace", "start_period"].into_iter().find_map(|key| Some((key, table.get(key)?)));
    given.map(millis).transpose()
}

fn action(table: &Map<String, Value>) -> Result<Action, Fault> {
    match table.get("action").map(|value| (value, value.as_str())) {
        None | Some((_, Some("restart"))) => Ok(Action::Restart),
        Some((_, Some("reload"))) => Ok(Action::Reload),
        Some((_, Some("none"))) => Ok(Action::None),
        Some((value, word)) => {
            let near = meant(word.unwrap_or_default(), &["restart", "reload", "none"]);
            let found = describe_value(value);
            Err(Fault::from(message!("expected `action` as \"restart\", \"reload\" or \"none\", found {found}{near}", found, near))
                .below("action"))
        }
    }
}

/// Reads an amount in bytes, or a part of the available amount; 0 is no limit.
fn amount(value: &Value) -> Result<Option<MemoryAmount>, String> {
    let bad = || message!("expected a size such as \"200M\" or \"50%\", found {found}", found = describe_value(value));
    if let Some(percent) = value.as_str().and_then(units::percent) {
        return share(percent).map(|share| Some(MemoryAmount::Share(share))).ok_or_else(bad);
    }
    Ok(Some(units::bytes_of(value).ok_or_else(bad)?).filter(|bytes| *bytes > 0).map(MemoryAmount::Bytes))
}

/// Returns the hundredths of a percent.
fn share(percent: f64) -> Option<u32> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
    (percent > 0.0 && percent <= 100.0).then(|| ((percent * 100.0).round() as u32).max(1))
}

fn cpu(given: &Map<String, Value>) -> Result<Option<CpuLimit>, String> {
    let percent = given.get("max_cpu").and_then(whole).and_then(|percent| u32::try_from(percent).ok()).filter(|percent| *percent > 0);
    let window = given.get("max_cpu_window");
    let window_ms = window.and_then(Value::as_u64).unwrap_or(WINDOW_MS);
    if window_ms < 1000 {
        return Err(message!("`max_cpu_window` must be at least 1000 ms: a shorter period cannot measure CPU usage"));
    }
    let of_machine = given.get("max_cpu_unit").and_then(Value::as_str) == Some("machine");
    Ok(percent.map(|percent| CpuLimit { percent, of_machine, window_ms }))
}

/// Returns the percent of a quota: `150` and `"150%"` are 1.5 cores.
fn quota(value: &Value) -> Result<Option<u32>, String> {
    let number = match value {
        Value::String(text) => units::whole_percent(text),
        value => whole(value).and_then(|percent| u32::try_from(percent).ok()),
    };
    let percent = number.filter(|percent| *percent <= 1_000_000);
    percent
        .map(|percent| (percent > 0).then_some(percent))
        .ok_or_else(|| message!("expected percent such as 150 or \"150%\", found {found}", found = describe_value(value)))
}

/// Reads `error: {error_threshold, restart_on_error, window}`.
fn errors(table: &Map<String, Value>) -> Result<ErrorLimit, Fault> {
    known_keys(table, &["error_threshold", "restart_on_error", "window"])?;
    let threshold = match table.get("error_threshold") {
        None => ERRORS,
        Some(value) => whole(value)
            .and_then(|count| u32::try_from(count).ok())
            .filter(|count| *count > 0)
            .ok_or_else(|| message!("expected `error_threshold` as a number from 1, found {found}", found = describe_value(value)))
            .map_err(below("error_threshold"))?,
    };
    let window_ms = match table.get("window") {
        None => WINDOW_MS,
        Some(value) => units::millis_of(value).filter(|ms| *ms > 0).ok_or_else(|| no_time("window", value)).map_err(below("window"))?,
    };
    let restart = match table.get("restart_on_error") {
        None => false,
        Some(Value::Bool(restart)) => *restart,
        Some(value) => {
            let message = message!("expected `restart_on_error` as true or false, found {found}", found = describe_value(value));
            return Err(Fault::from(message).below("restart_on_error"));
        }
    };
    Ok(ErrorLimit { threshold, window_ms, restart })
}

/// Reads `restart_budget: {n, window}`.
pub(super) fn budget(value: &Value) -> Result<Option<RestartBudget>, Fault> {
    let Value::Object(table) = value else { return Err(message!("expected a table, found {found}", found = describe_value(value)).into()) };
    known_keys(table, &["n", "window"])?;
    let n = table.get("n").and_then(whole).and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= 10_000);
    let n = n.ok_or_else(|| message!("expected `n` as a number from 0 to 10000")).map_err(below("n"))?;
    let window = table.get("window").ok_or_else(|| message!("expected a `window` such as \"10m\""))?;
    let window_ms = units::millis_of(window).filter(|ms| *ms > 0).ok_or_else(|| no_time("window", window)).map_err(below("window"))?;
    Ok(Some(RestartBudget { n, window_ms }))
}
