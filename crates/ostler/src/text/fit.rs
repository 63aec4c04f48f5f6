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
        if used + most_columns(c) > columns.saturating_sub(1) {
            break;
        }
        used += most_columns(c);
        out.push(c);
    }
    let used = out.width();
    out.push('…');
    out.push_str(&" ".repeat(columns.saturating_sub(used + 1)));
    out
}

/// Returns the most columns that a character adds to a line. The selector of emoji makes the
/// character before it wider.
fn most_columns(c: char) -> usize {
    if c == '\u{fe0f}' { 1 } else { c.width().unwrap_or(1) }
}

/// Wraps the text to lines of at most this number of columns. A line breaks after a blank or a `/`
/// if possible, else anywhere. The joined lines are the original text. Returns at least one line.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for c in text.chars() {
        line.push(c);
        used += most_columns(c);
        if used > columns.max(2) {
            // The characters after the last break belong to the next line. A break in the first
            // half of the line would waste too much room.
            let last = line.len() - c.len_utf8();
            let head = line.get(..last).unwrap_or_default();
            let at = head.rfind([' ', '/']).map(|at| at + 1).filter(|at| *at > columns / 2).unwrap_or(last);
            let rest = line.split_off(at);
            lines.push(std::mem::replace(&mut line, rest));
            used = line.chars().map(most_columns).sum();
        }
    }
    lines.push(line);
    lines
}

/// Wraps words to lines of at most this number of columns. A longer word gets a line of its own.
/// Chinese text breaks between two characters, but not before a closing punctuation mark or after
/// an opening one. Returns at least one line.
pub(crate) fn wrap_words(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut blank = " ";
        for part in parts(word) {
            match lines.last_mut() {
                Some(line) if line.is_empty() => line.push_str(part),
                Some(line) if line.width() + blank.len() + part.width() <= columns => {
                    line.push_str(blank);
                    line.push_str(part);
                }
                _ => lines.push(part.to_owned()),
            }
            blank = "";
        }
    }
    lines
}

/// Splits a word where a line may break: before and after each Chinese character.
fn parts(word: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut begin = 0;
    let mut last: Option<char> = None;
    for (at, c) in word.char_indices() {
        let is_break = |last: char| (is_wide(last) || is_wide(c)) && !is_closing(c) && !is_opening(last);
        if last.is_some_and(is_break) {
            parts.push(&word[begin..at]);
            begin = at;
        }
        last = Some(c);
    }
    parts.push(&word[begin..]);
    parts
}

fn is_wide(c: char) -> bool {
    c.width() == Some(2)
}

fn is_opening(c: char) -> bool {
    matches!(c, '（' | '《' | '「' | '【' | '“' | '‘' | '(' | '`' | '"')
}

fn is_closing(c: char) -> bool {
    matches!(
        c,
        '，' | '。'
            | '、'
            | '；'
            | '：'
            | '！'
            | '？'
            | '）'
            | '》'
            | '」'
            | '】'
            | '”'
            | '’'
            | '…'
            | ')'
            | '`'
            | '"'
            | ','
            | '.'
            | ':'
            | ';'
    )
}

/// Works like [`wrap_words`], but also breaks a word that is wider than a line.
pub(crate) fn wrap_all(text: &str, columns: usize) -> Vec<String> {
    let within = |line: String| if line.width() > columns { wrap(&line, columns) } else { vec![line] };
    wrap_words(text, columns).into_iter().flat_map(within).map(|line| line.trim_end().to_owned()).collect()
}

/// Blank at which no line breaks.
const FIXED: &str = "\u{a0}";

/// Works like [`wrap_all`], but does not break commands in backticks, because users copy them.
pub(crate) fn wrap_commands(text: &str, columns: usize) -> Vec<String> {
    wrap_all(&with_fixed_commands(text), columns).iter().map(|line| line.replace(FIXED, " ")).collect()
}

fn with_fixed_commands(text: &str) -> String {
    let part = |(place, part): (usize, &str)| if place % 2 == 1 { part.replace(' ', FIXED) } else { part.to_owned() };
    text.split('`').enumerate().map(part).collect::<Vec<_>>().join("`")
}

/// Wraps the wide lines of a message that follows a label of `indent` columns. Paths and commands
/// stay whole, because users copy them. Lines that begin with a blank, or have colours, stay as
/// they are.
pub(crate) fn wrap_message(text: &str, indent: usize, columns: usize) -> String {
    let room = columns.saturating_sub(indent);
    let wrapped = |line: &str| match line.width() <= room || line.starts_with([' ', '\t']) || line.contains('\u{1b}') {
        true => line.to_owned(),
        false => {
            let lines = wrap_words(&with_fixed_commands(line), room);
            lines.join(&format!("\n{:indent$}", "")).replace(FIXED, " ")
        }
    };
    text.split('\n').map(wrapped).collect::<Vec<_>>().join("\n")
}

/// Wraps the wide lines of a text with indents. The rest of a wide line is indented by two more columns.
/// Lines with colours stay as they are.
pub(crate) fn wrap_indented(text: &str, columns: usize) -> String {
    let wrapped = |line: &str| {
        let words = line.trim_start_matches(' ');
        let indent = line.len() - words.len();
        if line.width() <= columns || line.contains('\u{1b}') {
            return line.to_owned();
        }
        let next = indent + 2;
        let lines = wrap_words(&with_fixed_commands(words), columns.saturating_sub(next));
        format!("{:indent$}{}", "", lines.join(&format!("\n{:next$}", "")).replace(FIXED, " "))
    };
    text.split('\n').map(wrapped).collect::<Vec<_>>().join("\n")
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
        assert_eq!(wrap_words("启动应用，或 restart 它（再次）", 10), ["启动应用，", "或 restart", "它（再次）"]);
        assert_eq!(wrap_words("日本語", 2), ["日", "本", "語"]);
        assert_eq!(wrap_commands("more: `a b`, `c d`", 12), ["more: `a b`,", "`c d`"]);
        assert_eq!(wrap_all("one two verylongword x", 8), ["one two", "verylong", "word", "x"]);
    }

    #[test]
    fn message_breaks_between_words_and_keeps_commands() {
        for (text, indent, columns, wrapped) in [
            ("short", 6, 20, "short"),
            ("no app is named x; `ostler list` shows the apps", 6, 26, "no app is named x;\n      `ostler list` shows\n      the apps"),
            ("see /a/very/long/path/to/a/file now", 0, 20, "see\n/a/very/long/path/to/a/file\nnow"),
            ("    as it is, however long", 0, 10, "    as it is, however long"),
            ("\u{1b}[1mred\u{1b}[0m and long", 0, 10, "\u{1b}[1mred\u{1b}[0m and long"),
            ("one two\nthree four", 0, 8, "one two\nthree\nfour"),
        ] {
            assert_eq!(wrap_message(text, indent, columns), wrapped);
        }
    }

    #[test]
    fn indented_lines_continue_further_right() {
        for (text, wrapped) in [
            ("  short", "  short"),
            ("  one two three four five", "  one two three\n    four five"),
            ("head\n    one two three four", "head\n    one two\n      three four"),
            ("", ""),
        ] {
            assert_eq!(wrap_indented(text, 17), wrapped);
        }
    }

    #[test]
    fn truncated_text_has_an_ellipsis() {
        assert_eq!(fit("abc", 5), "abc  ");
        assert_eq!(fit("abcdef", 5), "abcd…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日… ");
        assert!(fit(&"\u{2764}\u{fe0f}".repeat(9), 6).width() <= 6, "a selector makes the character before it wider");
    }
}
