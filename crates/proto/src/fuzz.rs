//! Checks of the readers of this crate for any bytes from a client, an app or a file. The crate
//! `ostler-fuzzing` runs them; see `docs/fuzzing.md`.

use ostler_core::app::{AppSpec, CombinedLog};
use serde_json::Value;

use crate::control::{ClientFrame, DaemonFrame};
use crate::frame;
use crate::node::{self, IpcError};
use crate::pm2::amp::{Decoder, FrameError, encode, frames_length};
use crate::pm2::rpc::{self, Call, METHODS};
use crate::pm2::{self, LogAccount, LogPlaces, Packet, Prepared};
use crate::sd_notify::{self, DATAGRAM_MAX};

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
pub fn pm2_stream(bytes: &[u8]) {
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

/// Checks an app to start or change, as JSON: accepted values are safe for system calls.
pub fn pm2_app(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice(bytes) {
        app(&value);
    }
}

fn app(value: &Value) {
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
pub fn app_ipc(bytes: &[u8]) {
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
pub fn sd_notify(bytes: &[u8]) {
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
pub fn native_frames(bytes: &[u8]) {
    cut_native::<ClientFrame>(bytes);
    cut_native::<DaemonFrame>(bytes);
}

fn cut_native<T: serde::Serialize + serde::de::DeserializeOwned>(bytes: &[u8]) {
    let whole = split_native::<T>(std::iter::once(bytes));
    assert_eq!(split_native::<T>(bytes.chunks(1)), whole, "byte by byte");
    for at in 0..bytes.len().min(100) {
        let (one, other) = bytes.split_at(at);
        assert_eq!(split_native::<T>([one, other].into_iter()), whole, "cut at {at}");
    }
    for frame in whole.0 {
        assert_eq!(split_native::<T>(std::iter::once(frame.as_slice())), (vec![frame.clone()], false), "written again");
    }
}

/// Returns the frames of a stream that arrives in these pieces, in written form, and whether it
/// becomes unreadable.
fn split_native<'a, T: serde::Serialize + serde::de::DeserializeOwned>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, bool) {
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
pub fn dump_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(dump) = pm2::parse_dump(&text) else { return };
    let all = serde_json::from_str::<Vec<Value>>(text.trim_start_matches('\u{feff}')).map_or(0, |list| list.len());
    assert_eq!(dump.entries.len() + dump.rejected.len(), all);
    dump.entries.iter().for_each(|entry| is_usable(&entry.spec));
}

/// Checks packets of the log reader: whole ones can be written again, and the account of them is the
/// same after a copy.
pub fn log_packets(bytes: &[u8]) {
    let (mut rest, mut account, mut copy) = (bytes, LogAccount::default(), Vec::new());
    let mut position = 0;
    while let Ok(Some((packet, length))) = Packet::decode(rest) {
        let mut written = Vec::new();
        packet.encode(&mut written);
        assert_eq!(Packet::decode(&written), Ok(Some((packet.clone(), written.len()))), "written again");
        assert!(written.len() <= length, "numbers and contents without a meaning are left out");
        for cut in 0..length.min(60) {
            assert_eq!(Packet::decode(&rest[..cut]), Ok(None), "incomplete");
        }
        position += 10;
        account.note(position, &packet, &mut copy);
        rest = &rest[length..];
    }
    for delivered in [0, position / 2, position] {
        let places = LogPlaces::delivered(&copy, delivered);
        account.settle(delivered);
        // A copy of an account that never started has the time 0.
        let fresh = LogPlaces::delivered(&account.copy(), delivered);
        assert!(places.is_none() || places == fresh, "{places:?} {fresh:?}");
    }
    // The daemon's own memory may be damaged, too.
    let _ = LogPlaces::delivered(bytes, u64::MAX);
}
