//! Words and `%(name)s` of Python, as supervisor reads them.

use super::FileContext;

/// Values that an expression can refer to.
pub(super) struct ExpressionValues<'a> {
    pub place: &'a FileContext<'a>,
    pub program: &'a str,
    pub group: &'a str,
    pub process: u64,
}

/// A text without expressions.
pub(super) struct Formatted {
    pub text: String,
    /// Whether it contains `${X}`; each other dollar sign is then doubled.
    pub has_variable: bool,
}

/// Replaces `%(here)s`, `%(process_num)02d` and similar expressions; `%(ENV_X)s` becomes `${X}`,
/// which is resolved when the app starts.
pub(super) fn format(text: &str, values: &ExpressionValues<'_>, unknown: &mut Vec<String>) -> Formatted {
    let has_variable = text.contains("%(ENV_");
    let literal = |text: &str| if has_variable { text.replace('$', "$$") } else { text.to_owned() };
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(&literal(before));
        if let Some(after) = after.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let Some((name, width, after)) = expression(after) else {
            out.push('%');
            rest = after;
            continue;
        };
        rest = after;
        match (name, values.place.folder, values.place.host) {
            ("program_name", ..) => out.push_str(&literal(values.program)),
            ("group_name", ..) => out.push_str(&literal(values.group)),
            ("process_num", ..) if width.starts_with('0') => {
                let width = width.parse::<usize>().unwrap_or(0).min(20);
                out.push_str(&format!("{:0width$}", values.process));
            }
            ("process_num", ..) => out.push_str(&values.process.to_string()),
            ("here", Some(folder), _) => out.push_str(&literal(folder)),
            ("host_node_name", _, Some(host)) => out.push_str(host),
            (name, ..) => match name.strip_prefix("ENV_") {
                Some(variable) => out.push_str(&format!("${{{variable}}}")),
                None => {
                    unknown.push(name.to_owned());
                    out.push_str(&format!("%({name})s"));
                }
            },
        }
    }
    out.push_str(&literal(rest));
    Formatted { text: out, has_variable }
}

/// Returns the name and width of `(name)02d`, and the text after it.
fn expression(text: &str) -> Option<(&str, &str, &str)> {
    let (name, after) = text.strip_prefix('(')?.split_once(')')?;
    let letter = after.find(|c: char| !c.is_ascii_digit())?;
    after.get(letter..)?.starts_with(['s', 'd']).then_some(())?;
    Some((name, after.get(..letter)?, after.get(letter + 1..)?))
}

/// Splits as `shlex` does: quotes group, a backslash escapes the next character, in double quotes
/// only a quote or a backslash. `None`: a quote is not closed.
pub(super) fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '"' | '\'') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (Some(open), c) if c == open => quote = None,
            (None, '\\') => word.get_or_insert_default().push(chars.next()?),
            (Some('"'), '\\') => {
                let next = chars.next_if(|next| matches!(next, '"' | '\\'));
                word.get_or_insert_default().push(next.unwrap_or('\\'));
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_expands_supervisor_expressions() {
        let place = FileContext { folder: Some("/etc/supervisor"), host: Some("h1"), ..FileContext::named("x.conf") };
        let values = ExpressionValues { place: &place, program: "web", group: "shop", process: 7 };
        for (text, expected) in [
            ("%(here)s/x %(program_name)s-%(group_name)s", "/etc/supervisor/x web-shop"),
            ("%(process_num)02d %(process_num)s %(process_num)d 80%(process_num)003d", "07 7 7 80007"),
            ("%(host_node_name)s 5%% 5% $X", "h1 5% 5% $X"),
            ("%(ENV_HOME)s/$x", "${HOME}/$$x"),
            ("%(nope)s", "%(nope)s"),
        ] {
            let mut unknown = Vec::new();
            assert_eq!(format(text, &values, &mut unknown).text, expected);
            assert_eq!(unknown.is_empty(), !text.contains("nope"), "{text}");
        }
    }

    #[test]
    fn split_follows_shlex_rules() {
        for (text, expected) in
            [(r#"a 'b "c' "d \" \x" e\ f"#, Some(&["a", "b \"c", "d \" \\x", "e f"][..])), ("a 'b", None), ("a\\", None), ("", Some(&[]))]
        {
            assert_eq!(split(text), expected.map(|words| words.iter().map(|word| (*word).to_owned()).collect()), "{text}");
        }
    }
}
