//! Untrusted text: shortened, and without control sequences that a terminal or page would
//! interpret.

/// Maximum length of a name in bytes.
pub const NAME: usize = 200;
/// Maximum length of a text in bytes.
pub const TEXT: usize = 600;

/// Returns the text as one line of at most `most` bytes. Control characters, escape sequences and
/// bidirectional formatting marks are removed.
pub fn plain(text: &str, most: usize) -> String {
    let mut out = String::new();
    // Limits the work: a line may have any length.
    let mut chars = clipped(text, most.saturating_mul(4)).chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\n' | '\r' | '\t' => out.push(' '),
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    cut(out.trim(), most)
}

/// Skips the rest of an escape sequence: `[…letter`, `]…BEL`, or one character.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        Some('[') => while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
        Some(']') => while chars.next().is_some_and(|c| c != '\u{7}' && c != '\u{1b}') {},
        _ => {}
    }
}

/// Cuts the text to `most` bytes and marks the cut.
pub fn cut(text: &str, most: usize) -> String {
    const SIGN: &str = "…";
    if text.len() <= most {
        return text.to_owned();
    }
    let mut out = clipped(text, most.saturating_sub(SIGN.len())).to_owned();
    if most >= SIGN.len() {
        out.push_str(SIGN);
    }
    out
}

/// Returns at most the first `most` bytes, without splitting a character.
fn clipped(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_strips_control_characters_and_truncates() {
        for (text, most, expected) in [
            ("a\x1b[31mred\x1b[0m\nb", 100, "ared b"),
            ("\x1b]0;title\x07x\u{0}y\u{202e}z", 100, "xyz"),
            ("<b>@all</b>", 100, "<b>@all</b>"),
            ("üüüü", 5, "ü…"),
            ("", 5, ""),
            ("abc", 1, ""),
            ("\x1b", 9, ""),
        ] {
            assert_eq!(plain(text, most), expected, "{text:?}");
        }
        assert!(plain(&"x".repeat(1 << 20), 50).len() <= 50);
    }
}
