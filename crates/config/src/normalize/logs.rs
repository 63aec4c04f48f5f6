//! Log and pid files.

use ostler_core::app::{AppSpec, CombinedLog};
use ostler_core::logs::rotate::{KEYS, NO_BOUND, RotateSpec};
use ostler_core::message;
use serde_json::Value;

use super::AppContext;
use super::listen::known_keys;
use crate::fault::{Fault, below};
use crate::keys::closest;
use crate::values::describe_value;

/// Date format of `time: true`.
const TIME_FORMAT: &str = "YYYY-MM-DDTHH:mm:ss";

pub(super) fn set(spec: &mut AppSpec, key: &str, value: &Value, base: &AppContext<'_>) -> Result<(), Fault> {
    let logs = &mut spec.logs;
    let flag = value == &Value::Bool(true);
    let text = value.as_str().unwrap_or_default();
    let path = || if text.is_empty() { None } else { Some(log_path(text, base)) };
    match key {
        "out_file" => logs.out_file = path(),
        "error_file" => logs.error_file = path(),
        "log_file" => logs.log_file = if flag { Some(CombinedLog::Default) } else { path().map(CombinedLog::Path) },
        "merge_logs" => logs.merge_logs = flag,
        "disable_logs" => logs.disable_logs = flag,
        "log_type" => logs.json = text == "json",
        // `time` takes precedence in any order.
        "log_date_format" if logs.date_format.as_deref() == Some(TIME_FORMAT) && spec.given.is("time", true) => {}
        "log_date_format" => logs.date_format = Some(text.to_owned()).filter(|format| !format.is_empty()),
        "time" if flag => logs.date_format = Some(TIME_FORMAT.to_owned()),
        "log_rotate" => {
            let size = spec.given.open().get("max_log_size").and(spec.log_rotate.max_size);
            spec.log_rotate = rotation(value)?.into();
            spec.log_rotate.max_size = size.or(spec.log_rotate.max_size);
        }
        "max_log_size" => spec.log_rotate.max_size = Some(super::number(value)?).map(|bytes| if bytes == 0 { NO_BOUND } else { bytes }),
        "pid_file" => spec.pid_file = path(),
        _ => {}
    }
    Ok(())
}

fn rotation(value: &Value) -> Result<RotateSpec, Fault> {
    let mut rotate = RotateSpec::default();
    let Value::Object(table) = value else {
        rotate.enabled = Some(value == &Value::Bool(true));
        return Ok(rotate);
    };
    known_keys(table, KEYS)?;
    for (key, value) in table {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Null => continue,
            other => {
                return Err(Fault::from(message!(
                    "{key}: expected a string or a number, found {found}",
                    key,
                    found = describe_value(other)
                ))
                .below(key.as_str()));
            }
        };
        rotate.set(key, &text).map_err(|error| format!("{key}: {error}")).map_err(below(key.as_str()))?;
    }
    if table.contains_key("interval") && table.contains_key("cron") {
        return Err(message!("`interval` and `cron` cannot be combined").into());
    }
    if let Some(tz) = &rotate.tz {
        jiff::tz::TimeZone::get(tz).map_err(|_| Fault::from(format!("tz: {}", unknown_zone(tz))).below("tz"))?;
    }
    Ok(rotate)
}

/// Returns the message about a name that is no time zone.
fn unknown_zone(name: &str) -> String {
    let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    let near = closest(name, known.iter().map(String::as_str)).map(|near| message!(", did you mean \"{near}\"?", near));
    message!(
        "expected a time zone such as \"Europe/Berlin\", found {name}{near}",
        name = format!("{name:?}"),
        near = near.unwrap_or_default()
    )
}

/// Returns the path of a log; `NULL` is PM2's word for no file.
fn log_path(text: &str, base: &AppContext<'_>) -> String {
    if text == "NULL" { "/dev/null".to_owned() } else { base.path(text) }
}
