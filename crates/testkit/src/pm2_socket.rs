//! PM2's own socket (`rpc.sock`): the list without a PM2 command, which would start Node and load
//! hundreds of modules.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::listing::ListedApp;

/// First byte of a frame: version 1, two arguments.
const TWO_ARGUMENTS: u8 = 0x12;

/// Longest argument of an answer, in bytes.
const LONGEST: u32 = 64 << 20;

/// Time limit for an answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Returns the entries of the list, by id, as the daemon of this home sends them; `None` without a
/// daemon. PM2 and ostler have this socket. During a reload, PM2 also sends the replaced workers,
/// whose `pm_id` is a text.
pub fn list_over_rpc(home: &Path) -> Option<Vec<ListedApp>> {
    let mut stream = UnixStream::connect(home.join("rpc.sock")).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    let request = json!({"type": "call", "method": "getMonitorData", "args": [{}]});
    stream.write_all(&frame(&[&format!("j:{request}"), "s:1:1"])).ok()?;
    let answer = first_argument(&mut stream)?;
    let answer: Value = serde_json::from_slice(answer.strip_prefix(b"j:")?).ok()?;
    let mut list: Vec<ListedApp> = answer["args"][0].as_array()?.iter().cloned().map(ListedApp).collect();
    list.sort_by_key(|item| item.0["pm_id"].as_u64().unwrap_or(u64::MAX));
    Some(list)
}

/// Returns the frame of two arguments.
fn frame(arguments: &[&str; 2]) -> Vec<u8> {
    let mut frame = vec![TWO_ARGUMENTS];
    for argument in arguments {
        let length = u32::try_from(argument.len()).expect("a request is short");
        frame.extend(length.to_be_bytes());
        frame.extend(argument.as_bytes());
    }
    frame
}

/// Reads the first argument of the next frame. An answer may have any number of arguments.
fn first_argument(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).ok()?;
    let [_, length @ ..] = head;
    let length = u32::from_be_bytes(length);
    let mut argument = vec![0; usize::try_from(length).ok().filter(|_| length <= LONGEST)?];
    stream.read_exact(&mut argument).ok()?;
    Some(argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_lengths_before_arguments() {
        let bytes = frame(&["j:{}", "s:1:1"]);
        assert_eq!(bytes, b"\x12\0\0\0\x04j:{}\0\0\0\x05s:1:1");
        assert_eq!(first_argument(&mut bytes.as_slice()).as_deref(), Some(&b"j:{}"[..]));
        assert_eq!(first_argument(&mut &bytes[..7]), None);
        assert_eq!(first_argument(&mut &b"\x12\xff\xff\xff\xffj"[..]), None);
    }
}
