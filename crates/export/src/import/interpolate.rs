//! Variables in a compose file: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:?message}`,
//! `${NAME:+other}`, the same without the colon, and `$$`.
//!
//! Values are searched, keys are not; a default may contain variables itself. Source: the chapter
//! "Interpolation" of the Compose specification.

use ostler_core::message;
use serde_json::Value;

use super::ImportError;

/// Longest value. A longer one is a mistake, or an attempt to exhaust the memory.
const MOST_BYTES: usize = 1 << 20;
/// Deepest default within a default.
const DEEPEST: usize = 16;

/// Variables that a file can refer to.
pub(super) struct Variables<'a> {
    /// Returns the value of a variable.
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Names without a value and without a default: they became empty.
    pub missing: Vec<String>,
    /// Whether this is an env file: a `$` that begins no reference then stays unchanged.
    pub is_lenient: bool,
}

/// Replaces variables by their values. `path` is the position of this value in the file.
///
/// # Errors
/// Returns an error if a required variable is unset, a brace is not closed, or the result is too
/// long.
pub(super) fn interpolate(value: &mut Value, path: &str, variables: &mut Variables<'_>) -> Result<(), ImportError> {
    match value {
        Value::String(text) if text.contains('$') => {
            *text = variables.text(text, 0).map_err(|why| ImportError::Malformed(format!("{path}: {why}")))?;
        }
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                interpolate(item, &format!("{path}[{at}]"), variables)?;
            }
        }
        Value::Object(map) => {
            for (key, item) in map.iter_mut() {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                interpolate(item, &path, variables)?;
            }
        }
        _ => {}
    }
    Ok(())
}

impl Variables<'_> {
    /// Resolves the references of one text.
    ///
    /// # Errors
    /// Same as [`interpolate`].
    pub(super) fn resolve(&mut self, text: &str) -> Result<String, String> {
        self.text(text, 0)
    }

    fn text(&mut self, text: &str, depth: usize) -> Result<String, String> {
        if depth > DEEPEST {
            return Err(message!("more than {most} defaults within each other", most = DEEPEST));
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            out.push_str(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(body) = rest.strip_prefix('{') {
                let end = end_of(body).ok_or_else(|| message!("the brace of \"${text}\" is not closed", text = start_of(rest)))?;
                out.push_str(&self.reference(&body[..end], depth)?);
                rest = &body[end + 1..];
            } else {
                let end = name_end(rest);
                if end == 0 && self.is_lenient {
                    out.push('$');
                    continue;
                }
                if end == 0 {
                    return Err(message!("a `$` before {text}: write `$$` for a dollar sign", text = format!("{:?}", start_of(rest))));
                }
                out.push_str(&self.plain(&rest[..end]));
                rest = &rest[end..];
            }
            if out.len() > MOST_BYTES {
                return Err(message!("it becomes longer than 1 MiB"));
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn plain(&mut self, name: &str) -> String {
        (self.lookup)(name).unwrap_or_else(|| {
            if !self.missing.iter().any(|known| known == name) {
                self.missing.push(name.to_owned());
            }
            String::new()
        })
    }

    /// Resolves the text between the braces.
    fn reference(&mut self, body: &str, depth: usize) -> Result<String, String> {
        let (name, rest) = body.split_at(name_end(body));
        if name.is_empty() {
            return Err(message!("\"${{{text}}}\" names no variable", text = start_of(body)));
        }
        if rest.is_empty() {
            return Ok(self.plain(name));
        }
        let (empty_is_none, rest) = rest.strip_prefix(':').map_or((false, rest), |rest| (true, rest));
        let value = (self.lookup)(name).filter(|value| !(empty_is_none && value.is_empty()));
        let Some(word) = rest.get(1..) else { return Err(message!("expected -, ? or + after {name}", name)) };
        match (&rest[..1], value) {
            ("-", Some(value)) | ("?", Some(value)) => Ok(value),
            ("-", None) | ("+", Some(_)) => self.text(word, depth + 1),
            ("+", None) => Ok(String::new()),
            ("?", None) => {
                let why = self.text(word, depth + 1)?;
                Err(if why.is_empty() {
                    message!("the variable {name} must be set", name)
                } else {
                    message!("the variable {name} must be set: {reason}", name, reason = why)
                })
            }
            _ => Err(message!("expected -, ? or + after {name}, found {found}", name, found = format!("{:?}", start_of(rest)))),
        }
    }
}

/// References that stay in an ecosystem file, where `env_expand` resolves them.
pub(super) mod references {
    use ostler_core::message;

    use super::{end_of, name_end};

    /// A text with references in the form of an ecosystem file.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub(in crate::import) struct Kept {
        pub text: String,
        pub has_reference: bool,
        /// Reason why a reference does not have exactly the same meaning there.
        pub differs: Option<String>,
    }

    /// Writes `$NAME` as `${NAME}`, and the forms without a colon as those with one.
    pub(in crate::import) fn kept(text: &str) -> Kept {
        let mut kept = Kept::default();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            kept.text.push_str(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                kept.text.push_str("$$");
                rest = after;
            } else if let Some((body, end)) = rest.strip_prefix('{').and_then(|body| Some((body, end_of(body)?))) {
                kept.reference(&body[..end]);
                rest = &body[end + 1..];
            } else {
                let end = name_end(rest);
                if end > 0 {
                    kept.reference(&rest[..end]);
                } else {
                    kept.text.push('$');
                }
                rest = &rest[end..];
            }
        }
        kept.text.push_str(rest);
        kept
    }

    impl Kept {
        fn reference(&mut self, body: &str) {
            self.has_reference = true;
            let (name, rest) = body.split_at(name_end(body));
            let colon = match rest.chars().next() {
                Some(sign @ ('-' | '?')) => {
                    self.differs =
                        Some(message!("${{{name}{sign}…}} becomes ${{{name}:{sign}…}}, which treats an empty {name} as unset", name, sign));
                    ":"
                }
                _ => "",
            };
            if rest.starts_with([':', '+']) && (rest.contains('$') || rest.trim_start_matches(':').starts_with('+')) {
                self.differs = Some(message!("${{{text}}} has no equivalent in an ecosystem file: write the value", text = body));
            }
            self.text.extend(["${", name, colon, rest, "}"]);
        }
    }

    #[test]
    fn compose_references_map_to_ecosystem_references() {
        for (text, expected, has_reference, differs) in [
            ("plain", "plain", false, false),
            ("a$$b", "a$$b", false, false),
            ("$A", "${A}", true, false),
            ("$A_1-x${B}$C", "${A_1}-x${B}${C}", true, false),
            ("$$A$A", "$$A${A}", true, false),
            ("${A:-d} ${B:?no}", "${A:-d} ${B:?no}", true, false),
            ("${A-d}", "${A:-d}", true, true),
            ("${A?no}", "${A:?no}", true, true),
            ("${A:+d}", "${A:+d}", true, true),
            ("${A:-$B}", "${A:-$B}", true, true),
            ("cost 5$ ${", "cost 5$ ${", false, false),
        ] {
            let kept = kept(text);
            assert_eq!((kept.text.as_str(), kept.has_reference, kept.differs.is_some()), (expected, has_reference, differs), "{text}");
        }
    }
}

/// Returns the length of the name at the start.
fn name_end(text: &str) -> usize {
    let is_of_name = |(at, c): &(usize, char)| c.is_ascii_alphabetic() || *c == '_' || *at > 0 && c.is_ascii_digit();
    text.char_indices().take_while(is_of_name).map(|(at, c)| at + c.len_utf8()).last().unwrap_or(0)
}

/// Returns the position of the matching closing brace.
fn end_of(body: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut before = ' ';
    for (at, c) in body.char_indices() {
        match c {
            '{' if before == '$' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

fn start_of(text: &str) -> String {
    text.chars().take(30).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let lookup = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            "WILD" => Some("$A ${A}".to_owned()),
            _ => None,
        };
        Variables { lookup: &lookup, missing: Vec::new(), is_lenient: false }.text(text, 0)
    }

    #[test]
    fn interpolation_matches_compose() {
        for (text, expected) in [
            ("x$A-${A}$$A", "xa-a$A"),
            ("${A}_$A_", "a_"),
            ("${NONE:-d}${EMPTY:-d}${EMPTY-d}|", "dd|"),
            ("${NONE:-${A}b}${NONE:-${NONE:-}}", "ab"),
            ("${A:+yes}${EMPTY:+yes}${EMPTY+yes}", "yesyes"),
            ("${A:?no}${EMPTY?no}|", "a|"),
            // A value is never expanded again.
            ("$WILD", "$A ${A}"),
            ("$NONE.", "."),
            ("postgres://${NONE:-localhost}:5432", "postgres://localhost:5432"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, why) in [
            ("${A", "is not closed"),
            ("$", "write `$$`"),
            ("$ 5", "write `$$`"),
            ("${}", "names no variable"),
            ("${A!}", "expected -, ? or +"),
            ("${A:}", "expected -, ? or +"),
            ("${NONE:?give it}", "give it"),
            ("${EMPTY:?}", "must be set"),
        ] {
            assert!(read(text).unwrap_err().contains(why), "{text}: {:?}", read(text));
        }
        assert!(read(&"${N:-".repeat(100_000)).is_err());
        assert!(read(&format!("{}{}", "${N:-".repeat(50), "}".repeat(50))).is_err());
    }

    proptest::proptest! {
        #[test]
        fn read_never_panics_on_any_text(text in "[$\\{\\}:?+A-C é-]{0,40}") {
            let _ = read(&text);
        }
    }
}
