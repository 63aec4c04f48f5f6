//! Restarts and jobs at given times.
//!
//! ```text
//! cron_restart: '0 3 * * *'                     restarts the app; 0 is off
//! job: '0 3 * * *'                              runs it at these times and not between them
//! job: {schedule: '0 3 * * *', retries: 2, retry_delay: '30s', timeout: '10m', history: 50}
//! timezone, overlap, catch_up, run_on           for both
//! ```

use jiff::tz::TimeZone;
use ostler_core::app::{AppSpec, ExecMode};
use ostler_core::cron::{CronSpec, JobSpec, MOST_HISTORY, Overlap, RunOn, Schedule};
use ostler_core::message;
use ostler_core::text::units;
use serde_json::{Map, Value};

use super::listen::known_keys;
use crate::fault::{Fault, KeyFault, below};
use crate::keys::closest;
use crate::values::{describe_value, whole};

/// Attributes that [`finish`] reads together.
pub(super) const TOGETHER: &[&str] = &["cron_restart", "job", "timezone", "overlap", "catch_up", "run_on"];

/// Largest number of attempts of one run; more are treated as a mistake.
const MOST_RETRIES: u32 = 1000;

/// Reads them after everything else is known. Returns a warning, if any.
pub(super) fn finish(spec: &mut AppSpec) -> Result<Option<(&'static str, String)>, KeyFault> {
    spec.cron = None;
    let zone = spec.given.open().get("timezone").map(zone).transpose().map_err(|message| ("timezone", message.into()))?;
    let restart = spec.given.open().get("cron_restart").and_then(pattern_of).map(str::to_owned);
    let job = spec.given.open().get("job").filter(|job| **job != Value::Bool(false)).cloned();
    let (key, pattern, job) = match (restart, job) {
        (Some(_), Some(_)) => {
            return Err(("job", message!("cannot be combined with `cron_restart`: a job runs only at its scheduled times").into()));
        }
        (Some(pattern), None) => ("cron_restart", pattern, None),
        (None, Some(value)) => {
            let (pattern, job) = job_of(&value).map_err(|fault| ("job", fault))?;
            fits(spec).map_err(|message| ("job", message.into()))?;
            ("job", pattern, Some(job))
        }
        (None, None) => return Ok(idle(spec)),
    };
    let schedule = Schedule::parse(&pattern).map_err(|error| {
        let fault = Fault::from(message!("{pattern} is not a schedule: {error}", pattern = format!("{pattern:?}"), error));
        (key, if key == "job" { fault.below("schedule") } else { fault })
    })?;
    if job.is_some() {
        // A job starts first at its first scheduled time.
        spec.autostart = false;
        spec.mode = ExecMode::Fork;
    }
    let mut cron = match job {
        Some(job) => CronSpec::job(pattern, job),
        None => CronSpec::restarts(pattern),
    };
    let given = spec.given.open();
    let word = |key: &str| given.get(key).and_then(Value::as_str);
    cron.overlap = match word("overlap") {
        Some("skip") => Overlap::Skip,
        Some("queue") => Overlap::Queue,
        Some("kill") => Overlap::Kill,
        _ => cron.overlap,
    };
    cron.run_on = match word("run_on") {
        Some("one") => RunOn::One,
        Some("all") => RunOn::All,
        _ => cron.run_on,
    };
    cron.zone = zone;
    cron.catch_up = spec.given.is("catch_up", true);
    spec.cron = Some(Box::new(cron));
    let both = || message!("names both a day of the month and a weekday: as in PM2, both must match (in cron, one is enough)");
    Ok(schedule.restricts_both_days().then(|| (key, both())))
}

/// Returns the pattern; none if it is off.
fn pattern_of(value: &Value) -> Option<&str> {
    value.as_str().map(str::trim).filter(|pattern| !pattern.is_empty() && *pattern != "0")
}

/// Returns the warning about settings of a missing schedule.
fn idle(spec: &AppSpec) -> Option<(&'static str, String)> {
    // `cron_restart: 0` turns the schedule off temporarily; users leave the other settings in
    // place.
    let off = spec.given.open().contains_key("cron_restart") || spec.given.open().contains_key("job");
    let key = ["overlap", "catch_up", "run_on"].into_iter().find(|key| !off && spec.given.open().contains_key(*key))?;
    Some((key, message!("has no effect without `cron_restart` or `job`")))
}

/// Reads a name of the time zone database.
fn zone(value: &Value) -> Result<String, String> {
    let name = value.as_str().unwrap_or_default();
    if TimeZone::get(name).is_ok() {
        return Ok(name.to_owned());
    }
    let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    if known.is_empty() {
        return Err(message!(
            "unknown time zone {name}: this machine has no time zone database (/usr/share/zoneinfo); UTC always works",
            name = format!("{name:?}")
        ));
    }
    let near = closest(name, known.iter().map(String::as_str)).map(|near| message!(", did you mean \"{near}\"?", near));
    Err(message!(
        "unknown time zone {name}{near}",
        name = format!("{name:?}"),
        near = near.unwrap_or_else(|| message!("; expected a name such as \"Europe/Berlin\" or \"UTC\""))
    ))
}

fn job_of(value: &Value) -> Result<(String, JobSpec), Fault> {
    let table = match value {
        Value::String(pattern) => return Ok((pattern.clone(), JobSpec::default())),
        Value::Object(table) => table,
        other => {
            return Err(message!("expected a schedule or a table with `schedule`, found {found}", found = describe_value(other)).into());
        }
    };
    known_keys(table, &["schedule", "retries", "retry_delay", "timeout", "history"])?;
    let pattern = match table.get("schedule") {
        Some(Value::String(pattern)) => pattern.clone(),
        Some(other) => {
            let message = message!("expected `schedule` as a string such as \"0 3 * * *\", found {found}", found = describe_value(other));
            return Err(Fault::from(message).below("schedule"));
        }
        None => return Err(message!("expected `schedule`: the times at which it runs, such as \"0 3 * * *\"").into()),
    };
    let default = JobSpec::default();
    let job = JobSpec {
        retries: count(table, "retries", 0, MOST_RETRIES)?.unwrap_or(default.retries),
        retry_delay_ms: millis(table, "retry_delay")?.unwrap_or(default.retry_delay_ms),
        timeout_ms: millis(table, "timeout")?.filter(|ms| *ms > 0),
        history: count(table, "history", 1, MOST_HISTORY)?.unwrap_or(default.history),
    };
    Ok((pattern, job))
}

fn count(table: &Map<String, Value>, key: &str, least: u32, most: u32) -> Result<Option<u32>, Fault> {
    let Some(value) = table.get(key) else { return Ok(None) };
    let number = whole(value).and_then(|number| u32::try_from(number).ok()).filter(|number| (least..=most).contains(number));
    let bad =
        || message!("expected `{key}` as a number from {least} to {most}, found {found}", key, least, most, found = describe_value(value));
    number.map(Some).ok_or_else(bad).map_err(below(key))
}

fn millis(table: &Map<String, Value>, key: &str) -> Result<Option<u64>, Fault> {
    let Some(value) = table.get(key) else { return Ok(None) };
    let bad =
        || message!("expected `{key}` as milliseconds or a string such as \"10m\", found {found}", key, found = describe_value(value));
    units::millis_of(value).map(Some).ok_or_else(bad).map_err(below(key))
}

/// Checks that all settings are compatible with a job.
fn fits(spec: &AppSpec) -> Result<(), String> {
    let cluster = spec.given.open().get("exec_mode").and_then(Value::as_str).is_some_and(|mode| mode.starts_with("cluster"));
    if cluster {
        return Err(message!("cannot be in cluster mode: remove `exec_mode`"));
    }
    if spec.autoscale.is_some() {
        return Err(message!("cannot scale with the load: set `instances` to a number"));
    }
    Ok(())
}
