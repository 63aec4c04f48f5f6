//! Bytes that are not UTF-8, encoded as text: variables of a process may hold any bytes, and ostler
//! carries them as text from the caller to the app.
//!
//! Each byte that belongs to no character becomes a separate character, U+10FF80 to U+10FFFF
//! (private use). Bytes that already form such a character are encoded in the same way, so every
//! text has exactly one origin.

use std::borrow::Cow;

/// Character of the byte 0.
const FIRST: u32 = 0x10_FF00;
/// First byte of the UTF-8 of all these characters.
const LEAD: u8 = 0xF4;

fn character(byte: u8) -> char {
    char::from_u32(FIRST + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Returns the byte that a character stands for.
fn byte(character: char) -> Option<u8> {
    u8::try_from(u32::from(character).checked_sub(FIRST)?).ok().filter(|byte| *byte >= 0x80)
}

/// Returns bytes as text; UTF-8 stays as it is.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for valid in chunk.valid().chars() {
            match byte(valid) {
                Some(_) => text.extend(valid.encode_utf8(&mut [0; 4]).bytes().map(character)),
                None => text.push(valid),
            }
        }
        text.extend(chunk.invalid().iter().copied().map(character));
    }
    text
}

/// Returns the bytes of a text of [`encode`].
pub fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.as_bytes().contains(&LEAD) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match byte(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_round_trip() {
        for text in ["", "plain", "ä€😀", "\u{10FF80}\u{10FFFF}", "\u{10FF7F}"] {
            assert_eq!(decode(&encode(text.as_bytes())), text.as_bytes(), "{text:?}");
        }
        assert_eq!(encode("ä😀".as_bytes()), "ä😀", "UTF-8 stays as it is");
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [b"\xff".as_slice(), b"caf\xe9", b"a\x80b\xf4\x8f", b"\xf4\x8f\xbe\x80\xff", &all] {
            assert_eq!(decode(&encode(bytes)), bytes, "{bytes:?}");
        }
    }
}
