//! Log and pid files.

use ostler_core::app::{AppSpec, CombinedLog};
use serde_json::Value;

use super::Base;

/// Date format of `time: true`.
const TIME_FORMAT: &str = "YYYY-MM-DDTHH:mm:ss";

pub(super) fn set(spec: &mut AppSpec, key: &str, value: &Value, base: &Base<'_>) -> Result<(), String> {
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
        // `time` wins whatever the order.
        "log_date_format" if logs.date_format.as_deref() == Some(TIME_FORMAT) && spec.given.get("time") == Some(&Value::Bool(true)) => {}
        "log_date_format" => logs.date_format = Some(text.to_owned()).filter(|format| !format.is_empty()),
        "time" if flag => logs.date_format = Some(TIME_FORMAT.to_owned()),
        "pid_file" => spec.pid_file = path(),
        _ => {}
    }
    Ok(())
}

/// `NULL` is PM2's word for no file.
fn log_path(text: &str, base: &Base<'_>) -> String {
    if text == "NULL" { "/dev/null".to_owned() } else { base.path(text) }
}
