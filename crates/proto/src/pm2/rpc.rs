//! Requests and answers on `rpc.sock`: the methods, and the format of calls, results and errors.
//!
//! ```text
//! {"type":"call","method":"stopProcessId","args":[0]}
//!   →   {"args":[{"pid":0,"name":"api",…}]}
//! {"type":"call","method":"nope","args":[]}
//!   →   {"error":"method \"nope\" does not exist"}
//! {"type":"methods"}
//!   →   {"methods":{"ping":{"name":"ping","params":["env","cb"]},…}}
//! ```

use serde_json::{Map, Value, json};

use super::amp;

/// All methods of PM2's daemon with the names of their parameters, in PM2's order.
pub const METHODS: [(&str, &[&str]); 30] = [
    ("killMe", &[]),
    ("profileCPU", &[]),
    ("profileMEM", &[]),
    ("prepare", &["env", "cb"]),
    ("getMonitorData", &["env", "cb"]),
    ("getSystemData", &["env", "cb"]),
    ("startProcessId", &["id", "cb"]),
    ("stopProcessId", &["id", "cb"]),
    ("restartProcessId", &["opts", "cb"]),
    ("deleteProcessId", &["id", "cb"]),
    ("sendLineToStdin", &["packet", "cb"]),
    ("softReloadProcessId", &["opts", "cb"]),
    ("reloadProcessId", &["opts", "cb"]),
    ("duplicateProcessId", &["id", "cb"]),
    ("resetMetaProcessId", &["id", "cb"]),
    ("stopWatch", &["method", "value", "fn"]),
    ("startWatch", &["method", "value", "fn"]),
    ("toggleWatch", &["method", "value", "fn"]),
    ("notifyByProcessId", &["opts", "cb"]),
    ("notifyKillPM2", &[]),
    ("monitor", &["pm_id", "cb"]),
    ("unmonitor", &["pm_id", "cb"]),
    ("msgProcess", &["cmd", "cb"]),
    ("sendDataToProcessId", &["packet", "cb"]),
    ("sendSignalToProcessId", &["opts", "cb"]),
    ("sendSignalToProcessName", &["opts", "cb"]),
    ("ping", &["env", "cb"]),
    ("getVersion", &["env", "cb"]),
    ("getReport", &["arg", "cb"]),
    ("reloadLogs", &["opts", "cb"]),
];

/// Returns true if a method has a reply. PM2's client passes no callback for the others and throws
/// a `TypeError` on any reply, even an error.
pub fn has_reply(method: &str) -> bool {
    !matches!(method, "killMe" | "notifyKillPM2")
}

/// Request of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The client's number of the request, as it is on the wire. The answer repeats it.
    pub id: Vec<u8>,
    /// The requested call.
    pub call: Call,
}

/// Call of a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// List of the methods.
    Methods,
    /// A method, with its arguments.
    Method {
        /// Its name.
        name: String,
        /// Its arguments; any number of any kind.
        args: Vec<Value>,
    },
    /// An impossible call, with the error in PM2's words.
    Refused(String),
}

/// Reason why a frame is not a request. Close the connection.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The frame does not have two arguments.
    #[error("expected a request and its number, found {0} arguments")]
    Arguments(usize),
    /// The first argument is not JSON, or is nested deeper than 128 levels.
    #[error("the request is not JSON")]
    Malformed(#[source] serde_json::Error),
    /// The first argument is text or bytes.
    #[error("the request is not marked as JSON")]
    NoJson,
    /// Its number is empty: PM2's own reader would not find the end of the answer.
    #[error("the number of the request is empty")]
    NoNumber,
}

/// Returns the request in a frame.
///
/// # Errors
/// On an error, close the connection.
pub fn request(args: Vec<Vec<u8>>) -> Result<Request, RequestError> {
    let count = args.len();
    let Ok([request, id]) = <[Vec<u8>; 2]>::try_from(args) else { return Err(RequestError::Arguments(count)) };
    if id.is_empty() {
        return Err(RequestError::NoNumber);
    }
    let json = request.strip_prefix(b"j:").ok_or(RequestError::NoJson)?;
    let request: Value = serde_json::from_slice(json).map_err(RequestError::Malformed)?;
    Ok(Request { id, call: call(request) })
}

fn call(mut request: Value) -> Call {
    if request.get("type").and_then(Value::as_str) == Some("methods") {
        return Call::Methods;
    }
    let Some(name) = request.get("method").and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned) else {
        return Call::Refused(".method required".into());
    };
    if !METHODS.iter().any(|(known, _)| *known == name) {
        return Call::Refused(format!("method \"{name}\" does not exist"));
    }
    match request.get_mut("args").map(Value::take) {
        Some(Value::Array(args)) => Call::Method { name, args },
        _ if has_reply(&name) => Call::Refused(".args required".into()),
        _ => Call::Method { name, args: Vec::new() },
    }
}

/// Returns the answer to a call; `values` are JSON texts, used unchanged.
pub fn success(id: &[u8], values: &[&str]) -> Vec<u8> {
    let mut answer: Vec<&[u8]> = vec![b"j:{\"args\":["];
    for (at, value) in values.iter().enumerate() {
        answer.extend((at > 0).then_some(b",".as_slice()));
        answer.push(value.as_bytes());
    }
    answer.push(b"]}");
    amp::encode_parts(&[&answer, &[id]])
}

/// Returns the answer to a failed call.
pub fn failure(id: &[u8], message: &str) -> Vec<u8> {
    amp::encode(&[&amp::json(&json!({ "error": message, "stack": format!("Error: {message}") })), id])
}

/// Returns the answer to a request that is not a call.
pub fn refusal(id: &[u8], message: &str) -> Vec<u8> {
    amp::encode(&[&amp::json(&json!({ "error": message })), id])
}

/// Returns the answer to [`Call::Methods`].
pub fn methods(id: &[u8]) -> Vec<u8> {
    let methods: Map<String, Value> =
        METHODS.iter().map(|(name, params)| ((*name).to_owned(), json!({ "name": name, "params": params }))).collect();
    amp::encode(&[&amp::json(&json!({ "methods": methods })), id])
}

/// Returns a call as a client sends it.
pub fn invocation(id: &str, method: &str, args: &[Value]) -> Vec<u8> {
    amp::encode(&[&amp::json(&json!({ "type": "call", "method": method, "args": args })), &amp::text(id)])
}

/// Answer of a daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcResponse {
    /// Number of the request, as it is on the wire.
    pub id: Vec<u8>,
    /// The values, or the error in the daemon's words.
    pub result: Result<Vec<Value>, String>,
}

/// Returns the answer in a frame, or `None` if the frame is not an answer.
pub fn answer(args: Vec<Vec<u8>>) -> Option<RpcResponse> {
    let [answer, id] = <[Vec<u8>; 2]>::try_from(args).ok()?;
    let mut answer: Value = serde_json::from_slice(answer.strip_prefix(b"j:")?).ok()?;
    let mut take = |key: &str| answer.get_mut(key).map(Value::take).filter(|value| !value.is_null());
    let result = match (take("error"), take("args")) {
        (Some(error), _) => Err(error.as_str().map_or_else(|| error.to_string(), str::to_owned)),
        (None, Some(Value::Array(values))) => Ok(values),
        (None, _) => Ok(Vec::new()),
    };
    Some(RpcResponse { id, result })
}

/// Returns an event for a subscriber of `pub.sock`.
pub fn event(topic: &str, payload: &Value) -> Vec<u8> {
    amp::encode(&[&amp::text(topic), &amp::json(payload)])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(json: &str) -> Call {
        request(vec![format!("j:{json}").into_bytes(), b"s:1:1".to_vec()]).unwrap().call
    }

    #[test]
    fn invalid_call_is_refused_with_the_error_of_pm2() {
        let method = |name: &str, args: Vec<Value>| Call::Method { name: name.into(), args };
        assert_eq!(of(r#"{"type":"call","method":"ping","args":[{}]}"#), method("ping", vec![json!({})]));
        assert_eq!(of(r#"{"method":"ping","args":[]}"#), method("ping", vec![]), "the kind does not matter");
        assert_eq!(of(r#"{"type":"methods","method":"ping"}"#), Call::Methods);
        for none in ["{}", "null", "7", r#""x""#, "[]", r#"{"type":"call"}"#, r#"{"method":""}"#, r#"{"method":7}"#] {
            assert_eq!(of(none), Call::Refused(".method required".into()), "{none}");
        }
        assert_eq!(of(r#"{"method":"killMe"}"#), method("killMe", vec![]), "a method without a callback has no error reply either");
        for none in [r#"{"method":"ping"}"#, r#"{"method":"ping","args":{}}"#, r#"{"method":"ping","args":null}"#] {
            assert_eq!(of(none), Call::Refused(".args required".into()), "{none}");
        }
        assert_eq!(of(r#"{"method":"__proto__","args":[]}"#), Call::Refused("method \"__proto__\" does not exist".into()));
    }

    #[test]
    fn malformed_request_is_an_error() {
        let bytes = |args: &[&str]| request(args.iter().map(|arg| arg.as_bytes().to_vec()).collect());
        for args in
            [&["j:{}"][..], &["j:{}", "s:1", "s:2"], &["s:{}", "s:1"], &["{}", "s:1"], &["j:{", "s:1"], &["j:{}", ""], &["j:", "s:1"]]
        {
            assert!(bytes(args).is_err(), "{args:?}");
        }
        let deep = format!("j:{}", "[".repeat(100_000));
        assert!(matches!(bytes(&[&deep, "s:1"]), Err(RequestError::Malformed(_))));
        assert_eq!(bytes(&["j:{}", "j:77"]).unwrap().id, b"j:77", "a number of any kind");
    }

    #[test]
    fn call_and_answers_round_trip() {
        let args = |frame: &[u8]| {
            let mut decoder = amp::Decoder::with_limit(1 << 20);
            decoder.push(frame);
            decoder.take().unwrap().unwrap()
        };
        let parsed = request(args(&invocation("9:1", "stopProcessId", &[json!(3)]))).unwrap();
        assert_eq!(parsed, Request { id: b"s:9:1".to_vec(), call: Call::Method { name: "stopProcessId".into(), args: vec![json!(3)] } });
        let answered = |frame: Vec<u8>| answer(args(&frame)).map(|answer| (answer.id, answer.result));
        assert_eq!(answered(success(&parsed.id, &["[1]", "null"])), Some((parsed.id.clone(), Ok(vec![json!([1]), json!(null)]))));
        assert_eq!(answered(failure(&parsed.id, "no")), Some((parsed.id.clone(), Err("no".into()))));
        assert_eq!(answered(amp::encode(&[b"s:x", b"s:1"])), None);
        assert_eq!(answered(amp::encode(&[b"j:{"])), None);
    }

    #[test]
    fn answers_equal_the_captured_bytes() {
        assert_eq!(success(b"s:12183:0", &["\"7.0.4\""]), b"\x12\0\0\0\x14j:{\"args\":[\"7.0.4\"]}\0\0\0\x09s:12183:0");
        assert_eq!(success(b"s:1:1", &[]), b"\x12\0\0\0\x0dj:{\"args\":[]}\0\0\0\x05s:1:1");
        let refused = b"\x12\0\0\0\x1ej:{\"error\":\".method required\"}\0\0\0\x051:1";
        assert_eq!(refusal(b"s:1:1", ".method required")[..35], refused[..35]);
    }
}
