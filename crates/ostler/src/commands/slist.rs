//! `slist`, `sysinfos`: metrics of the machine.

use serde_json::{Map, Value};

use super::table::host;
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::{inspect, json};

/// Prints PM2's map of metrics.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let metrics = host(cx)?.map_or_else(Map::new, |report| report.metrics());
    if call.has("json") {
        json(&mut cx.out, &metrics);
    } else if call.has("tree") {
        cx.out.line(tree(&metrics).trim_end_matches('\n'));
    } else {
        // As in PM2, without an end of line.
        cx.out.data(inspect(&Value::Object(metrics)).as_bytes());
    }
    Ok(Status::Ok)
}

/// Formats each metric as a line, with its parts below it.
fn tree(metrics: &Map<String, Value>) -> String {
    let mut out = String::new();
    for (index, (name, parts)) in metrics.iter().enumerate() {
        let last = index + 1 == metrics.len();
        out.push_str(&format!("{} {name}\n", if last { "└─" } else { "├─" }));
        let parts: Vec<(&String, &Value)> = parts.as_object().into_iter().flatten().collect();
        for (at, (key, value)) in parts.iter().enumerate() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let branch = if at + 1 == parts.len() { "└─" } else { "├─" };
            out.push_str(&format!("{}  {branch} {key}: {text}\n", if last { " " } else { "│" }));
        }
    }
    out
}
