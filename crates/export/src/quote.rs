//! Quotes of the languages that are written: nothing in a text ends them or is expanded.

/// One word of a shell.
pub(crate) fn sh(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A value in a unit of systemd, in double quotes: `%` is a specifier, a backslash an escape. `words`: in a command line `$` names a variable, too.
pub(crate) fn systemd(text: &str, words: bool) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '%' => quoted.push_str("%%"),
            '$' if words => quoted.push_str("$$"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&c.to_string().bytes().map(|byte| format!("\\x{byte:02x}")).collect::<String>()),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A word of a command line of systemd, without quotes where it needs none.
pub(crate) fn systemd_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { systemd(text, true) }
}

/// Words in the JSON form of a Dockerfile: no shell reads them.
pub(crate) fn json(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| serde_json::Value::from(*word).to_string()).collect();
    format!("[{}]", words.join(", "))
}

/// A path in a Dockerfile's COPY; none where it needs the JSON form ([`json`] of [`docker_text`]).
pub(crate) fn docker_plain(path: &str) -> bool {
    !path.is_empty() && path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@".contains(c)) && !path.starts_with('-')
}

/// A text in which a Dockerfile replaces nothing: `$` is a variable, `[` and `*` are patterns in COPY.
pub(crate) fn docker_text(text: &str) -> String {
    text.chars().flat_map(|c| if matches!(c, '$' | '\\') { vec!['\\', c] } else { vec![c] }).collect()
}

/// A text on one line, for comments.
pub(crate) fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words() {
        assert_eq!(systemd_word("a b$c%d"), "\"a b$$c%%d\"");
        assert_eq!(systemd("a$b\n", false), "\"a$b\\n\"");
        assert_eq!(systemd_word("/usr/bin/env"), "/usr/bin/env");
        assert_eq!(json(&["a\"", "b c"]), r#"["a\"", "b c"]"#);
        assert_eq!(docker_text("a$b"), "a\\$b");
    }

    proptest! {
        #[test]
        fn the_shell_reads_back_what_was_quoted(text in "[^\0]{0,30}") {
            let output = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", sh(&text))]).output().unwrap();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }

        #[test]
        fn one_line_stays_one(text in any::<String>()) {
            prop_assert_eq!(systemd(&text, true).lines().count(), 1);
            prop_assert!(line(&text).lines().count() <= 1);
        }
    }
}
