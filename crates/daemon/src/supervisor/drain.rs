//! Letting a process finish what it does.
//!
//! A Node process with our preload says `Connection: close` to its clients, closes what rests, and tells us when nobody is connected any
//! more. Without the preload a cluster worker is told to disconnect in Node's own way: it closes its servers, finishes, and ends.
//! A process with a shard of its own (`crate::sockets`) first has to empty it.
//!
//! WebSockets, streams of events and the like end when the app ends them. Once nothing else is left the preload says that the process has
//! finished, and the app gets its polite signal: it can close them, and its clients come back to those that serve. An app that does not hear
//! that signal would be gone at once: there they have `kill_timeout` first.

use std::collections::BTreeMap;

use ostler_core::app::ExecMode;
use ostler_core::lifecycle::{Event, Notice, Policy, State, Wanted};
use ostler_core::serving::Scheduling;
use ostler_proto::control::{Progress, Response};
use serde_json::{Map, Value, json};

use crate::control::Control;
use crate::engine::Request;
use crate::store::Role;

/// `cmd` of the messages between us and the preload. Node keeps what begins with `NODE_` from the app.
pub(crate) const PRELOAD_COMMAND: &str = "NODE_OSTLER";

/// A kept connection that rests for so long during a drain is closed. A client that has just had its answer asks again sooner, and is
/// told to close then.
const IDLE_MS: u64 = 500;

/// Processes with our preload that finish what they do, by slot.
#[derive(Debug, Default)]
pub(crate) struct Drains(BTreeMap<u32, Open>);

/// What such a process last said.
#[derive(Clone, Copy, Debug)]
struct Open {
    inc: u32,
    /// None: it has not answered yet.
    requests: Option<u32>,
}

/// The order to a preload.
fn drain_message(policy: &Policy, stop_listening: bool) -> Value {
    let mut message = json!({
        "cmd": PRELOAD_COMMAND, "act": "drain", "stop_listening": stop_listening, "idle_ms": IDLE_MS, "lasting_ms": policy.kill_timeout_ms,
    });
    if !policy.shutdown_with_message {
        message["signal"] = ostler_sys::signal::name(policy.kill_signal).into();
    }
    message
}

impl Control {
    /// It gets nothing new any more: it is to finish what it has.
    pub(crate) fn finish_requests(&mut self, id: u32, inc: u32) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let spec = slot.spec();
        let cluster = spec.mode == ExecMode::Cluster;
        // Out of the rotation it gets nothing new; the app's own `server.close` is left to the app.
        let by_turns = cluster && spec.scheduling == Scheduling::RoundRobin;
        let message = match (&slot.ipc, slot.preloaded) {
            (None, _) => None,
            (Some(_), true) => Some(drain_message(&slot.policy, !by_turns)),
            (Some(_), false) if cluster && (spec.runs_in_node() || spec.runs_in_deno()) => {
                Some(json!({"cmd": "NODE_CLUSTER", "act": "disconnect"}))
            }
            (Some(_), false) => None,
        };
        let preloaded = slot.preloaded;
        match message {
            Some(message) => self.ctx.send(id, &message, None),
            None => return self.feed(id, Event::Drained { inc }),
        }
        if preloaded {
            self.drains.0.insert(id, Open { inc, requests: None });
        } else {
            // It finishes in its own way, and says nothing.
            self.extend_drain(id, inc);
        }
    }

    /// It has all its time from now on.
    fn extend_drain(&mut self, id: u32, inc: u32) {
        let drain_ms = self.ctx.slots.get(id).and_then(|slot| slot.policy.drain_timeout_ms).unwrap_or(0);
        self.feed(id, Event::Extend { inc, until_ms: self.ctx.now.mono_ms.saturating_add(drain_ms) });
    }

    /// Its time to finish is over, or its time to end: what is still under way there is cut, unless the app finishes it now.
    pub(super) fn tell_unfinished(&mut self, id: u32, notice: &Notice) {
        let open = self.drains.0.remove(&id);
        let Some(slot) = self.ctx.slots.get(id) else { return };
        let (drain_ms, kill_ms) = (slot.policy.drain_timeout_ms.unwrap_or(0), slot.policy.kill_timeout_ms);
        let gently = slot.role == Role::Retiring || slot.instance.wanted != Wanted::Up;
        let told = match (notice, open) {
            (Notice::DrainTimeout, Some(Open { requests: Some(0), .. })) => return,
            (Notice::DrainTimeout, Some(Open { requests: Some(requests), .. })) => {
                let were = if requests == 1 { "request was" } else { "requests were" };
                (requests, format!("{requests} {were} still under way after drain_timeout ({drain_ms} ms)"))
            }
            (Notice::DrainTimeout, Some(Open { requests: None, .. })) => (0, "the old process does not answer, it is ended".to_owned()),
            (Notice::KillTimeout, _) if gently && slot.policy.drains_after_signal => {
                (1, format!("the old process did not finish within drain_timeout ({} ms) and was killed", drain_ms.max(kill_ms)))
            }
            _ => return,
        };
        let (pm_id, name, (cut, text)) = (slot.pm_id, slot.spec().name.clone(), told);
        self.ctx.log.error(format_args!("App [{name}:{pm_id}] {text}"));
        let warning = format!("[{name}]({pm_id}) {text}");
        self.ctx.request(Request::Cut { id, requests: cut, warning: warning.clone() });
        let warning = Progress::Warning(warning);
        for job in self.jobs.iter().filter(|job| job.waiting.contains_key(&id)) {
            self.ctx.reply(job.client, job.request, Response::Progress(warning.clone()));
        }
    }

    /// What the preload says.
    pub(crate) fn hear_preload(&mut self, id: u32, message: &Map<String, Value>) {
        let Some(slot) = self.ctx.slots.get(id) else { return };
        if message.get("act").and_then(Value::as_str) == Some("runs") {
            return self.script_runs(id);
        }
        if message.get("act").and_then(Value::as_str) == Some("turns") {
            return self.hear_heart(id);
        }
        let act = message.get("act").and_then(Value::as_str);
        let State::Draining { inc, .. } = slot.instance.state else { return };
        let Some(open) = self.drains.0.get_mut(&id).filter(|open| open.inc == inc) else { return };
        match act {
            Some("drained") => {
                self.drains.0.remove(&id);
                self.feed(id, Event::Drained { inc });
            }
            Some("open") => {
                let requests = message.get("requests").and_then(Value::as_u64).unwrap_or(0);
                let is_first = open.requests.replace(u32::try_from(requests).unwrap_or(u32::MAX)).is_none();
                if is_first {
                    self.extend_drain(id, inc);
                }
            }
            _ => {}
        }
    }

    /// The slot is gone.
    pub(crate) fn forget_drain(&mut self, id: u32) {
        self.drains.0.remove(&id);
    }
}
