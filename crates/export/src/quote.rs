//! Quotes for the output languages: no text can end them or is expanded.

pub(crate) use ostler_core::text::quote::systemd;

/// Returns one word of a shell.
pub(crate) fn sh(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Returns a word of a systemd command line, without quotes if it needs none.
pub(crate) fn systemd_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { systemd(text, true) }
}

/// Returns true if systemd would join the next line to this one: it ends in an unescaped backslash.
fn takes_the_next_line(text: &str) -> bool {
    text.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Returns a path or name in a unit of systemd, where quotes and escapes have no meaning. None if
/// it cannot be written: systemd would trim it, or read the next line as a part of it.
pub(crate) fn systemd_plain(text: &str) -> Option<String> {
    let is_plain = !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control) && !takes_the_next_line(text);
    is_plain.then(|| text.replace('%', "%%"))
}

/// Same for a folder, which may end in any character, because a trailing slash has no meaning.
pub(crate) fn systemd_folder(text: &str) -> Option<String> {
    systemd_plain(text).or_else(|| systemd_plain(&format!("{text}/")))
}

/// Returns a description in a unit of systemd: on one line that does not continue on the next.
pub(crate) fn systemd_text(text: &str) -> String {
    let text = line(text).trim().replace('%', "%%");
    if takes_the_next_line(&text) { format!("{text}\\") } else { text }
}

/// Returns a command line of systemd. systemd expands no variable in the program, and gives special
/// meaning to prefix characters. `env` runs a program with such a name.
pub(crate) fn systemd_command(argv: &[String]) -> String {
    let is_program = |word: &String| word.starts_with('/') && !word.contains('$');
    let env = match argv.first() {
        Some(word) if !is_program(word) => &["/usr/bin/env", "--"][..],
        _ => &[],
    };
    let words = env.iter().copied().chain(argv.iter().map(String::as_str));
    words.map(systemd_word).collect::<Vec<_>>().join(" ")
}

/// Returns words in the JSON form of a Dockerfile: no shell reads them.
pub(crate) fn json(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| serde_json::Value::from(*word).to_string()).collect();
    format!("[{}]", words.join(", "))
}

/// Returns true for a path in a Dockerfile's COPY that does not need the JSON form ([`json`] of
/// [`docker_text`]).
pub(crate) fn docker_plain(path: &str) -> bool {
    !path.is_empty() && path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@".contains(c)) && !path.starts_with('-')
}

/// Escapes a text for a Dockerfile, which would replace `$NAME`. The result is one line: a line
/// break in it would begin a new instruction.
pub(crate) fn docker_text(text: &str) -> String {
    line(text).chars().flat_map(|c| if matches!(c, '$' | '\\') { vec!['\\', c] } else { vec![c] }).collect()
}

/// Returns a text on one line, for comments.
pub(crate) fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_quoted_for_each_target() {
        assert_eq!(systemd_word("a b$c%d"), "\"a b$$c%%d\"");
        assert_eq!(systemd("a$b\n", false), "\"a$b\\n\"");
        assert_eq!(systemd_word("/usr/bin/env"), "/usr/bin/env");
        assert_eq!(json(&["a\"", "b c"]), r#"["a\"", "b c"]"#);
        assert_eq!(docker_text("a$b"), "a\\$b");
        assert_eq!(docker_text("a\nRUN b\\"), r"a RUN b\\");
    }

    #[test]
    fn systemd_values_stay_on_one_line() {
        for (text, plain, folder, description) in [
            ("/srv/50%", Some("/srv/50%%"), Some("/srv/50%%"), "/srv/50%%"),
            (r"/srv/a\b", Some(r"/srv/a\b"), Some(r"/srv/a\b"), r"/srv/a\b"),
            (r"/srv/a\", None, Some(r"/srv/a\/"), r"/srv/a\\"),
            (r"/srv/a\\", Some(r"/srv/a\\"), Some(r"/srv/a\\"), r"/srv/a\\"),
            ("/srv/a ", None, Some("/srv/a /"), "/srv/a"),
            ("/srv/a\nUser=root", None, None, "/srv/a User=root"),
        ] {
            assert_eq!((systemd_plain(text).as_deref(), systemd_folder(text).as_deref()), (plain, folder), "{text:?}");
            assert_eq!(systemd_text(text), description, "{text:?}");
        }
    }

    #[test]
    fn systemd_command_quotes_program_and_arguments() {
        for (argv, command) in [
            (&["/srv/a", "-x", ";", "$A"][..], r#"/srv/a -x ";" "$$A""#),
            (&["-x"], "/usr/bin/env -- -x"),
            (&["@a", "b"], r#"/usr/bin/env -- "@a" b"#),
            (&["/srv/$a"], r#"/usr/bin/env -- "/srv/$$a""#),
            (&[r"/srv/a\"], r#""/srv/a\\""#),
        ] {
            let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(systemd_command(&argv), command);
        }
    }

    proptest! {
        #[test]
        fn shell_quoting_round_trips(text in "[^\0]{0,30}") {
            let output = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", sh(&text))]).output().unwrap();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }

        #[test]
        fn quoted_text_stays_on_one_line(text in any::<String>()) {
            prop_assert_eq!(systemd(&text, true).lines().count(), 1);
            prop_assert!(line(&text).lines().count() <= 1);
            prop_assert!(docker_text(&text).lines().count() <= 1);
        }
    }
}
