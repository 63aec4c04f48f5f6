//! Quoting for the languages of init systems: no character in a name or path may end its quotes or
//! be expanded.

use ostler_core::text::quote;

pub(crate) use crate::text::{always_sh, sh};

/// Returns a value in a unit file of systemd.
pub(super) fn systemd(text: &str) -> String {
    quote::systemd(text, false)
}

/// Reverses [`systemd`]; also accepts words without quotes. Returns none for any other text.
pub(super) fn unsystemd(text: &str) -> Option<String> {
    let inner = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => text,
    };
    let mut bytes = Vec::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => match chars.next()? {
                '%' => bytes.push(b'%'),
                _ => return None,
            },
            '\\' => match chars.next()? {
                'n' => bytes.push(b'\n'),
                't' => bytes.push(b'\t'),
                'x' => {
                    let digits: String = chars.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).ok()?);
                }
                other => bytes.extend(other.to_string().bytes()),
            },
            '"' => return None,
            c => bytes.extend(c.to_string().bytes()),
        }
    }
    String::from_utf8(bytes).ok()
}

/// Escapes text between tags or in an attribute. Characters that XML cannot represent are left out.
pub(super) fn xml(text: &str) -> String {
    let allowed = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    let escape = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&apos;".to_owned(),
        c => c.to_string(),
    };
    text.chars().filter(allowed).map(escape).collect()
}

/// Puts the text on one line, for comments and descriptions.
pub(super) fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Escapes a part of the name of a unit or script. Letters, digits, `_`, `.`, `-` are kept; all
/// other characters are escaped as in `systemd-escape(1)`.
pub(crate) fn name_part(text: &str) -> String {
    let keep = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let mut name = String::new();
    for (at, byte) in text.bytes().enumerate() {
        if keep(&byte) && !(at == 0 && byte == b'.') {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("\\x{byte:02x}"));
        }
    }
    name
}

/// Works like [`name_part`], if the name is a shell variable, too: everything except letters and
/// digits becomes `_`.
pub(super) fn variable_part(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn name_part_escapes_unit_names() {
        for (text, name) in [
            ("deploy", "deploy"),
            ("web-1.x_y", "web-1.x_y"),
            ("a b", "a\\x20b"),
            ("user@domain", "user\\x40domain"),
            ("ä", "\\xc3\\xa4"),
            ("../x", "\\x2e.\\x2fx"),
            ("50%", "50\\x25"),
        ] {
            assert_eq!(name_part(text), name);
        }
    }

    proptest! {
        #[test]
        fn systemd_quoting_round_trips(text in "[^\0]{0,60}") {
            let quoted = systemd(&text);
            prop_assert!(!quoted.contains('\n'));
            prop_assert_eq!(unsystemd(&quoted), Some(text));
        }

        #[test]
        fn quoting_never_panics_on_any_text(text in ".{0,40}") {
            let _ = unsystemd(&text);
            let _ = xml(&text);
        }
    }
}
