//! Quotes for the languages of other programs: no character can end them or is expanded.

/// Returns a value in a unit file of systemd, in double quotes (`systemd.syntax(7)`): `%` is a
/// specifier, a backslash an escape. `is_command`: the value is part of a command line, where `$`
/// also names a variable.
pub fn systemd(text: &str, is_command: bool) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '%' => quoted.push_str("%%"),
            '$' if is_command => quoted.push_str("$$"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&c.to_string().bytes().map(|byte| format!("\\x{byte:02x}")).collect::<String>()),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_quotes_specifiers_escapes_and_variables() {
        for (text, value, command) in [
            ("a b", "\"a b\"", "\"a b\""),
            ("50% $x", "\"50%% $x\"", "\"50%% $$x\""),
            ("\"\\\n\t\u{1b}\u{85}", "\"\\\"\\\\\\n\\t\\x1b\\xc2\\x85\"", "\"\\\"\\\\\\n\\t\\x1b\\xc2\\x85\""),
        ] {
            assert_eq!(systemd(text, false), value);
            assert_eq!(systemd(text, true), command);
        }
    }
}
