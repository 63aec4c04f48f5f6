//! Node's cluster protocol: the messages for every connection, without a JSON tree.
//!
//! ```text
//! → {"cmd":"NODE_HANDLE","type":"net.Native",
//!    "msg":{"cmd":"NODE_CLUSTER","act":"newconn","key":"null:3000:4","seq":7}}\n  + descriptor
//! ← {"cmd":"NODE_HANDLE_ACK"}\n
//! ← {"cmd":"NODE_CLUSTER","ack":7,"accepted":true,"seq":3}\n
//! ```

use serde::Deserialize;

/// Length that all of these lines stay below.
const MAX_BYTES: usize = 256;

/// A worker's answer about a connection that was handed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerAnswer {
    /// The descriptor has arrived; the outcome follows.
    Received,
    /// The message came without its descriptor.
    NotReceived,
    /// The worker has accepted or rejected the connection.
    Connection {
        /// Number of the message that carried the connection.
        seq: u64,
        /// Whether the worker serves it.
        accepted: bool,
    },
}

#[derive(Deserialize)]
struct Line<'a> {
    cmd: &'a str,
    ack: Option<u64>,
    accepted: Option<bool>,
}

/// Returns the answer in a line that concerns a connection. Returns `None` for every other line,
/// however malformed.
pub fn answer(line: &[u8]) -> Option<WorkerAnswer> {
    match line {
        br#"{"cmd":"NODE_HANDLE_ACK"}"# => return Some(WorkerAnswer::Received),
        br#"{"cmd":"NODE_HANDLE_NACK"}"# => return Some(WorkerAnswer::NotReceived),
        // All other lines take the general path.
        _ if line.len() > MAX_BYTES || line.first() != Some(&b'{') => return None,
        _ => {}
    }
    match serde_json::from_slice(line).ok()? {
        Line { cmd: "NODE_CLUSTER", ack: Some(seq), accepted: Some(accepted) } => Some(WorkerAnswer::Connection { seq, accepted }),
        Line { cmd: "NODE_HANDLE_ACK", .. } => Some(WorkerAnswer::Received),
        Line { cmd: "NODE_HANDLE_NACK", .. } => Some(WorkerAnswer::NotReceived),
        _ => None,
    }
}

/// Returns the start of the message that hands a connection to the listener `key`, up to its
/// number: see [`finish_connection`].
pub fn begin_connection(key: &str) -> Vec<u8> {
    let key = serde_json::to_string(key).expect("text is always JSON");
    format!(r#"{{"cmd":"NODE_HANDLE","type":"net.Native","msg":{{"cmd":"NODE_CLUSTER","act":"newconn","key":{key},"seq":"#).into_bytes()
}

/// Appends the number and the end of that message.
pub fn finish_connection(line: &mut Vec<u8>, seq: u64) {
    use std::io::Write;
    writeln!(line, "{seq}}}}}").expect("memory takes what is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_workers_are_recognized() {
        for (line, seen) in [
            (r#"{"cmd":"NODE_HANDLE_ACK"}"#, Some(WorkerAnswer::Received)),
            (r#"{"cmd":"NODE_HANDLE_NACK"}"#, Some(WorkerAnswer::NotReceived)),
            (r#"{ "x": 1, "cmd": "NODE_HANDLE_NACK" }"#, Some(WorkerAnswer::NotReceived)),
            (r#"{"cmd":"NODE_CLUSTER","ack":7,"accepted":true,"seq":3}"#, Some(WorkerAnswer::Connection { seq: 7, accepted: true })),
            (
                r#"{"seq":3,"accepted":false,"ack":9007199254740991,"cmd":"NODE_CLUSTER"}"#,
                Some(WorkerAnswer::Connection { seq: 9007199254740991, accepted: false }),
            ),
            (r#"{"cmd":"NODE_CLUSTER","act":"close","key":"x","seq":3}"#, None),
            (r#"{"cmd":"NODE_CLUSTER","ack":-7,"accepted":true}"#, None),
            (r#"{"cmd":"NODE_CLUSTER","ack":"7","accepted":1}"#, None),
            (r#"{"type":"x","data":{"cmd":"NODE_HANDLE_ACK"}}"#, None),
            (r#"{"cmd":["NODE_HANDLE_ACK"]}"#, None),
            (r#"{"cmd":"NODE_CLUSTER","ack":7,"accepted":true"#, None),
            (r#""ready""#, None),
            ("", None),
            ("\u{2}{}", None),
        ] {
            assert_eq!(answer(line.as_bytes()), seen, "{line}");
        }
    }

    #[test]
    fn connection_message_is_one_json_line() {
        let mut line = begin_connection("a\"b:\u{e9}\n");
        finish_connection(&mut line, 12);
        assert_eq!(line.pop(), Some(b'\n'));
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"cmd": "NODE_HANDLE", "type": "net.Native", "msg": {"cmd": "NODE_CLUSTER", "act": "newconn", "key": "a\"b:\u{e9}\n", "seq": 12}})
        );
    }
}
