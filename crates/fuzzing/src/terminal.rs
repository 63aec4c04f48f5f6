//! Checks of the output for a terminal, and of its input.

use crate::full_screen::input::{Input, Key, Reader};
use crate::text::safe::safe;

/// Checks a line for a terminal: of its sequences only colours are left, and a safe line stays as it
/// is.
pub fn terminal_text(bytes: &[u8]) {
    let shown = safe(bytes);
    assert!(shown.len() <= 8 * bytes.len(), "{} bytes of {}", shown.len(), bytes.len());
    let mut rest = &shown[..];
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            0x1b => {
                // The only sequence: `ESC [`, numbers, `m`.
                let end = after.iter().position(|byte| *byte == b'm').unwrap_or(after.len());
                let is_colour = after.first() == Some(&b'[') && after[1..end].iter().all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':'));
                assert!(is_colour && end < after.len(), "{:?}", String::from_utf8_lossy(&shown));
            }
            b'\r' => assert_eq!(after.first(), Some(&b'\n')),
            byte => assert!(byte >= b' ' && byte != 0x7f || matches!(byte, b'\n' | b'\t'), "{byte:#x}"),
        }
    }
    let text = String::from_utf8_lossy(&shown);
    assert!(!text.chars().any(|c| matches!(c, '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')), "{text:?}");
    assert_eq!(safe(&shown), shown, "safe again");
}

/// Checks typed bytes: keys are the same however they arrive, and no sequence hides the next key.
pub fn terminal_input(bytes: &[u8]) {
    let mut whole = Reader::default();
    let keys = whole.take(bytes);
    assert!(keys.len() <= bytes.len());
    for key in &keys {
        if let Input::Paste(text) = key {
            assert!(text.len() <= 3 * 1024, "{} bytes", text.len());
        }
    }
    // A sequence that is too long is given up at another place when it arrives in pieces.
    let is_long =
        |at: usize| bytes[at..].starts_with(b"\x1b[") && !bytes[at + 2..].iter().take(31).any(|byte| (0x40..=0x7e).contains(byte));
    if !(0..bytes.len()).any(|at| is_long(at) && bytes.len() > at + 32) {
        let mut pieces = Reader::default();
        let single: Vec<Input> = bytes.iter().flat_map(|byte| pieces.take(&[*byte])).collect();
        assert_eq!(single, keys, "byte by byte");
    }
    whole.take(b"\x1b[201~");
    whole.give_up();
    assert_eq!(whole.take(b"q"), [Input::Key(Key::Char('q'))]);
}
