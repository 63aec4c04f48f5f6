//! Text in a given number of columns: padded, cut, or broken into lines.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Formats the text in exactly this number of columns: padded, or cut with `…`.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    // Most cells are plain ASCII, and a thousand rows have thirteen thousand cells.
    let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let width = if is_plain { text.len() } else { text.width() };
    let mut out = String::with_capacity(text.len().max(columns));
    if width <= columns {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', columns - width));
        return out;
    }
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide > columns.saturating_sub(1) {
            break;
        }
        used += wide;
        out.push(c);
    }
    out.push('…');
    out.push_str(&" ".repeat(columns.saturating_sub(used + 1)));
    out
}

/// Wraps the text to lines of at most this number of columns. A line breaks after a blank or a `/`
/// if possible, else anywhere. The joined lines are the original text. Returns at least one line.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for c in text.chars() {
        line.push(c);
        if line.width() > columns.max(2) {
            // The characters after the last break belong to the next line. A break in the first
            // half of the line would waste too much room.
            let last = line.len() - c.len_utf8();
            let head = line.get(..last).unwrap_or_default();
            let at = head.rfind([' ', '/']).map(|at| at + 1).filter(|at| *at > columns / 2).unwrap_or(last);
            let rest = line.split_off(at);
            lines.push(std::mem::replace(&mut line, rest));
        }
    }
    lines.push(line);
    lines
}

/// Wraps words to lines of at most this number of columns. A longer word gets a line of its own.
/// Returns at least one line.
pub(crate) fn wrap_words(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.width() + 1 + word.width() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_text_is_complete_and_fits() {
        for (text, columns, lines) in
            [("", 10, &[""][..]), ("abc", 3, &["abc"]), ("abcdefg", 3, &["abc", "def", "g"]), ("日本語", 5, &["日本", "語"])]
        {
            assert_eq!(wrap(text, columns), lines, "{text}");
        }
        assert_eq!(wrap_words("one two three verylongword x", 8), ["one two", "three", "verylongword", "x"]);
        assert_eq!(wrap_words("", 8), [""]);
    }

    #[test]
    fn truncated_text_has_an_ellipsis() {
        assert_eq!(fit("abc", 5), "abc  ");
        assert_eq!(fit("abcdef", 5), "abcd…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日… ");
    }
}
