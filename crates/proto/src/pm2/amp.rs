//! Frames of PM2's sockets (AMP): a byte with version and number of arguments, then each argument
//! after its length.
//!
//! ```text
//! 12 00 00 00 14 6a 3a 7b 22 61 72 67 73 22 3a 5b 22 37 2e 30 2e 34 22 5d 7d
//! │  └ length ─┘ j:{"args":["7.0.4"]}
//! └ version 1, two arguments
//! 00 00 00 09 73 3a 31 32 31 38 33 3a 30
//! └ length ─┘ s:12183:0
//! ```
//!
//! An argument is text (`s:`), JSON (`j:`), or unmarked bytes. All input is untrusted: it is either
//! a frame or an error of that one connection.

use serde::Serialize;

/// Version of the frames that we write. The version of received frames is ignored, as in PM2.
const VERSION: u8 = 1;
/// Maximum number of arguments in a frame: the number has four bits.
const MAX_ARGS: usize = 15;

/// Reason why the rest of a stream cannot be read: no marker shows where the next frame starts.
/// Close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Its arguments, as far as they are announced, exceed the limit in total.
    #[error("frame of {0} bytes is too long")]
    TooLong(usize),
    /// The frame has no arguments or an empty one. PM2's own reader does not find the end of such a
    /// frame.
    #[error("frame without arguments")]
    Empty,
}

/// Decoder that collects bytes and splits them into frames. It holds at most one frame of maximum
/// length, plus the last pushed bytes.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    limit: usize,
}

impl Decoder {
    /// Creates a decoder that accepts frames of up to `limit` bytes.
    pub const fn with_limit(limit: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, limit }
    }

    /// Returns the number of bytes that are not a complete frame yet, or were not taken.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Adds more bytes. Call [`Self::take`] until it returns `None` before you push again.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the arguments of the next complete frame, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// On an error, close the connection.
    pub fn take(&mut self) -> Result<Option<Vec<Vec<u8>>>, FrameError> {
        let frame = self.buffer.get(self.start..).unwrap_or_default();
        let Some((head, mut rest)) = frame.split_first() else { return Ok(None) };
        let count = usize::from(head & 0x0f);
        if count == 0 {
            return Err(FrameError::Empty);
        }
        let mut args = Vec::with_capacity(count);
        let mut total = 0_usize;
        for _ in 0..count {
            let Some((length, behind)) = rest.split_first_chunk::<4>() else { return Ok(None) };
            let length = u32::from_be_bytes(*length) as usize;
            total = total.saturating_add(length);
            // The announced length counts before the bytes have arrived.
            if total > self.limit {
                return Err(FrameError::TooLong(total));
            }
            let Some((arg, behind)) = behind.split_at_checked(length) else { return Ok(None) };
            args.push(arg);
            rest = behind;
        }
        let args = args.into_iter().map(<[u8]>::to_vec).collect();
        self.start = self.buffer.len() - rest.len();
        if self.start == self.buffer.len() {
            // A single large frame must not occupy memory for the life of the connection.
            (self.buffer, self.start) = (Vec::new(), 0);
        }
        Ok(Some(args))
    }
}

/// Returns the length of the complete frames at the start of these bytes.
///
/// # Errors
/// Returns an error if the bytes are not a frame, or if a frame is longer than `limit`.
pub fn frames_length(bytes: &[u8], limit: usize) -> Result<usize, FrameError> {
    let mut whole = 0;
    'frames: while let Some((head, mut rest)) = bytes.get(whole..).and_then(<[u8]>::split_first) {
        let count = usize::from(head & 0x0f);
        if count == 0 {
            return Err(FrameError::Empty);
        }
        let mut total = 0_usize;
        for _ in 0..count {
            let Some((length, behind)) = rest.split_first_chunk::<4>() else { break 'frames };
            let length = u32::from_be_bytes(*length) as usize;
            total = total.saturating_add(length);
            if total > limit {
                return Err(FrameError::TooLong(total));
            }
            let Some((_, behind)) = behind.split_at_checked(length) else { break 'frames };
            rest = behind;
        }
        whole = bytes.len() - rest.len();
    }
    Ok(whole)
}

/// Returns a frame with these arguments as they are on the wire. There may be at most 15, and none
/// may be empty: PM2's own reader would wait for more bytes.
pub fn encode(args: &[&[u8]]) -> Vec<u8> {
    debug_assert!(
        (1..=MAX_ARGS).contains(&args.len()) && args.iter().all(|arg| !arg.is_empty()),
        "PM2 does not find the end of this frame"
    );
    let parts: Vec<&[&[u8]]> = args.iter().map(std::slice::from_ref).collect();
    encode_parts(&parts)
}

/// Works like [`encode`] for arguments in parts, so that a large one is copied only once.
pub fn encode_parts(args: &[&[&[u8]]]) -> Vec<u8> {
    let length_of = |arg: &[&[u8]]| arg.iter().map(|part| part.len()).sum::<usize>();
    let length = args.iter().map(|arg| 4 + length_of(arg)).sum::<usize>();
    let mut frame = Vec::with_capacity(1 + length);
    frame.push(VERSION << 4 | args.len().min(MAX_ARGS) as u8);
    for arg in args.iter().take(MAX_ARGS) {
        frame.extend_from_slice(&u32::try_from(length_of(arg)).unwrap_or(u32::MAX).to_be_bytes());
        arg.iter().for_each(|part| frame.extend_from_slice(part));
    }
    frame
}

/// Returns a text argument.
pub fn text(text: &str) -> Vec<u8> {
    [b"s:", text.as_bytes()].concat()
}

/// Returns a JSON argument.
pub fn json<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut arg = b"j:".to_vec();
    serde_json::to_writer(&mut arg, value).expect("keys are text and numbers are finite");
    arg
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// A request and its answer as captured between npm's PM2 7.0.4 and its daemon.
    const CALL: &[u8] = b"\x12\0\0\x003j:{\"type\":\"call\",\"method\":\"getVersion\",\"args\":[{}]}\0\0\0\x09s:12183:0";
    const ANSWER: &[u8] = b"\x12\0\0\0\x14j:{\"args\":[\"7.0.4\"]}\0\0\0\x09s:12183:0";

    fn all(bytes: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, FrameError> {
        let mut decoder = Decoder::with_limit(1000);
        decoder.push(bytes);
        std::iter::from_fn(|| decoder.take().transpose()).collect()
    }

    #[test]
    fn captured_frames_encode_and_decode() {
        let call = json!({"type": "call", "method": "getVersion", "args": [{}]});
        assert_eq!(encode(&[&super::json(&call), &text("12183:0")]), CALL);
        assert_eq!(encode(&[&super::json(&json!({"args": ["7.0.4"]})), &text("12183:0")]), ANSWER);
        let frames = all(&[CALL, ANSWER].concat()).unwrap();
        assert_eq!(frames.len(), 2);
        let [call, id] = &frames[0][..] else { panic!("{frames:?}") };
        assert_eq!(
            (id.as_slice(), serde_json::from_slice::<Value>(&call[2..]).unwrap()["method"].as_str()),
            (&b"s:12183:0"[..], Some("getVersion"))
        );
    }

    #[test]
    fn other_versions_and_empty_arguments_are_readable() {
        assert_eq!(all(b"\x21\0\0\0\x02hi").unwrap(), [[b"hi".to_vec()]]);
        assert_eq!(all(b"\x12\0\0\0\0\0\0\0\x01x").unwrap(), [[b"".to_vec(), b"x".to_vec()]]);
    }

    #[test]
    fn malformed_or_long_frame_is_an_error_immediately() {
        assert_eq!(all(b"\x10"), Err(FrameError::Empty));
        assert_eq!(all(b"GET / HTTP/1.1\r\n"), Err(FrameError::TooLong(0x4554_202f)));
        assert_eq!(all(b"\x12\0\0\x03\xe8"), Ok(vec![]), "as long as the limit");
        assert_eq!(all(b"\x12\0\0\x03\xe9"), Err(FrameError::TooLong(1001)));
        let mut many = b"\x12\0\0\x03\xe7".to_vec();
        many.extend([b'x'; 999]);
        many.extend(b"\0\0\0\x02");
        assert_eq!(all(&many), Err(FrameError::TooLong(1001)), "all together");
    }

    #[test]
    fn frames_length_counts_only_whole_frames() {
        let (one, two) = (encode(&[b"s:a", b"j:{}"]), encode(&[b"s:b"]));
        let all = [one.as_slice(), &two, &one].concat();
        for cut in 0..=all.len() {
            let whole = [0, one.len(), one.len() + two.len(), all.len()].into_iter().filter(|end| *end <= cut).max().unwrap();
            assert_eq!(frames_length(&all[..cut], 100).unwrap(), whole, "{cut}");
        }
        assert!(frames_length(b"\x10", 100).is_err() && frames_length(b"\x11\x7f\0\0\0", 100).is_err());
    }

    proptest! {
        #[test]
        fn frames_round_trip_through_any_split(
            frames in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 1..16), 0..6),
            cuts in prop::collection::vec(1..40_usize, 1..40),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|args| encode(&args.iter().map(Vec::as_slice).collect::<Vec<_>>())).collect();
            let mut decoder = Decoder::with_limit(1000);
            let (mut found, mut rest, mut cuts) = (Vec::new(), bytes.as_slice(), cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                decoder.push(piece);
                while let Some(args) = decoder.take().unwrap() {
                    found.push(args);
                }
                rest = behind;
            }
            prop_assert_eq!(found, frames);
            prop_assert_eq!(decoder.buffered(), 0);
        }

        #[test]
        fn decoding_any_bytes_is_bounded_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), limit in 0..300_usize) {
            let mut decoder = Decoder::with_limit(limit);
            for byte in bytes {
                decoder.push(&[byte]);
                match decoder.take() {
                    Ok(_) => prop_assert!(decoder.buffered() <= limit + 1 + 4 * MAX_ARGS),
                    Err(_) => return Ok(()),
                }
            }
        }
    }
}
