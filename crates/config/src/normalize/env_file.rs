//! Forms of `env_file`: a path, or a table of path, syntax and whether the file is required.

use ostler_core::app::EnvMap;
use ostler_core::message;
use serde_json::Value;

use super::expand::is_name;
use super::listen::{known_keys, meant};
use crate::fault::{Fault, below};
use crate::values::describe_value;

/// A file of variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EnvFile {
    pub path: String,
    pub is_required: bool,
    pub syntax: Syntax,
}

/// Syntax of a file of variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Dotenv,
    /// As `EnvironmentFile=` of systemd: no `export`, no comments after values, escapes of a shell.
    Systemd,
    /// As foreman reads `.env`: no comments after values, `\n` in double quotes.
    Foreman,
}

/// Reads the value of `env_file`.
pub(super) fn list(value: &Value) -> Result<Vec<EnvFile>, Fault> {
    match value {
        Value::Array(items) => items.iter().enumerate().map(|(index, item)| one(item).map_err(below(index))).collect(),
        value => Ok(vec![one(value)?]),
    }
}

fn one(value: &Value) -> Result<EnvFile, Fault> {
    if let Value::String(path) = value {
        return Ok(EnvFile { path: path.clone(), is_required: true, syntax: Syntax::Dotenv });
    }
    let Value::Object(table) = value else {
        return Err(message!("expected a path or a table, found {found}", found = describe_value(value)).into());
    };
    known_keys(table, &["path", "required", "format"])?;
    let path = table
        .get("path")
        .and_then(Value::as_str)
        .filter(|path| !path.is_empty())
        .ok_or_else(|| message!("expected a `path` in the table"))?;
    let is_required = match table.get("required") {
        None => true,
        Some(Value::Bool(required)) => *required,
        Some(other) => {
            return Err(Fault::from(message!("expected `required` as true or false, found {found}", found = describe_value(other)))
                .below("required"));
        }
    };
    let syntax = match table.get("format") {
        None => Syntax::Dotenv,
        Some(value) => value.as_str().and_then(Syntax::named).ok_or_else(|| {
            let near = meant(value.as_str().unwrap_or_default(), &["dotenv", "systemd", "foreman"]);
            let found = describe_value(value);
            Fault::from(message!("expected `format` as \"dotenv\", \"systemd\" or \"foreman\", found {found}{near}", found, near))
                .below("format")
        })?,
    };
    Ok(EnvFile { path: path.to_owned(), is_required, syntax })
}

impl Syntax {
    /// Returns the syntax of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "dotenv" => Some(Self::Dotenv),
            "systemd" => Some(Self::Systemd),
            "foreman" => Some(Self::Foreman),
            _ => None,
        }
    }

    /// Returns the variables of a text; an error has the number of its line.
    pub(super) fn read(self, text: &str) -> Result<EnvMap, (usize, String)> {
        match self {
            Self::Dotenv => dotenv(text),
            Self::Systemd => Ok(systemd(text)),
            Self::Foreman => Ok(foreman(text)),
        }
    }
}

/// Returns the variables of a dotenv text: `NAME=value`, `export NAME=value`, comments, quotes.
/// `"…"` supports `\n \r \t \\ \" \$` and may span lines. `'…'` may also span lines, but supports
/// no escapes. A `$` stays a `$`.
fn dotenv(text: &str) -> Result<EnvMap, (usize, String)> {
    let mut out = EnvMap::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let start = rest.trim_start_matches([' ', '\t', '\r']);
        if let Some(after) = start.strip_prefix('\n') {
            (rest, line) = (after, line + 1);
            continue;
        }
        let end = start.find('\n').unwrap_or(start.len());
        if start.is_empty() || start.starts_with('#') {
            rest = &start[end..];
            continue;
        }
        let body = start.strip_prefix("export ").unwrap_or(start).trim_start();
        let (name, value) = body.split_once('=').filter(|(name, _)| !name.contains('\n') && is_name(name.trim_end())).ok_or_else(|| {
            (
                line,
                message!("expected NAME=value, found {found}", found = format!("{:?}", start[..end].chars().take(40).collect::<String>())),
            )
        })?;
        let (value, after) =
            value_of(value).ok_or_else(|| (line, message!("the quote after {name} is not closed", name = name.trim_end())))?;
        let used = rest.len() - after.len();
        line += rest[..used].matches('\n').count();
        out.insert(name.trim_end().to_owned(), value);
        rest = after;
    }
    Ok(out)
}

/// Returns the value at the start of a text, and the text from the next line on.
fn value_of(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    let end_of_line = |text: &str| text.find('\n').unwrap_or(text.len());
    for quote in ['"', '\'', '`'] {
        let Some(body) = text.strip_prefix(quote) else { continue };
        let (value, after) = quoted(body, quote)?;
        // A comment may follow.
        return Some((value, &after[end_of_line(after)..]));
    }
    let (value, after) = text.split_at(end_of_line(text));
    let value = match value.char_indices().find(|(index, c)| *c == '#' && (*index == 0 || value[..*index].ends_with([' ', '\t']))) {
        Some((comment, _)) => &value[..comment],
        None => value,
    };
    Some((value.trim().to_owned(), after))
}

fn quoted(body: &str, quote: char) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = body.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            c if c == quote => return Some((out, &body[index + 1..])),
            '\\' if quote == '"' => match chars.next()?.1 {
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                c @ ('\\' | '"' | '$') => out.push(c),
                other => out.extend(['\\', other]),
            },
            c => out.push(c),
        }
    }
    None
}

/// Reads a text as systemd does, which ignores lines that are no assignment.
fn systemd(text: &str) -> EnvMap {
    let mut out = EnvMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let line = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let end = line.find('\n').unwrap_or(line.len());
        let assignment = line.split_once('=').filter(|(name, _)| !line.starts_with(['#', ';']) && !name.contains('\n'));
        let Some((name, value)) = assignment else {
            rest = &line[end..];
            continue;
        };
        let (value, after) = systemd_value(value);
        if is_plain_name(name.trim()) {
            out.insert(name.trim().to_owned(), value);
        }
        rest = after;
    }
    out
}

/// Returns the value at the start of a text, and the text after it.
fn systemd_value(text: &str) -> (String, &str) {
    let text = text.trim_start_matches([' ', '\t', '\r']);
    let mut out = String::new();
    let mut quote = None;
    // Quotes count at the beginning of a value, and after the end of a quoted part.
    let mut may_quote = true;
    // Trailing blanks of an unquoted value are not part of it.
    let mut kept = 0;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (None, '\n') => {
                out.truncate(kept);
                return (out, text.get(at..).unwrap_or_default());
            }
            (None, '"' | '\'') if may_quote => quote = Some(c),
            (Some(open), c) if c == open => {
                quote = None;
                kept = out.len();
            }
            (None, ' ' | '\t' | '\r') => {
                if !may_quote || kept > 0 {
                    out.push(c);
                }
                continue;
            }
            (None | Some('"'), '\\') => {
                match chars.next() {
                    None => {}
                    Some((_, '\n')) => {}
                    Some((_, next)) => {
                        if quote.is_some() && !matches!(next, '"' | '\\' | '`' | '$') {
                            out.push('\\');
                        }
                        out.push(next);
                    }
                }
                may_quote &= quote.is_some();
                kept = out.len();
            }
            (_, c) => {
                out.push(c);
                may_quote &= quote.is_some();
                kept = out.len();
            }
        }
    }
    out.truncate(kept);
    (out, "")
}

fn foreman(text: &str) -> EnvMap {
    let one = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
        let value = match (inner('\''), inner('"')) {
            (Some(value), _) => value.to_owned(),
            (None, Some(value)) => unescaped(&value.replace("\\n", "\n")),
            (None, None) => value.to_owned(),
        };
        is_plain_name(name).then(|| (name.to_owned(), value))
    };
    text.lines().filter_map(one).collect()
}

fn unescaped(text: &str) -> String {
    let mut chars = text.chars();
    std::iter::from_fn(|| match chars.next()? {
        '\\' => Some(chars.next().unwrap_or('\\')),
        c => Some(c),
    })
    .collect()
}

fn is_plain_name(name: &str) -> bool {
    is_name(name) && !name.contains(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dotenv_parses_comments_quotes_and_multiline_values() {
        let text = "# comment\n\nA=1\nexport B = two words # note\nC=\"x\\ny \\\"q\\\" # no\" # yes\nD='$HOME \\n'\nE=\nF=a#b\nG=\"one\ntwo\"\r\nH=`it's`\r\nI.x=$(id)";
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "x\ny \"q\" # no"),
            ("D", "$HOME \\n"),
            ("E", ""),
            ("F", "a#b"),
            ("G", "one\ntwo"),
            ("H", "it's"),
            ("I.x", "$(id)"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        assert_eq!(dotenv(text), Ok(expected));
        assert_eq!(dotenv("A=1\nnonsense\n").unwrap_err().0, 2);
        assert_eq!(dotenv("A=\"1\n2\"\n\nB='x\n").unwrap_err().0, 4);
        assert_eq!(dotenv("=x").unwrap_err().0, 1);
    }

    #[test]
    fn dotenv_systemd_and_foreman_syntaxes_differ() {
        for (line, of_dotenv, of_systemd, of_foreman) in [
            ("A=b # c", Some("b"), Some("b # c"), Some("b # c")),
            ("export A=b", Some("b"), None, None),
            ("; A=b", None, None, None),
            ("A=\"x\\ny\"", Some("x\ny"), Some("x\\ny"), Some("x\ny")),
            ("A='x \\n y'", Some("x \\n y"), Some("x \\n y"), Some("x \\n y")),
            ("A=a\\\\b\\ c", Some("a\\\\b\\ c"), Some("a\\b c"), Some("a\\\\b\\ c")),
            ("A=a\\\nb", None, Some("ab"), Some("a\\")),
            ("A= x\"y\" ", Some("x\"y\""), Some("x\"y\""), Some(" x\"y\" ")),
            ("A=\"a\\\"b\" ", Some("a\"b"), Some("a\"b"), Some("\"a\\\"b\" ")),
            ("A=", Some(""), Some(""), Some("")),
            ("A=$B", Some("$B"), Some("$B"), Some("$B")),
        ] {
            let read = |syntax: Syntax| syntax.read(line).ok().and_then(|vars| vars.get("A").cloned());
            let expected = [of_dotenv, of_systemd, of_foreman].map(|value| value.map(str::to_owned));
            assert_eq!([Syntax::Dotenv, Syntax::Systemd, Syntax::Foreman].map(read), expected, "{line}");
        }
        assert_eq!(
            Syntax::Systemd.read("# x\nnonsense\nA='1\n2'\n B = 3 \n").unwrap(),
            EnvMap::from_iter([("A".into(), "1\n2".into()), ("B".into(), "3".into())])
        );
    }

    #[test]
    fn env_file_accepts_path_or_table() {
        let file = |path: &str, is_required, syntax| EnvFile { path: path.into(), is_required, syntax };
        assert_eq!(
            list(&json!(["a", {"path": "b", "required": false}])).unwrap(),
            [file("a", true, Syntax::Dotenv), file("b", false, Syntax::Dotenv)]
        );
        assert_eq!(list(&json!({"path": "c", "format": "systemd"})).unwrap(), [file("c", true, Syntax::Systemd)]);
        for (value, why) in [
            (json!({"required": false}), "`path`"),
            (json!({"path": "a", "optional": true}), "optional"),
            (json!({"path": "a", "required": "no"}), "`required`"),
            (json!({"path": "a", "format": "toml"}), "`format`"),
            (json!([1]), "expected a path"),
        ] {
            let message = list(&value).unwrap_err().message;
            assert!(message.contains(why), "{value}: {message}");
        }
    }

    proptest::proptest! {
        #[test]
        fn read_never_panics_on_any_text(text in r#"[A-B=\\"' \n#;xü]{0,40}"#) {
            for syntax in [Syntax::Dotenv, Syntax::Systemd, Syntax::Foreman] {
                let _ = syntax.read(&text);
            }
        }
    }
}
