//! Messages between the daemon and its preload in a Node app, on the IPC channel of that app. Node
//! hides them from the app, because their `cmd` starts with `NODE_`.
//!
//! ```text
//! → {"cmd":"NODE_OSTLER","act":"drain","stop_listening":false,"idle_ms":500,
//!    "signal":"SIGINT","lasting_ms":1600}\n
//! ← {"cmd":"NODE_OSTLER","act":"open","requests":2,"lasting":1}\n
//! ← {"cmd":"NODE_OSTLER","act":"drained","lasting":1}\n
//! ← {"cmd":"NODE_OSTLER","act":"runs"}\n
//! ← {"cmd":"NODE_OSTLER","act":"turns"}\n
//! → {"cmd":"NODE_OSTLER","act":"profile","kind":"cpu","ms":10000,"call":7}\n
//! ← {"cmd":"NODE_OSTLER","act":"profiled","call":7,"file":"/tmp/ostler-1-2.cpuprofile"}\n
//! ← {"cmd":"NODE_OSTLER","act":"profiled","call":7,"error":"…"}\n
//! → {"cmd":"NODE_OSTLER","act":"reach","port":3000,"call":8}\n
//! ← {"cmd":"NODE_OSTLER","act":"reached","call":8,"path":"/tmp/ostler-way-x/socket"}\n
//! ← {"cmd":"NODE_OSTLER","act":"reached","call":8,"error":"…"}\n
//! → {"cmd":"NODE_OSTLER","act":"collect","for_ms":90000}\n
//! ← {"cmd":"NODE_OSTLER","act":"figures","figures":{"requests":12,"rate":3.5,"p95":0.012}}\n
//! ```

use serde_json::{Map, Value, json};

use crate::figures::Figures;

const COMMAND: &str = "NODE_OSTLER";

/// Message of the preload. Any app may send the same, so it counts only if the process was started
/// with the preload.
#[derive(Clone, Debug, PartialEq)]
pub enum FromPreload {
    /// The script was run.
    Runs,
    /// The event loop runs.
    Turns,
    /// Report during a drain: number of requests in progress.
    Open {
        /// Their number.
        requests: u32,
    },
    /// Only work that the app itself has to finish remains in progress.
    Drained,
    /// Measurements of its app.
    Figures(Box<Figures>),
    /// Answer to a request for a profile.
    Profiled {
        /// Number of the request.
        call: u64,
        /// The file, or the reason for the failure.
        file: Result<String, String>,
    },
    /// Answer to a request for a private socket to a server of the process.
    Reached {
        /// Number of the request.
        call: u64,
        /// The unix socket, or the reason for the failure.
        path: Result<String, String>,
    },
}

impl FromPreload {
    /// Returns the message, or `None` if it is not one of the preload's.
    pub fn of(message: &Map<String, Value>) -> Option<Self> {
        let text = |name| message.get(name).and_then(Value::as_str);
        if text("cmd") != Some(COMMAND) {
            return None;
        }
        match text("act")? {
            "runs" => Some(Self::Runs),
            "turns" => Some(Self::Turns),
            "open" => {
                let requests = message.get("requests").and_then(Value::as_u64).unwrap_or(0);
                Some(Self::Open { requests: u32::try_from(requests).unwrap_or(u32::MAX) })
            }
            "drained" => Some(Self::Drained),
            "figures" => Figures::of(message.get("figures")?).map(|figures| Self::Figures(Box::new(figures))),
            act @ ("profiled" | "reached") => {
                let why = || text("error").unwrap_or("gave no reason").to_owned();
                let call = message.get("call").and_then(Value::as_u64)?;
                let answer = |name| text(name).map(str::to_owned).ok_or_else(why);
                Some(match act {
                    "profiled" => Self::Profiled { call, file: answer("file") },
                    _ => Self::Reached { call, path: answer("path") },
                })
            }
            _ => None,
        }
    }
}

/// Request to finish the work in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Whether to close listening servers as well.
    pub stop_listening: bool,
    /// Idle time after which a keep-alive connection is closed.
    pub idle_ms: u64,
    /// Time for work that only the app can finish, if the app does not handle its signal.
    pub lasting_ms: u64,
    /// The stop signal; none if the app gets a message instead.
    pub signal: Option<String>,
}

impl Drain {
    /// Returns the message as it is sent.
    pub fn message(self) -> Value {
        let Self { stop_listening, idle_ms, lasting_ms, signal } = self;
        let mut message =
            json!({"cmd": COMMAND, "act": "drain", "stop_listening": stop_listening, "idle_ms": idle_ms, "lasting_ms": lasting_ms});
        if let Some(signal) = signal {
            message["signal"] = signal.into();
        }
        message
    }
}

/// Returns the request for a profile as it is sent.
pub fn profile(kind: &str, ms: u64, call: u64) -> Value {
    json!({"cmd": COMMAND, "act": "profile", "kind": kind, "ms": ms, "call": call})
}

/// Returns the request for a private socket to the process's server on this port, as it is sent.
pub fn reach(port: u16, call: u64) -> Value {
    json!({"cmd": COMMAND, "act": "reach", "port": port, "call": call})
}

/// Returns the request to measure for this time from now on, as it is sent.
pub fn collect(for_ms: u64) -> Value {
    json!({"cmd": COMMAND, "act": "collect", "for_ms": for_ms})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_preload_messages_are_recognized() {
        for (message, said) in [
            (json!({"cmd": "NODE_OSTLER", "act": "runs"}), Some(FromPreload::Runs)),
            (json!({"cmd": "NODE_OSTLER", "act": "turns"}), Some(FromPreload::Turns)),
            (json!({"cmd": "NODE_OSTLER", "act": "drained", "lasting": 1}), Some(FromPreload::Drained)),
            (json!({"cmd": "NODE_OSTLER", "act": "open", "requests": 2}), Some(FromPreload::Open { requests: 2 })),
            (json!({"cmd": "NODE_OSTLER", "act": "open", "requests": 1_u64 << 40}), Some(FromPreload::Open { requests: u32::MAX })),
            (json!({"cmd": "NODE_OSTLER", "act": "open", "requests": -1}), Some(FromPreload::Open { requests: 0 })),
            (
                json!({"cmd": "NODE_OSTLER", "act": "profiled", "call": 7, "file": "/x"}),
                Some(FromPreload::Profiled { call: 7, file: Ok("/x".into()) }),
            ),
            (
                json!({"cmd": "NODE_OSTLER", "act": "profiled", "call": 7, "error": "e"}),
                Some(FromPreload::Profiled { call: 7, file: Err("e".into()) }),
            ),
            (json!({"cmd": "NODE_OSTLER", "act": "profiled", "file": "/x"}), None),
            (
                json!({"cmd": "NODE_OSTLER", "act": "reached", "call": 8, "path": "/x"}),
                Some(FromPreload::Reached { call: 8, path: Ok("/x".into()) }),
            ),
            (
                json!({"cmd": "NODE_OSTLER", "act": "reached", "call": 8, "path": 7}),
                Some(FromPreload::Reached { call: 8, path: Err("gave no reason".into()) }),
            ),
            (json!({"cmd": "NODE_OSTLER", "act": "flies"}), None),
            (json!({"cmd": "NODE_OSTLER", "act": 1}), None),
            (json!({"cmd": "NODE_CLUSTER", "act": "drained"}), None),
            (json!({"act": "drained"}), None),
        ] {
            assert_eq!(FromPreload::of(message.as_object().unwrap()), said, "{message}");
        }
    }

    #[test]
    fn drain_message_has_a_signal_only_if_one_is_set() {
        let drain = Drain { stop_listening: true, idle_ms: 500, lasting_ms: 1600, signal: Some("SIGINT".into()) };
        let message = json!({
            "cmd": "NODE_OSTLER", "act": "drain", "stop_listening": true, "idle_ms": 500, "lasting_ms": 1600, "signal": "SIGINT",
        });
        assert_eq!(drain.clone().message(), message);
        assert_eq!(Drain { signal: None, ..drain }.message().get("signal"), None);
    }
}
