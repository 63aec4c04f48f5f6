//! `${NAME}` in values, if `env_expand` is on.
//!
//! ```text
//! ${NAME}             the value; it is an error if there is none
//! ${NAME:-default}    another value if there is none, or an empty one
//! ${NAME:?message}    an error with this message if there is none, or an empty one
//! $$                  a dollar sign
//! ```
//!
//! Any other dollar sign stays: `$NAME` is for the shell, and for apps with their own syntax.

use std::collections::HashMap;

use ostler_core::app::EnvMap;
use ostler_core::message;

/// Longest value. A longer one is a mistake: a few lines that double each other would fill the
/// memory.
const MAX_BYTES: usize = 1 << 20;

/// Layers of variables, the lowest first. The values of the lowest layer (the caller's) are not
/// expanded.
pub(super) struct Variables<'a> {
    layers: Vec<&'a EnvMap>,
    found: HashMap<(usize, &'a str), String>,
    /// Variables that are being resolved, the innermost last.
    path: Vec<(usize, &'a str)>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(layers: Vec<&'a EnvMap>) -> Self {
        Self { layers, found: HashMap::new(), path: Vec::new() }
    }

    /// Returns the layer with all references resolved.
    pub(super) fn layer(&mut self, layer: usize) -> Result<EnvMap, (String, String)> {
        let Some(vars) = self.layers.get(layer).copied() else { return Ok(EnvMap::new()) };
        let mut out = EnvMap::new();
        for name in vars.keys() {
            let value = self.value(layer, name).map_err(|message| (name.clone(), message))?;
            out.insert(name.clone(), value.unwrap_or_default());
        }
        Ok(out)
    }

    /// Returns a text of the app with all references resolved.
    pub(super) fn text(&mut self, text: &str) -> Result<String, String> {
        let top = self.layers.len();
        self.expand(text, top)
    }

    /// Returns the variable as seen from this layer: from this layer, or else from a lower one.
    fn value(&mut self, layer: usize, name: &str) -> Result<Option<String>, String> {
        for at in (0..=layer).rev() {
            let Some((name, text)) = self.layers.get(at).and_then(|vars| vars.get_key_value(name)) else { continue };
            if at == 0 {
                return Ok(Some(text.clone()));
            }
            let key = (at, name.as_str());
            if let Some(value) = self.found.get(&key) {
                return Ok(Some(value.clone()));
            }
            // `PATH: "${PATH}:/opt/bin"` refers to the lower layer.
            if self.path.last() == Some(&key) {
                continue;
            }
            if let Some(first) = self.path.iter().position(|other| *other == key) {
                let names: Vec<&str> = self.path[first..].iter().chain([&key]).map(|(_, name)| *name).collect();
                return Err(message!("refers to itself: {names}", names = names.join(" → ")));
            }
            self.path.push(key);
            let value = self.expand(text, at);
            self.path.pop();
            let value = value?;
            self.found.insert(key, value.clone());
            return Ok(Some(value));
        }
        Ok(None)
    }

    fn expand(&mut self, text: &str, layer: usize) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            out.push_str(&rest[..dollar]);
            rest = &rest[dollar..];
            if let Some(after) = rest.strip_prefix("$$") {
                out.push('$');
                rest = after;
            } else if let Some(body) = rest.strip_prefix("${") {
                let (body, after) = body
                    .split_once('}')
                    .ok_or_else(|| message!("the {{ of {start} is not closed", start = format!("{:?}", start_of(rest))))?;
                out.push_str(&self.reference(body, layer)?);
                rest = after;
            } else {
                out.push('$');
                rest = &rest[1..];
            }
            if out.len() > MAX_BYTES {
                return Err(message!("becomes longer than 1 MiB"));
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// Resolves the text between the braces.
    fn reference(&mut self, body: &str, layer: usize) -> Result<String, String> {
        let end = body.find(':').unwrap_or(body.len());
        let (name, rest) = body.split_at(end);
        if !is_name(name) {
            return Err(message!(
                "expected ${{NAME}}, ${{NAME:-default}} or ${{NAME:?message}}, found \"${{{found}}}\"",
                found = start_of(body)
            ));
        }
        let value = self.value(layer, name)?;
        let filled = value.clone().filter(|value| !value.is_empty());
        match rest.get(..2) {
            Some(":-") => Ok(filled.unwrap_or_else(|| rest[2..].to_owned())),
            Some(":?") => filled.ok_or_else(|| match &rest[2..] {
                "" => message!("{name}: is not set", name),
                text => format!("{name}: {text}"),
            }),
            _ if rest.is_empty() => value.ok_or_else(|| message!("{name} is not set; ${{{name}:-}} is empty then", name)),
            _ => Err(message!("expected :- or :? after {name}, found {found}", name, found = format!("{rest:?}"))),
        }
    }
}

/// Returns true if the text has a reference to a variable, in the form that would be resolved.
pub(super) fn has_reference(text: &str) -> bool {
    text.match_indices("${").any(|(at, _)| {
        let body = &text[at + 2..];
        body.split_once('}').is_some_and(|(body, _)| is_name(body.split(':').next().unwrap_or_default()))
    })
}

fn start_of(text: &str) -> String {
    text.chars().take(40).collect()
}

pub(super) fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vars(pairs: &[(&str, &str)]) -> EnvMap {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn expand_one(text: &str) -> Result<String, String> {
        let caller = vars(&[("HOST", "db"), ("EMPTY", ""), ("ODD", "${HOST}")]);
        Variables::new(vec![&caller]).text(text)
    }

    #[test]
    fn references_expand_in_every_form() {
        for (text, expected) in [
            ("tcp://${HOST}:1", "tcp://db:1"),
            ("${NO:-x:y}", "x:y"),
            ("${EMPTY:-x}|${EMPTY}", "x|"),
            ("${NO:-}", ""),
            ("${HOST:?no}", "db"),
            ("$$ $HOST $ $${HOST} 100$", "$ $HOST $ ${HOST} 100$"),
            // The caller's values are not expanded.
            ("${ODD}", "${HOST}"),
        ] {
            assert_eq!(expand_one(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, words) in [
            ("${NO}", "NO is not set"),
            ("${NO:?set it in .env}", "NO: set it in .env"),
            ("${EMPTY:?}", "EMPTY: is not set"),
            ("${HOST", "is not closed"),
            ("${}", "expected ${NAME}"),
            ("${a b}", "expected ${NAME}"),
            ("${HOST:+x}", "expected :- or :?"),
            ("${HOST:é}", "expected :- or :?"),
        ] {
            assert!(expand_one(text).is_err_and(|message| message.contains(words)), "{text}: {:?}", expand_one(text));
        }
    }

    #[test]
    fn layer_references_resolve_to_same_and_lower_layers() {
        let caller = vars(&[("PATH", "/bin"), ("A", "caller")]);
        let file = vars(&[("A", "file"), ("B", "${A}-b")]);
        let env = vars(&[("A", "env"), ("PATH", "${PATH}:/opt"), ("C", "${B} ${A} ${PATH}")]);
        let mut all = Variables::new(vec![&caller, &file, &env]);
        assert_eq!(all.layer(1), Ok(vars(&[("A", "file"), ("B", "file-b")])));
        assert_eq!(all.layer(2), Ok(vars(&[("A", "env"), ("PATH", "/bin:/opt"), ("C", "file-b env /bin:/opt")])));
    }

    #[test]
    fn circular_and_exploding_references_are_rejected() {
        let (caller, env) = (EnvMap::new(), vars(&[("A", "${B}"), ("B", "${C}"), ("C", "${A}")]));
        let (name, message) = Variables::new(vec![&caller, &env]).layer(1).unwrap_err();
        assert_eq!((name.as_str(), message.as_str()), ("A", "refers to itself: A → B → C → A"));
        let doubling: EnvMap =
            (0..64).map(|n| (format!("V{n}"), format!("${{V{}}}${{V{}}}", n + 1, n + 1))).chain([("V64".into(), "x".into())]).collect();
        let (_, message) = Variables::new(vec![&caller, &doubling]).layer(1).unwrap_err();
        assert!(message.contains("1 MiB"), "{message}");
    }

    #[test]
    fn has_reference_detects_braced_names_only() {
        for (text, expected) in [("${A}", true), ("x ${A:-1}", true), ("$A", false), ("${a b}", false), ("${", false), ("#{A}", false)] {
            assert_eq!(has_reference(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn expansion_never_panics_on_any_text(text in ".{0,40}", value in ".{0,10}") {
            let (caller, env) = (vars(&[("A", "x")]), vars(&[("B", value.as_str()), ("C", text.as_str())]));
            let _ = Variables::new(vec![&caller, &env]).layer(1);
            let _ = Variables::new(vec![&caller, &env]).text(&text);
        }

        #[test]
        fn text_without_dollar_is_unchanged(text in "[^$]{0,40}") {
            prop_assert_eq!(expand_one(&text), Ok(text));
        }
    }
}
