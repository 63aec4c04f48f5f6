//! Reads env files as Compose does: references to earlier lines and to the caller's variables are
//! resolved, unless the value is in single quotes.

use ostler_core::message;

use super::interpolate::Variables;

/// Lookup of a variable's value by its name.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Line of an env file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", message!("line {line}: {reason}", line, reason))]
pub struct EnvFileError {
    /// Number of the line, from 1.
    pub line: usize,
    /// The description of the fault.
    pub reason: String,
}

/// Reads `.env` or an `env_file`. A variable without a value is the caller's. Later lines take
/// precedence.
///
/// # Errors
/// Returns an error if a quote has no end, or a reference is malformed; the reason names the line.
pub(crate) fn parse(text: &str, lookup: Lookup<'_>) -> Result<Vec<(String, String)>, EnvFileError> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let failed = |reason: String| EnvFileError { line: at + 1, reason };
        let line = line.trim();
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let end = line.find(['=', ':']).unwrap_or(line.len());
        let name = line[..end].trim_end();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(failed(message!(
                "expected NAME=value, found {found}",
                found = format!("{:?}", line.chars().take(40).collect::<String>())
            )));
        }
        let value = match line.get(end + 1..) {
            None => lookup(name),
            Some(rest) => {
                let rest = rest.trim_start();
                Some(match rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
                    None => resolve(without_comment(rest), &out, lookup).map_err(failed)?,
                    Some(quote) => {
                        // A quoted value may span lines.
                        let mut body = rest[1..].to_owned();
                        let closed = loop {
                            if let Some(end) = closing(&body, quote) {
                                break &body[..end];
                            }
                            let Some((_, more)) = lines.next() else {
                                return Err(failed(message!("the quote after {name} is not closed", name)));
                            };
                            body.push('\n');
                            body.push_str(more);
                        };
                        if quote == '\'' {
                            closed.replace("\\'", "'")
                        } else {
                            resolve(&unescaped(closed), &out, lookup).map_err(failed)?
                        }
                    }
                })
            }
        };
        if let Some(value) = value {
            out.retain(|(own, _)| own != name);
            out.push((name.to_owned(), value));
        }
    }
    Ok(out)
}

/// Reads a file with `format: raw`: the rest of each line is the value.
pub(super) fn raw(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(name, value)| (name.trim().to_owned(), value.to_owned())).collect()
}

/// Returns true if ostler's own reader of env files reads other values from this text than Compose
/// does.
pub(super) fn differs_from_ostler(text: &str) -> bool {
    text.contains(['$', '`']) || text.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#') && !line.contains('='))
}

fn resolve(text: &str, earlier: &[(String, String)], lookup: Lookup<'_>) -> Result<String, String> {
    let of_line = |name: &str| earlier.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
    // The caller's variable takes precedence, as for the compose file itself.
    let find = |name: &str| lookup(name).or_else(|| of_line(name));
    Variables { lookup: &find, missing: Vec::new(), is_lenient: true }.resolve(text)
}

/// Returns the position of the quote that closes the text; `\` escapes a quote.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut is_hidden = false;
    for (at, c) in text.char_indices() {
        match c {
            '\\' => is_hidden = !is_hidden,
            c if c == quote && !is_hidden => return Some(at),
            _ => is_hidden = false,
        }
    }
    None
}

fn without_comment(text: &str) -> &str {
    let end = text.char_indices().find(|(at, c)| *c == '#' && (*at == 0 || text[..*at].ends_with([' ', '\t'])));
    end.map_or(text, |(at, _)| &text[..at]).trim_end()
}

/// Resolves escapes of a value in double quotes. `\$` becomes `$$`, which the next step resolves to
/// a dollar sign.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('r')) => out.push('\r'),
            ('\\', Some('t')) => out.push('\t'),
            ('\\', Some('$')) => out.push_str("$$"),
            ('\\', Some(c @ ('\\' | '"'))) => out.push(c),
            ('\\', Some(c)) => out.extend(['\\', c]),
            (c, _) => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotenv_values_parse_as_in_compose() {
        let lookup = |name: &str| (name == "SHELL_VAR").then(|| "s".to_owned());
        for (text, expected) in [
            ("V=1\nTAG=app:${V}\nT2=$V-x\n", &[("V", "1"), ("TAG", "app:1"), ("T2", "1-x")] as &[_]),
            ("A=${X:-d}\nB=${SHELL_VAR}$SHELL_VAR\nC=${NONE}|\n", &[("A", "d"), ("B", "ss"), ("C", "|")]),
            ("A='${X} \\n # no'\nB=\"${SHELL_VAR}\\n\\$x\\\"\" # c\n", &[("A", "${X} \\n # no"), ("B", "s\n$x\"")]),
            ("A=one # c\nB=a#b\n# c\nexport C = d \nD:e\n", &[("A", "one"), ("B", "a#b"), ("C", "d"), ("D", "e")]),
            ("A=\"x\ny\"\nB='1\n2'\n", &[("A", "x\ny"), ("B", "1\n2")]),
            ("SHELL_VAR\nNONE\nE=\n", &[("SHELL_VAR", "s"), ("E", "")]),
            ("A=1\nA=2\nP=5$\nQ=a$ b\n", &[("A", "2"), ("P", "5$"), ("Q", "a$ b")]),
            ("URL=postgres://u:p@h/d?x=1#y\r\nW=2\r\n", &[("URL", "postgres://u:p@h/d?x=1#y"), ("W", "2")]),
        ] {
            let expected = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>();
            assert_eq!(parse(text, &lookup), Ok(expected), "{text}");
        }
        for (text, why) in [("A=1\nB=\"x\n", "line 2"), ("A B\n", "line 1"), ("A=${X:?no}\n", "no")] {
            assert!(parse(text, &lookup).is_err_and(|error| error.to_string().contains(why)), "{text}");
        }
        assert_eq!(raw("A=\"x $Y\" # z\n# c\n"), [("A".to_owned(), "\"x $Y\" # z".to_owned())]);
    }
}
