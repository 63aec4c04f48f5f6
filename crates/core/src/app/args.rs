//! Splits argument strings (`args`, `node_args`) into words.

/// Splits at blanks. Quotes group and are removed at any position. A backslash makes a blank, a
/// quote or a backslash ordinary (within double quotes: a double quote or a backslash; within
/// single quotes: nothing). Any other backslash stays, and so does an unclosed quote. Nothing is
/// expanded: there is no shell.
///
/// PM2 differs: it removes quotes only around a whole word (`--opt="x y"` keeps them) and knows no
/// backslash.
///
/// ```
/// use ostler_core::app::args::split;
/// assert_eq!(split(r#"a "b c" --opt="x y" it\'s"#), ["a", "b c", "--opt=x y", "it's"]);
/// ```
pub fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_default();
        match c {
            '"' | '\'' => match quoted(rest, c) {
                Some((inner, after)) => {
                    word.push_str(&inner);
                    rest = after;
                }
                None => word.push(c),
            },
            '\\' => match rest.chars().next().filter(|next| next.is_whitespace() || matches!(next, '"' | '\'' | '\\')) {
                Some(next) => {
                    word.push(next);
                    rest = &rest[next.len_utf8()..];
                }
                None => word.push('\\'),
            },
            _ => word.push(c),
        }
    }
    words.extend(word);
    words
}

/// Returns the text up to the closing quote, and the text after it.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut inner = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some((inner, &text[at + 1..]));
        }
        match chars.peek() {
            Some(&(_, next)) if c == '\\' && quote == '"' && matches!(next, '"' | '\\') => {
                inner.push(next);
                chars.next();
            }
            _ => inner.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn argument_text_is_split_into_words() {
        for (text, expected) in [
            ("", &[][..]),
            ("   ", &[]),
            ("a", &["a"]),
            ("  a\tb \n c ", &["a", "b", "c"]),
            // As in PM2.
            (r#"p "q r" 's t'"#, &["p", "q r", "s t"]),
            (r#"--port 3000 --name=x"#, &["--port", "3000", "--name=x"]),
            // As the user intended.
            (r#"--opt="x y""#, &["--opt=x y"]),
            (r#"--opt='x y' z"#, &["--opt=x y", "z"]),
            (r#""a\"b""#, &[r#"a"b"#]),
            (r#"'a\"b'"#, &[r#"a\"b"#]),
            (r"a\ b", &["a b"]),
            (r"\\ \'", &[r"\", "'"]),
            (r#"a"b"'c'd"#, &["abcd"]),
            (r#""" ''"#, &["", ""]),
            // Unchanged.
            (r"--re=\d+\.js", &[r"--re=\d+\.js"]),
            (r#""\d""#, &[r"\d"]),
            ("don't stop", &["don't", "stop"]),
            (r#"5" disk"#, &["5\"", "disk"]),
            (r"end\", &[r"end\"]),
            ("$HOME *.js ~ `x` ;", &["$HOME", "*.js", "~", "`x`", ";"]),
            ("größe \u{3000}\"ü ü\"", &["größe", "ü ü"]),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn split_never_panics_or_drops_letters(text in any::<String>()) {
            let letters = |s: &str| s.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
            prop_assert_eq!(letters(&split(&text).concat()), letters(&text));
        }

        #[test]
        fn single_quotes_keep_text_unchanged(words in proptest::collection::vec("[^']*", 0..5)) {
            let text = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(split(&text), words);
        }
    }
}
