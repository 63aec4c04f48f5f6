//! Quoting of words for a shell: no word ends its quotes or is expanded.

/// Quotes a word for a shell if needed.
pub fn sh(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    // Some other shells expand `=word`.
    if !text.is_empty() && text.chars().all(plain) && !text.starts_with('=') { text.to_owned() } else { always_sh(text) }
}

/// Puts a word in single quotes, even if it needs none.
pub fn always_sh(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sh_quotes_only_if_needed() {
        for (text, word) in [
            ("/usr/bin/pm2", "/usr/bin/pm2"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
            ("--hp", "--hp"),
            ("-u", "-u"),
            ("ä", "'ä'"),
        ] {
            assert_eq!(sh(text), word);
        }
    }

    proptest! {
        /// A shell reads each quoted word back unchanged.
        #[test]
        fn shell_quoting_round_trips(text in "[^\0]{0,30}") {
            let output = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", sh(&text))]).output().unwrap();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}
