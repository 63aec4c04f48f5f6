//! Characters for a terminal without UTF-8.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

/// Bars for `▁` to `█`.
const BARS: [char; 8] = ['_', '.', ':', '-', '=', '+', '*', '#'];

/// Returns true if the variables of the locale name a character set other than UTF-8 (`C` and
/// `POSIX` do). If none of them is set, as in most containers, the terminal is assumed to support
/// UTF-8.
pub(crate) fn is_ascii_wanted(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| variable(name).filter(|value| !value.is_empty()));
    set.is_some_and(|locale| !locale.to_ascii_lowercase().replace('-', "").contains("utf8"))
}

/// Converts the text to ASCII. Drawing characters keep their width, so tables stay aligned.
/// Characters without an equivalent become `?`.
pub(crate) fn ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_ascii() => out.push(c),
            '─' => out.push('-'),
            '│' => out.push('|'),
            '┌' | '┬' | '┐' | '├' | '┼' | '┤' | '└' | '┴' | '┘' => out.push('+'),
            // Mark for cut text: three dots would need three columns.
            '…' => out.push('~'),
            '•' => out.push('*'),
            '▶' => out.push('>'),
            '↺' => out.push('#'),
            '⇓' | '↓' => out.push('v'),
            '⇑' | '↑' => out.push('^'),
            '✔' => out.push('y'),
            '✘' => out.push('n'),
            '✓' => out.push_str("ok"),
            '✗' | '×' => out.push('x'),
            '●' => out.push('*'),
            '○' | '–' | '·' => out.push('-'),
            '◐' => out.push('~'),
            '↻' => out.push('@'),
            '→' => out.push_str("->"),
            '▁'..='█' => out.push(BARS[c as usize - '▁' as usize]),
            other => out.extend(std::iter::repeat_n('?', other.width().unwrap_or(1))),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_set_locale_variable_decides() {
        for (set, wanted) in [
            (&[][..], false),
            (&[("LANG", "")], false),
            (&[("LANG", "C")], true),
            (&[("LANG", "de_DE.ISO-8859-1")], true),
            (&[("LANG", "C.UTF-8")], false),
            (&[("LANG", "en_US.utf8"), ("LC_ALL", "POSIX")], true),
            (&[("LANG", "C"), ("LC_CTYPE", "en_US.UTF-8")], false),
        ] {
            let variable = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(is_ascii_wanted(variable), wanted, "{set:?}");
        }
    }

    #[test]
    fn wide_characters_keep_their_width_in_ascii() {
        assert_eq!(ascii("▁▂▃▄▅▆▇█"), "_.:-=+*#");
        assert_eq!(ascii("│ 日本 ↺ é…│ [web](0) ✓ a → b"), "| ???? # ?~| [web](0) ok a -> b");
    }
}
