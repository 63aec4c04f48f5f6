//! Calls that send data or an action to an app over its channel.

use serde_json::{Value, json};

use super::plan::{CallError, CallPlan, require_instance};
use crate::engine::Ctx;
use crate::state::slots::Slot;

/// Plans `sendDataToProcessId`: the whole packet goes to the app.
pub(super) fn data(ctx: &Ctx, packet: &Value) -> Result<CallPlan, CallError> {
    let has = |key: &str| packet.get(key).is_some_and(|value| !value.is_null());
    if !has("id") || !has("data") || !has("topic") {
        return Err(CallError::Argument("ID, DATA or TOPIC field is missing"));
    }
    let id = packet.get("id").unwrap_or(&Value::Null);
    let slot = require_instance(ctx, id, "Process with ID <{}> unknown.")?;
    if !slot.has_channel() {
        return Err(CallError::Offline(format!("Process with ID <{}> offline.", slot.durable.pm_id)));
    }
    Ok(CallPlan::send(vec![slot.durable.id], packet.clone(), json!({ "success": true, "data": packet })))
}

/// Plans `msgProcess`: an action of one app, by its number, or of all that match a name.
pub(super) fn action(ctx: &Ctx, cmd: &Value) -> Result<CallPlan, CallError> {
    let action = cmd.get("msg").and_then(Value::as_str).unwrap_or_default();
    let has = |key: &str| cmd.get(key).is_some_and(|value| !value.is_null());
    let slots = match (cmd.get("id").filter(|id| !id.is_null()), cmd.get("name").and_then(Value::as_str)) {
        (Some(id), _) => {
            let slot = require_instance(ctx, id, "{} id unknown")?;
            if !slot.offers(action) {
                return Err(CallError::NoAction { action: action.to_owned(), app: slot.spec().name.clone() });
            }
            if !slot.has_channel() {
                return Err(CallError::Offline(format!("{} : id offline", slot.durable.pm_id)));
            }
            vec![slot.durable.id]
        }
        (None, Some(name)) => {
            let wanted = |slot: &&Slot| is_named(slot, name) && slot.has_channel() && slot.offers(action);
            ctx.state.slots.serving().filter(wanted).map(|slot| slot.durable.id).collect()
        }
        (None, None) => return Err(CallError::Argument("method requires name or id field")),
    };
    let message = if has("opts") || has("uuid") { cmd.clone() } else { action.into() };
    let result = json!({ "process_count": slots.len(), "success": true });
    Ok(CallPlan::send(slots, message, result))
}

/// Returns true for the app's name, its namespace, the file name of its script, and `all`.
fn is_named(slot: &Slot, name: &str) -> bool {
    let spec = slot.spec();
    let script = spec.script.rsplit('/').next().unwrap_or_default();
    name == "all" || [spec.name.as_str(), &spec.namespace, script].contains(&name)
}
