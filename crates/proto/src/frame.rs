//! Framing of the native socket: a 4-byte little-endian length, then that many bytes of JSON.
//!
//! ```text
//! 2b 00 00 00  {"id":1,"request":{"hello":{"protocol":1,...}}}
//! ```

use ostler_core::message;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Maximum frame size. 1,000 apps in full are about 10 MB.
pub const MAX_FRAME_BYTES: usize = 256 << 20;

/// Size above which an empty buffer is freed.
const KEPT_BYTES: usize = 64 << 10;

/// Reason why a frame cannot be read. The connection is unusable afterwards.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME_BYTES`].
    #[error("{}", message!("frame of {size} bytes is too long", size = _0))]
    TooLong(usize),
    /// Not the expected JSON.
    #[error("{}", message!("unexpected frame"))]
    Malformed(#[source] serde_json::Error),
}

/// Returns one frame as bytes.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, value).expect("control types have string keys and finite numbers only");
    let len = u32::try_from(bytes.len() - 4).expect("frames stay below 4 GiB");
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    bytes
}

/// Decoder that collects bytes and splits them into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Returns the number of bytes that are not a complete frame yet, or were not taken.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Returns the length of the incoming frame, as its header announces it.
    pub fn announced(&self) -> Option<usize> {
        self.buffer.get(self.start..)?.first_chunk::<4>().map(|head| u32::from_le_bytes(*head) as usize)
    }

    /// Adds more bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next complete frame, or `None` if more bytes are needed.
    ///
    /// # Errors
    /// On an error, close the connection.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let rest = &self.buffer[self.start..];
        let Some(head) = rest.first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_le_bytes(*head) as usize;
        if len > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong(len));
        }
        let Some(body) = rest.get(4..4 + len) else { return Ok(None) };
        let value = serde_json::from_slice(body).map_err(FrameError::Malformed)?;
        self.start += 4 + len;
        if self.start == self.buffer.len() && self.buffer.capacity() > KEPT_BYTES {
            // A single large frame must not occupy memory for the life of the connection.
            (self.buffer, self.start) = (Vec::new(), 0);
        }
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_split() {
        let bytes = [encode(&"a"), encode(&"\u{e9}\n"), encode(&"")].concat();
        for step in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for chunk in bytes.chunks(step) {
                decoder.push(chunk);
                while let Some(text) = decoder.take::<String>().expect("valid") {
                    seen.push(text);
                }
            }
            assert_eq!(seen, ["a", "\u{e9}\n", ""]);
        }
    }

    #[test]
    fn huge_length_is_rejected_before_allocating() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_le_bytes());
        assert!(matches!(decoder.take::<String>(), Err(FrameError::TooLong(_))));
    }
}
