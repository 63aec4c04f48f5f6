//! Events in PM2's words, for subscribers of `pub.sock`.

use ostler_core::app::ExecMode;
use ostler_proto::event::{Event, EventCause, EventKind};
use ostler_proto::node::Message;
use ostler_proto::pm2::versioning;
use serde_json::{Map, Value, json};

use super::results::pm2_env;
use crate::engine::Ctx;
use crate::state::slots::Slot;

/// PM2's name for an event, and whether a user caused it.
type EventName = (&'static str, bool);

/// Returns the `process:event`s for an event, in PM2's order. If PM2 has one event for the exit and
/// one for the command, there are two. A client that calls `restartProcessId` and similar methods
/// reports the command itself, by `notifyByProcessId`.
fn event_names(what: &EventKind, cause: &EventCause) -> Vec<EventName> {
    let command = match cause {
        EventCause::User { command, .. } if !command.ends_with("ProcessId") => command.as_str(),
        _ => "",
    };
    let is = |words: &[&str]| words.iter().any(|word| command.starts_with(word));
    match what {
        EventKind::Launched { .. } | EventKind::Restarting { .. } => vec![],
        EventKind::Online { .. } if is(&["start", "prepare", "scale", "resurrect"]) => vec![("online", false), ("start", true)],
        EventKind::Online { .. } if is(&["restart"]) => vec![("online", false), ("restart", true)],
        // The app has to restart: two of its instances cannot run side by side.
        EventKind::Online { .. } if is(&["reload"]) => vec![("online", false), ("reload", true)],
        EventKind::Online { .. } => vec![("online", false)],
        EventKind::Replaced { .. } if command.is_empty() => vec![("online", false)],
        EventKind::Replaced { .. } => vec![("online", false), ("reload", true)],
        EventKind::Stopped if is(&["stop"]) => vec![("exit", false), ("stop", true)],
        EventKind::Stopped => vec![("exit", false)],
        EventKind::Deleted => vec![("delete", true)],
        what => what.pm2_word().map(|word| (word, false)).into_iter().collect(),
    }
}

/// Returns the `process:event`s of an event.
pub(super) fn of_event(ctx: &Ctx, event: &Event) -> Vec<Value> {
    let Some(id) = event.id else { return Vec::new() };
    let words = event_names(&event.kind, &event.cause);
    if words.is_empty() {
        return Vec::new();
    }
    let mut process = match ctx.state.slots.serving().find(|slot| slot.durable.pm_id == id) {
        Some(slot) => process(ctx, slot),
        // The instance is no longer in the list.
        None => Map::from_iter([("pm_id".into(), id.into()), ("name".into(), event.app.clone().into())]),
    };
    if let Some(status) = event.after.clone() {
        process.insert("status".into(), status.into());
    }
    let payload = |(word, manually): EventName| json!({ "event": word, "manually": manually, "process": process, "at": event.at_ms });
    words.into_iter().map(payload).collect()
}

/// Returns the attributes of an instance, without its environment.
fn process(ctx: &Ctx, slot: &Slot) -> Map<String, Value> {
    let mut process = pm2_env(&slot.detail(&ctx.io.settings));
    process.shift_remove("env");
    process
}

/// Returns the `process:event` for an action that a client reports.
pub(super) fn of_client(ctx: &Ctx, slot: &Slot, action: &str, is_manual: bool) -> Value {
    json!({ "event": action, "manually": is_manual, "process": process(ctx, slot), "at": ctx.now.wall_ms })
}

/// Returns the sender of a message as the daemon knows it. The app cannot change it.
fn sender(slot: &Slot) -> Value {
    let (spec, tree) = (slot.spec(), slot.durable.learned.working_tree.as_deref());
    let mut sender = json!({ "pm_id": slot.durable.pm_id, "name": spec.name, "namespace": spec.namespace });
    match (spec.mode, tree) {
        (ExecMode::Cluster, tree) => sender["rev"] = tree.map(|tree| tree.revision.as_str()).into(),
        (ExecMode::Fork, Some(tree)) => sender["versioning"] = versioning(tree),
        (ExecMode::Fork, None) => {}
    }
    sender
}

/// Returns true for topics that belong to the manager; apps cannot publish on them.
fn is_reserved(topic: &str) -> bool {
    matches!(topic, "process:event" | "log:PM2" | "log:out" | "log:err") || topic.starts_with("pm2:")
}

/// Returns topic and payload of an app's message, or `None` if the message is not for the bus.
pub(super) fn of_message(slot: &Slot, message: &Message, at_ms: u64) -> Option<(String, Value)> {
    match message {
        Message::Typed { topic, .. } if is_reserved(topic) || topic.starts_with("axm:option:") => None,
        Message::Typed { topic, data } => Some((topic.clone(), json!({ "at": at_ms, "data": data, "process": sender(slot) }))),
        Message::Ready => Some(("process:msg".into(), json!({ "at": at_ms, "raw": "ready", "process": sender(slot) }))),
        Message::Raw(raw) => Some(("process:msg".into(), json!({ "at": at_ms, "raw": raw, "process": sender(slot) }))),
        Message::NodeVersion(_) | Message::Metrics(_) | Message::Action(_) | Message::Options(_) | Message::Internal(_) => None,
    }
}

/// Returns the event for a line of the daemon's own log.
pub(super) fn of_log(line: &str, at_ms: u64) -> Value {
    json!({ "process": { "pm_id": "PM2", "name": "PM2", "rev": null }, "at": at_ms, "data": format!("{line}\n") })
}

/// Returns the event for the daemon's exit with all apps, caused by a signal or a client.
pub(super) fn of_end(is_signalled: bool) -> Value {
    let how = if is_signalled { "by SIGNAL" } else { "via CLI" };
    json!({ "status": "killed", "msg": format!("pm2 has been killed {how}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::lifecycle::{PolicyName, ProcessEnding};

    #[test]
    fn events_use_the_names_of_pm2() {
        let user = |command: &str| EventCause::User { command: command.into(), uid: 0, pid: 1, on_behalf_of: None };
        let policy = || EventCause::policy(PolicyName::Autorestart, None);
        let exit = EventKind::Exit { pid: 7, ending: ProcessEnding::Code(1), uptime_ms: 5 };
        for (what, cause, expected) in [
            (EventKind::Online { pid: 7 }, user("prepare"), vec![("online", false), ("start", true)]),
            (EventKind::Online { pid: 7 }, user("restart"), vec![("online", false), ("restart", true)]),
            (EventKind::Online { pid: 7 }, user("reload"), vec![("online", false), ("reload", true)]),
            (EventKind::Replaced { pid: 8 }, user("reload"), vec![("online", false), ("reload", true)]),
            // PM2's clients report these commands themselves.
            (EventKind::Online { pid: 7 }, user("startProcessId"), vec![("online", false)]),
            (EventKind::Online { pid: 7 }, user("restartProcessId"), vec![("online", false)]),
            (EventKind::Online { pid: 7 }, user("softReloadProcessId"), vec![("online", false)]),
            (EventKind::Replaced { pid: 8 }, user("reloadProcessId"), vec![("online", false)]),
            (EventKind::Stopped, user("stopProcessId"), vec![("exit", false)]),
            (EventKind::Deleted, user("deleteProcessId"), vec![("delete", true)]),
            (EventKind::Online { pid: 7 }, policy(), vec![("online", false)]),
            (exit, policy(), vec![("exit", false)]),
            (EventKind::Stopped, user("stop"), vec![("exit", false), ("stop", true)]),
            (EventKind::Stopped, policy(), vec![("exit", false)]),
            (EventKind::Errored { unstable: 16 }, policy(), vec![("restart overlimit", false)]),
            (EventKind::Deleted, user("delete"), vec![("delete", true)]),
            (EventKind::Launched { pid: 7 }, user("start"), vec![]),
            (EventKind::Draining, user("reload"), vec![]),
        ] {
            assert_eq!(event_names(&what, &cause), expected, "{what:?} by {cause:?}");
        }
    }

    #[test]
    fn apps_cannot_publish_reserved_topics() {
        for topic in ["process:event", "pm2:kill", "log:PM2", "log:out", "log:err"] {
            assert!(is_reserved(topic), "{topic}");
        }
        assert!(!is_reserved("process:exception") && !is_reserved("axm:reply") && !is_reserved("my:topic"));
    }
}
