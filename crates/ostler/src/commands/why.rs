//! `why`: how and why an app ended.

use super::describe::{find, wall_ms};
use crate::cli::{Call, CliError, Status};
use crate::cx::Cx;
use crate::render::{json, why};

/// For each instance that matches: who ended it, when, how, and what it said last.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let details = find(cx, &call.targets)?;
    if call.has("json") {
        let list: Vec<_> = details
            .iter()
            .map(|detail| {
                serde_json::json!({
                    "id": detail.id,
                    "name": detail.spec.name,
                    "status": detail.instance.status(),
                    "restarts": detail.instance.counters.restarts,
                    "exits": detail.instance.exits,
                })
            })
            .collect();
        json(&mut cx.out, &list);
        return Ok(Status::Ok);
    }
    let now_ms = wall_ms();
    let texts: Vec<String> = details.iter().map(|detail| why(detail, now_ms, cx.out.paint())).collect();
    cx.out.line(texts.join("\n").trim_end_matches('\n'));
    Ok(Status::Ok)
}
