//! Properties that hold for any bytes from a client, an app or a file. The tests and the fuzz
//! targets (`fuzz/`) share them.

use ostler_core::app::{AppSpec, CombinedLog};
use ostler_proto::control::{ClientFrame, DaemonFrame};
use ostler_proto::frame;
use ostler_proto::node::{self, IpcError};
use ostler_proto::pm2::amp::{Decoder, FrameError, encode, frames_length};
use ostler_proto::pm2::rpc::{self, Call, METHODS};
use ostler_proto::pm2::{self, Prepared};
use ostler_proto::sd_notify::{self, DATAGRAM_MAX};
use serde_json::Value;

/// Two limits for frames: nearly all frames exceed the first, and few exceed the second.
const LIMITS: [usize; 2] = [30, 4096];
/// Size of the header and lengths of a frame, which do not count towards its limit.
const HEADS: usize = 1 + 15 * 4;

type Frames = (Vec<Vec<Vec<u8>>>, Option<FrameError>);

/// Returns the frames of a stream that arrives in these pieces, and the error if it becomes
/// unreadable.
fn frames<'a>(limit: usize, pieces: impl Iterator<Item = &'a [u8]>) -> Frames {
    let (mut decoder, mut found) = (Decoder::with_limit(limit), Vec::new());
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.take() {
                Ok(Some(args)) => found.push(args),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
        assert!(decoder.buffered() <= limit + HEADS, "{} bytes are kept", decoder.buffered());
    }
    (found, None)
}

/// Checks a stream: the frames are the same wherever it is split, memory is bounded, and each frame
/// is a request, an answer, or an error.
pub(crate) fn stream(bytes: &[u8]) {
    let [_, found] = LIMITS.map(|limit| cut_anywhere(limit, bytes));
    for args in found {
        let _ = rpc::answer(args.clone());
        if let Ok(request) = rpc::request(args) {
            call(request);
        }
    }
}

fn cut_anywhere(limit: usize, bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let whole = frames(limit, std::iter::once(bytes));
    assert_eq!(frames(limit, bytes.chunks(1)), whole, "byte by byte");
    for at in 0..bytes.len().min(200) {
        let (one, other) = bytes.split_at(at);
        assert_eq!(frames(limit, [one, other].into_iter()), whole, "cut at {at}");
    }
    let length: usize = whole.0.iter().map(|args| 1 + args.iter().map(|arg| 4 + arg.len()).sum::<usize>()).sum();
    assert_eq!(frames_length(bytes, limit), whole.1.map_or(Ok(length), Err), "its whole frames");
    for args in &whole.0 {
        assert!(args.iter().map(Vec::len).sum::<usize>() <= limit, "longer than the limit");
        if args.iter().all(|arg| !arg.is_empty()) {
            let parts: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            assert_eq!(frames(limit, std::iter::once(encode(&parts).as_slice())), (vec![args.clone()], None), "written again");
        }
    }
    whole.0
}

/// Checks a request: only existing methods are called, and every answer can be read.
fn call(request: rpc::Request) {
    let id = request.id;
    let answers = match request.call {
        Call::Methods => vec![rpc::methods(&id)],
        Call::Refused(why) => vec![rpc::refusal(&id, &why), rpc::failure(&id, &why)],
        Call::Method { name, args } => {
            assert!(METHODS.iter().any(|(known, _)| *known == name), "{name}");
            args.iter().for_each(app);
            let written: Vec<String> = args.iter().map(Value::to_string).collect();
            vec![rpc::success(&id, &written.iter().map(String::as_str).collect::<Vec<_>>())]
        }
    };
    for frame in answers {
        let mut decoder = Decoder::with_limit(1 << 20);
        decoder.push(&frame);
        let answer = decoder.take().ok().flatten().and_then(rpc::answer);
        assert_eq!(answer.map(|answer| answer.id), Some(id.clone()));
    }
}

/// Checks an app to start or change: accepted values are safe for system calls.
pub(crate) fn app(value: &Value) {
    let Some(map) = value.as_object() else { return };
    if let Ok(Prepared { spec, vars }) = pm2::prepared(map, "/home", 4) {
        assert!((1..=10_000).contains(&spec.instances), "{} instances", spec.instances);
        is_usable(&spec);
        vars.iter().for_each(|(name, value)| is_variable(name, value));
    }
    if let Ok(Some(vars)) = pm2::restart_vars(map) {
        vars.iter().for_each(|(name, value)| is_variable(name, value));
    }
    if let Ok(Some(spec)) = pm2::reconfigured(
        &AppSpec { name: "app".into(), script: "/app".into(), cwd: "/".into(), ..AppSpec::default() },
        &serde_json::Map::new(),
        map,
    ) {
        is_usable(&spec);
    }
}

fn is_usable(spec: &AppSpec) {
    assert!(!spec.name.is_empty() && !spec.name.chars().any(char::is_control), "{:?}", spec.name);
    assert!(spec.script.starts_with('/') && spec.cwd.starts_with('/'));
    let log_file = match &spec.logs.log_file {
        Some(CombinedLog::Path(path)) => Some(path),
        _ => None,
    };
    let files = [&spec.logs.out_file, &spec.logs.error_file, &spec.pid_file, &spec.interpreter].into_iter().flatten().chain(log_file);
    for text in [&spec.script, &spec.cwd].into_iter().chain(&spec.args).chain(&spec.interpreter_args).chain(files) {
        assert!(!text.contains('\0'), "{text:?}");
    }
    spec.env.base.iter().chain(spec.env.profiles.values().flatten()).for_each(|(name, value)| is_variable(name, value));
}

fn is_variable(name: &str, value: &str) {
    assert!(!name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'), "{name:?}={value:?}");
}

/// Checks an app's output on its channel: the messages are the same wherever it is split, memory is
/// bounded, and each has a meaning.
pub(crate) fn ipc(bytes: &[u8]) {
    for limit in LIMITS {
        let whole = messages(limit, std::iter::once(bytes));
        assert_eq!(messages(limit, bytes.chunks(1)), whole, "byte by byte");
        for at in 0..bytes.len().min(200) {
            let (one, other) = bytes.split_at(at);
            assert_eq!(messages(limit, [one, other].into_iter()), whole, "cut at {at}");
        }
        for value in whole.into_iter().flatten() {
            let line = node::encode(&value);
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
            let _ = node::classify(value);
        }
    }
}

/// Returns the messages of a stream that arrives in these pieces; an error concerns a single line.
fn messages<'a>(limit: usize, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Result<Value, String>> {
    let (mut decoder, mut found) = (node::Decoder::with_limit(limit), Vec::new());
    for piece in pieces {
        decoder.push(piece);
        while let Some(message) = decoder.next() {
            found.push(message.map_err(|error| match error {
                IpcError::TooLong { .. } => "too long".to_owned(),
                IpcError::Malformed(_) => "malformed".to_owned(),
            }));
        }
    }
    found
}

/// Checks an sd_notify datagram: accepted values can be shown and used.
pub(crate) fn notify(bytes: &[u8]) {
    let said = sd_notify::parse(bytes);
    if bytes.len() > DATAGRAM_MAX {
        assert_eq!(said, sd_notify::Notification::default(), "too long");
    }
    assert!(said.main_pid.is_none_or(|pid| pid > 1), "{said:?}");
    if let Some(status) = &said.status {
        assert!(status.chars().count() <= 300 && !status.chars().any(char::is_control), "{status:?}");
    }
    if bytes.len() < DATAGRAM_MAX {
        assert_eq!(sd_notify::parse(&[bytes, b"\n"].concat()), said, "with a line end");
    }
}

/// Checks a stream of the native socket: the frames are the same wherever it is split, and each can
/// be written again.
pub(crate) fn native(bytes: &[u8]) {
    cut_native::<ClientFrame>(bytes);
    cut_native::<DaemonFrame>(bytes);
}

fn cut_native<T: serde::Serialize + serde::de::DeserializeOwned>(bytes: &[u8]) {
    let whole = native_frames::<T>(std::iter::once(bytes));
    assert_eq!(native_frames::<T>(bytes.chunks(1)), whole, "byte by byte");
    for at in 0..bytes.len().min(100) {
        let (one, other) = bytes.split_at(at);
        assert_eq!(native_frames::<T>([one, other].into_iter()), whole, "cut at {at}");
    }
    for frame in whole.0 {
        assert_eq!(native_frames::<T>(std::iter::once(frame.as_slice())), (vec![frame.clone()], false), "written again");
    }
}

/// Returns the frames of a stream that arrives in these pieces, in written form, and whether it
/// becomes unreadable.
fn native_frames<'a, T: serde::Serialize + serde::de::DeserializeOwned>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, bool) {
    let (mut decoder, mut found, mut pushed) = (frame::Decoder::default(), Vec::new(), 0);
    for piece in pieces {
        decoder.push(piece);
        pushed += piece.len();
        loop {
            match decoder.take::<T>() {
                Ok(Some(value)) => found.push(frame::encode(&value)),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
        assert!(decoder.buffered() <= pushed, "no length is believed before the bytes are there");
    }
    (found, false)
}

/// Checks the text of a saved list: each entry is accepted or rejected, and accepted values are
/// safe for system calls.
pub(crate) fn dump(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(dump) = pm2::parse_dump(&text) else { return };
    let all = serde_json::from_str::<Vec<Value>>(text.trim_start_matches('\u{feff}')).map_or(0, |list| list.len());
    assert_eq!(dump.entries.len() + dump.rejected.len(), all);
    dump.entries.iter().for_each(|entry| is_usable(&entry.spec));
}
