//! Words as bash passes them to completion, and as it expects the answers.
//!
//! bash splits a word at the characters of `COMP_WORDBREAKS` (`a:b` becomes `a`, `:`, `b`), leaves
//! quotes in place, and replaces only the part after the last of these characters, or after an open
//! quote.

/// Characters of `COMP_WORDBREAKS` that occur inside of words.
const BREAKS: &[char] = &[':', '=', '@'];

/// Command line of bash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BashLine {
    /// Words before the cursor, without the program and without quotes.
    pub before: Vec<String>,
    /// The typed word, without quotes.
    pub typed: String,
    /// Start of the word that bash keeps, without quotes.
    pub kept: String,
    /// Quote that is open at the cursor.
    pub quote: Option<char>,
    /// Whether the word is the file of a redirection.
    pub is_redirection: bool,
}

impl BashLine {
    /// Reads the words of the script: the line up to the cursor (empty if it is not known), the part
    /// that bash replaces, and the words up to the cursor.
    pub(super) fn read(words: &[String]) -> Self {
        let [line, replaced, pieces @ ..] = words else { return Self::default() };
        let mut joined = join(line, pieces);
        let current = joined.pop().unwrap_or_default();
        let is_after_arrow = joined.last().is_some_and(|word| redirection(word).is_some_and(str::is_empty));
        let file = redirection(&current);
        let raw = file.unwrap_or(&current);
        let (kept, quote) = kept(raw, replaced);
        Self {
            before: joined.iter().skip(1).map(|word| unquoted(word)).collect(),
            typed: unquoted(raw),
            kept,
            quote,
            is_redirection: is_after_arrow || file.is_some(),
        }
    }

    /// Returns the bytes that replace the rest of the typed word. `is_file`: bash itself quotes them.
    pub(super) fn replacement(&self, word: &str, is_file: bool) -> String {
        let rest = word.strip_prefix(self.kept.as_str()).unwrap_or(word);
        if is_file { rest.to_owned() } else { quoted(rest, self.quote) }
    }
}

/// Returns the text after the arrow of a redirection.
fn redirection(word: &str) -> Option<&str> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit() || "&<>|".contains(c));
    word.strip_suffix(rest).filter(|arrow| arrow.contains(['<', '>'])).map(|_| rest)
}

fn is_break(piece: &str) -> bool {
    !piece.is_empty() && piece.chars().all(|c| BREAKS.contains(&c))
}

/// Joins the pieces that have no blank between them on the line. If the line is not known, pieces
/// beside a break character belong together.
fn join(line: &str, pieces: &[String]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut rest, mut was_break) = (line, false);
    for (at, piece) in pieces.iter().enumerate() {
        let start = rest.trim_start();
        let has_no_blank = start.len() == rest.len();
        let is_last = at + 1 == pieces.len();
        let (piece, is_joined) = if line.is_empty() {
            (piece.as_str(), is_break(piece) || was_break)
        } else if let Some(after) = start.strip_prefix(piece.as_str()) {
            rest = after;
            (piece.as_str(), has_no_blank)
        } else if is_last && piece.starts_with(start) {
            // The cursor is inside of the word.
            (start, has_no_blank)
        } else {
            (piece.as_str(), is_break(piece) || was_break)
        };
        match words.last_mut().filter(|_| is_joined && at > 1) {
            Some(word) => word.push_str(piece),
            None => words.push(piece.to_owned()),
        }
        was_break = is_break(piece);
    }
    words
}

/// Returns the start of a word that bash keeps, and the quote that is open at the cursor.
fn kept(raw: &str, replaced: &str) -> (String, Option<char>) {
    let start = match raw.strip_suffix(replaced) {
        // The break character itself stays, unless it is `@`.
        Some(_) if matches!(replaced, ":" | "=") => raw,
        Some(start) => start,
        None => "",
    };
    let (text, open) = unquote(start);
    if let Some((quote, _)) = open {
        return (text, Some(quote));
    }
    let piece = raw.strip_prefix(start).unwrap_or_default();
    match unquote(piece).1 {
        Some((quote, after)) => (text + &unquoted(piece.get(..after).unwrap_or_default()), Some(quote)),
        None => (text, None),
    }
}

/// Returns a word without its quotes.
pub(super) fn unquoted(raw: &str) -> String {
    unquote(raw).0
}

/// Returns a word without its quotes, and the open quote with the place after it.
fn unquote(raw: &str) -> (String, Option<(char, usize)>) {
    let mut text = String::new();
    let mut open: Option<(char, usize)> = None;
    let mut chars = raw.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match (open, c) {
            (None, '"' | '\'') => open = Some((c, at + 1)),
            (Some((quote, _)), c) if c == quote => open = None,
            (None, '\\') => text.extend(chars.next().map(|(_, next)| next)),
            (Some(('"', _)), '\\') if chars.peek().is_some_and(|(_, next)| "\"\\$`".contains(*next)) => {
                text.extend(chars.next().map(|(_, next)| next));
            }
            _ => text.push(c),
        }
    }
    (text, open)
}

/// Returns a text as bash reads it, after this open quote.
fn quoted(text: &str, quote: Option<char>) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match quote {
            Some('\'') if c == '\'' => out.push_str("'\\''"),
            Some('"') if "\"\\$`".contains(c) => out.extend(['\\', c]),
            None if c.is_ascii() && !c.is_ascii_alphanumeric() && !"_-+=:,./@%".contains(c) => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    // bash closes the quote, unless the text already ends with one.
    out.extend(quote.filter(|quote| out.ends_with(*quote)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, replaced: &str, pieces: &[&str]) -> BashLine {
        let words = [line, replaced].into_iter().chain(pieces.iter().copied()).map(str::to_owned).collect::<Vec<_>>();
        BashLine::read(&words)
    }

    #[test]
    fn pieces_are_joined_again() {
        for (line, replaced, pieces, before, typed, kept) in [
            ("ostler restart a:b", "b", &["ostler", "restart", "a", ":", "b"][..], &["restart"][..], "a:b", "a:"),
            ("ostler restart a:", "", &["ostler", "restart", "a", ":"], &["restart"], "a:", "a:"),
            ("ostler restart a:", ":", &["ostler", "restart", "a", ":"], &["restart"], "a:", "a:"),
            ("ostler restart a: b", "b", &["ostler", "restart", "a", ":", "b"], &["restart", "a:"], "b", ""),
            (
                "ostler start --kill-signal=SI",
                "SI",
                &["ostler", "start", "--kill-signal", "=", "SI"],
                &["start"],
                "--kill-signal=SI",
                "--kill-signal=",
            ),
            ("ostler restart user@", "@", &["ostler", "restart", "user", "@"], &["restart"], "user@", "user"),
            ("ostler restart user@h", "@h", &["ostler", "restart", "user", "@h"], &["restart"], "user@h", "user"),
            ("ostler restart ", "", &["ostler", "restart", ""], &["restart"], "", ""),
            ("ostler restart ap", "ap", &["ostler", "restart", "apples"], &["restart"], "ap", ""),
            ("", "b", &["ostler", "restart", "a", ":", "b"], &["restart"], "a:b", "a:"),
            ("", "my:a", &["ostler", "restart", "my:a"], &["restart"], "my:a", ""),
            ("", ":", &["ostler", "restart", "my", ":"], &["restart"], "my:", "my:"),
            ("stale line", "ap", &["ostler", "restart", "ap"], &["restart"], "ap", ""),
        ] {
            let read = read(line, replaced, pieces);
            assert_eq!(
                (read.before.as_slice(), read.typed.as_str(), read.kept.as_str()),
                (before.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>().as_slice(), typed, kept),
                "{line}"
            );
        }
    }

    #[test]
    fn quotes_are_read_and_written() {
        // The typed word, the part that bash replaces, and the replacement for `my $app's`.
        for (raw, replaced, kept, replacement) in [
            ("my", "my", "", r"my\ \$app\'s"),
            (r"my\ ", r"my\ ", "", r"my\ \$app\'s"),
            ("\"my ", "my ", "", "my \\$app's"),
            ("\"my ", "\"my ", "", "my \\$app's"),
            ("'my ", "my ", "", r"my $app'\''s"),
            ("m\"y ", "y ", "m", "y \\$app's"),
        ] {
            let read = read("", replaced, &["ostler", "restart", raw]);
            assert_eq!((read.kept.as_str(), read.replacement("my $app's", false).as_str()), (kept, replacement), "{raw}");
            assert!("my $app's".starts_with(&read.typed), "{raw}: {}", read.typed);
        }
        assert_eq!(unquoted(r#"a\ b"c\$d\e"'f\g'h"#), r"a bc$d\ef\gh");
    }

    #[test]
    fn redirections_take_files() {
        for (line, pieces, typed) in [
            ("ostler list > fi", &["ostler", "list", ">", "fi"][..], "fi"),
            ("ostler list 2>fi", &["ostler", "list", "2", ">", "fi"], "fi"),
        ] {
            let read = read(line, "fi", pieces);
            assert!(read.is_redirection && read.typed == typed, "{read:?}");
        }
        assert!(!read("ostler list fi", "fi", &["ostler", "list", "fi"]).is_redirection);
    }

    proptest::proptest! {
        /// bash reads a replacement as the word that it stands for.
        #[test]
        fn replacement_is_read_as_the_word(word in "[a-c \"'\\\\$`:=é日!-~]{0,12}", quote in 0usize..3) {
            let open = [None, Some('"'), Some('\'')][quote];
            let written = quoted(&word, open);
            let closing = open.filter(|quote| !written.ends_with(*quote));
            let raw: String = open.into_iter().chain(written.chars()).chain(closing).collect();
            let (read, is_open) = unquote(&raw);
            proptest::prop_assert!(read == word && is_open.is_none(), "{}", raw);
        }

        #[test]
        fn any_line_is_read(words in proptest::collection::vec("[a-b:= \"'\\\\é]{0,5}", 0..6)) {
            let read = BashLine::read(&words);
            proptest::prop_assert!(read.typed.starts_with(&read.kept) || read.quote.is_some() || read.is_redirection);
        }
    }
}
