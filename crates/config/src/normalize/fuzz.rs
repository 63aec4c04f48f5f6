//! Checks of env files for any bytes; see [`crate::fuzz`].

use ostler_core::app::EnvMap;

use super::env_file::Syntax;

/// Checks the three syntaxes of env files: names and values can be variables, and quoted values stay
/// the same.
pub fn env_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for syntax in [Syntax::Dotenv, Syntax::Systemd, Syntax::Foreman] {
        let read = match syntax.read(&text) {
            Ok(read) => read,
            Err((line, message)) => {
                assert!((1..=text.matches('\n').count() + 1).contains(&line), "{line}");
                assert!(message.len() <= 600, "a short message");
                continue;
            }
        };
        for name in read.keys() {
            assert!(!name.is_empty() && !name.contains(['=', '\0', '\n', ' ']), "{name:?}");
        }
        let again = syntax.read(&quoted(syntax, &read));
        assert_eq!(again.as_ref().map(|again| usable(syntax, again)), Ok(usable(syntax, &read)), "{syntax:?}");
    }
}

/// Returns the variables that a quoted line of this syntax can hold.
fn usable(syntax: Syntax, vars: &EnvMap) -> Vec<(String, String)> {
    let can_hold = |value: &str| match syntax {
        Syntax::Dotenv | Syntax::Systemd => true,
        // One line is one variable, and only `\n` and `\` are escapes.
        Syntax::Foreman => !value.contains(['\n', '\r', '\\', '\'']),
    };
    vars.iter().filter(|(_, value)| can_hold(value)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn quoted(syntax: Syntax, vars: &EnvMap) -> String {
    let escaped = |value: &str| -> String {
        let hide = |c: char| matches!(c, '"' | '\\' | '$') || c == '`' && syntax == Syntax::Systemd;
        value.chars().flat_map(|c| hide(c).then_some('\\').into_iter().chain([c])).collect()
    };
    let line = |(name, value): (String, String)| match syntax {
        Syntax::Dotenv | Syntax::Systemd => format!("{name}=\"{}\"\n", escaped(&value)),
        Syntax::Foreman => format!("{name}='{value}'\n"),
    };
    usable(syntax, vars).into_iter().map(line).collect()
}
