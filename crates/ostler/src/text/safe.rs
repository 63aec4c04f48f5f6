//! Untrusted text for a terminal: colours pass, all other control characters are made visible.
//!
//! A terminal executes the sequences that it receives. An escape sequence can clear the screen,
//! change the clipboard or the title, or make the terminal answer as if the user had typed. Lines
//! of apps, files and hosts do not come from the user. Of their sequences only SGR (colours, bold,
//! …) takes effect.

use std::borrow::Cow;

/// Longest parameters of a colour sequence; a longer one is made visible.
const SGR_BYTES: usize = 64;

/// Returns the bytes in a form that is safe for a terminal.
pub(crate) fn safe(bytes: &[u8]) -> Cow<'_, [u8]> {
    let is_plain = |byte: &u8| matches!(byte, b'\n' | b'\t' | b' '..=b'~');
    let Some(first) = bytes.iter().position(|byte| !is_plain(byte)) else { return Cow::Borrowed(bytes) };
    let mut out = bytes[..first].to_vec();
    let mut rest = &bytes[first..];
    while let Some(&byte) = rest.first() {
        let taken = match byte {
            _ if is_plain(&byte) => pass(&mut out, rest, 1),
            b'\r' if rest.get(1) == Some(&b'\n') => pass(&mut out, rest, 1),
            0x1b if sgr(rest) > 0 => pass(&mut out, rest, sgr(rest)),
            0x00..=0x1f | 0x7f => show(&mut out, &format!("^{}", char::from(byte ^ 0x40)), 1),
            _ => beyond_ascii(&mut out, rest),
        };
        rest = &rest[taken..];
    }
    Cow::Owned(out)
}

fn pass(out: &mut Vec<u8>, bytes: &[u8], count: usize) -> usize {
    out.extend_from_slice(&bytes[..count]);
    count
}

fn show(out: &mut Vec<u8>, text: &str, count: usize) -> usize {
    out.extend_from_slice(text.as_bytes());
    count
}

/// Returns the length of the colour sequence at the start of the bytes, or 0 if they start with
/// another byte.
fn sgr(bytes: &[u8]) -> usize {
    let Some(parameters) = bytes.strip_prefix(b"\x1b[") else { return 0 };
    let length = parameters.iter().take(SGR_BYTES).take_while(|byte| matches!(byte, b'0'..=b'9' | b';' | b':')).count();
    if parameters.get(length) == Some(&b'm') { length + 3 } else { 0 }
}

/// Handles a character of several bytes, or a byte that is no valid UTF-8.
fn beyond_ascii(out: &mut Vec<u8>, bytes: &[u8]) -> usize {
    let most = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(most) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&most[..error.valid_up_to()]).unwrap_or_default(),
    };
    match valid.chars().next() {
        Some(c) if c.is_control() || turns_text_round(c) => show(out, &format!("<U+{:04X}>", u32::from(c)), c.len_utf8()),
        Some(c) => pass(out, bytes, c.len_utf8()),
        // One-byte control characters (C1) of terminals.
        None if bytes[0] < 0xa0 => show(out, &format!("<{:02X}>", bytes[0]), 1),
        None => pass(out, bytes, 1),
    }
}

/// Returns true for a character that changes the display order of the text after it.
fn turns_text_round(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_keeps_colours_and_escapes_other_controls() {
        for (bytes, expected) in [
            (&b"plain\tline\n"[..], "plain\tline\n"),
            (b"", ""),
            (b"\x1b[31mred\x1b[0m\x1b[m \x1b[38;2;1;2;3mrgb\x1b[4:3m", "\x1b[31mred\x1b[0m\x1b[m \x1b[38;2;1;2;3mrgb\x1b[4:3m"),
            (b"line\r\n", "line\r\n"),
            (b"over\rwritten\x08\x07\x00\x7f\x0b", "over^Mwritten^H^G^@^?^K"),
            (b"\x1b[2J\x1b[H\x1b[6n", "^[[2J^[[H^[[6n"),
            (b"\x1b]0;title\x07\x1b]52;c;cm0=\x1b\\", "^[]0;title^G^[]52;c;cm0=^[\\"),
            (b"\x1bP$qm\x1b\\\x1b_x\x1b^y\x1bc\x1b#8", "^[P$qm^[\\^[_x^[^y^[c^[#8"),
            (b"\x1b[?1049h\x1b[>4;2m\x1b[1 m\x1b[31", "^[[?1049h^[[>4;2m^[[1 m^[[31"),
            (b"\x1b\x1b[31m\x1b", "^[\x1b[31m^["),
            ("\u{9b}2J \u{9d}0;x\u{9c} \u{85}".as_bytes(), "<U+009B>2J <U+009D>0;x<U+009C> <U+0085>"),
            ("admin\u{202e}gpj\u{2066}".as_bytes(), "admin<U+202E>gpj<U+2066>"),
            ("日本 é 💥 שלום\u{200f}".as_bytes(), "日本 é 💥 שלום\u{200f}"),
        ] {
            assert_eq!(String::from_utf8_lossy(&safe(bytes)), expected, "{bytes:?}");
        }
        assert_eq!(&*safe(b"\x9b2J \xe4\xe9 \xe2\x82"), b"<9B>2J \xe4\xe9 \xe2<82>", "what is no UTF-8");
        let long = [b"\x1b[", &b"1;".repeat(100)[..], b"m"].concat();
        assert!(safe(&long).starts_with(b"^[[1;"));
    }

    #[test]
    fn safe_leaves_only_colour_sequences() {
        const PARTS: &[u8] = b"\x1b[]P2J;31mn\x07\x9b\xc2\x90\\ \x00";
        let mut state = 7_u32;
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..40)
                .map(|_| {
                    state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
                    PARTS[(state >> 16) as usize % PARTS.len()]
                })
                .collect();
            let safe = safe(&bytes);
            let escapes = safe.iter().enumerate().filter(|(_, byte)| **byte == 0x1b);
            assert!(escapes.clone().all(|(at, _)| sgr(&safe[at..]) > 0), "{bytes:?}");
            assert!(safe.iter().all(|byte| *byte >= b' ' || *byte == 0x1b), "{bytes:?}");
        }
    }
}
