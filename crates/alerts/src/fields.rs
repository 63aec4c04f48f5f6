//! Reading of JSON that a person wrote. All errors are reported at once, each with its key and the
//! closest known word.

use serde_json::{Map, Value};

use ostler_core::message;
use ostler_core::text::suggest::near;
use ostler_core::text::units;

/// Error in the JSON: its key and a description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The affected key; none = the whole value.
    pub key: Option<String>,
    /// Description of the error.
    pub text: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Object that is read key by key.
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    pub(crate) problems: Vec<Problem>,
}

impl<'a> Fields<'a> {
    /// Returns the object if all its keys are known, otherwise a problem for each unknown key.
    pub(crate) fn of(value: &'a Value, known: &[&str]) -> Result<Self, Vec<Problem>> {
        let Value::Object(map) = value else {
            return Err(vec![Problem { key: None, text: message!("expected a table, found {found}", found = kind(value)) }]);
        };
        let mut fields = Self { map, problems: Vec::new() };
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let hint = did_you_mean(key, known);
            fields.fault(key, message!("unknown key{hint}", hint));
        }
        Ok(fields)
    }

    pub(crate) fn fault(&mut self, key: &str, text: impl Into<String>) {
        let key = crate::text::plain(key, 60);
        self.problems.push(Problem { key: Some(key), text: text.into() });
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Reads a value with a function. If that returns `None`, the problem names `expected`.
    fn read<T>(&mut self, key: &str, read: impl FnOnce(&'a Value) -> Option<T>, expected: &str) -> Option<T> {
        let value = self.get(key)?;
        let result = read(value);
        if result.is_none() {
            self.fault(key, message!("expected {expected}, found {found}", expected, found = kind(value)));
        }
        result
    }

    pub(crate) fn text(&mut self, key: &str) -> Option<String> {
        let read = |value: &Value| value.as_str().filter(|text| !text.is_empty() && text.len() <= 4096).map(str::to_owned);
        self.read(key, read, &message!("a string"))
    }

    pub(crate) fn flag(&mut self, key: &str) -> Option<bool> {
        self.read(key, Value::as_bool, &message!("true or false"))
    }

    /// Reads a text or a list of texts.
    pub(crate) fn texts(&mut self, key: &str) -> Vec<String> {
        self.read(key, texts, &message!("a string or a list of strings")).unwrap_or_default()
    }

    pub(crate) fn number(&mut self, key: &str, from: f64, to: f64) -> Option<f64> {
        self.read(
            key,
            |value| value.as_f64().filter(|n| (from..=to).contains(n)),
            &message!("a number from {min} to {max}", min = from, max = to),
        )
    }

    /// Reads a number, a percentage (`"90%"`) or an amount (`"400M"`).
    pub(crate) fn amount(&mut self, key: &str) -> Option<f64> {
        self.read(key, amount, &message!("a number, a percentage or a size such as 400M"))
    }

    /// Reads a time in ms, from a number of ms or a text such as `5m`.
    pub(crate) fn time(&mut self, key: &str, most: u64) -> Option<u64> {
        self.read(
            key,
            |value| units::millis_of(value).filter(|ms| *ms <= most),
            &message!("a time up to {most}", most = units::millis_text(most)),
        )
    }

    /// Reads one of these words.
    pub(crate) fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, is)| *is);
        if found.is_none() {
            self.unknown_word(key, &text, &words.iter().map(|(word, _)| *word).collect::<Vec<_>>());
        }
        found
    }

    pub(crate) fn unknown_word(&mut self, key: &str, text: &str, words: &[&str]) {
        let hint = did_you_mean(text, words);
        let text = crate::text::plain(text, 60);
        self.fault(
            key,
            message!("expected one of {words}, found {found}{hint}", words = words.join(", "), found = format!("{text:?}"), hint),
        );
    }

    pub(crate) fn end<T>(self, made: Option<T>) -> Result<T, Vec<Problem>> {
        match made {
            Some(made) if self.problems.is_empty() => Ok(made),
            _ if self.problems.is_empty() => Err(vec![Problem { key: None, text: message!("is incomplete") }]),
            _ => Err(self.problems),
        }
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(list) if list.len() <= 100 => list.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "an amount to compare with")]
fn amount(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => {
            let number = units::percent(text).or_else(|| text.parse().ok());
            number.or_else(|| units::bytes(text).ok().map(|bytes| bytes as f64))
        }
        _ => None,
    }
    .filter(|amount: &f64| amount.is_finite())
}

/// Returns the name of a value's type.
pub(crate) fn kind(value: &Value) -> String {
    match value {
        Value::Null => message!("nothing"),
        Value::Bool(_) => message!("true or false"),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("{:?}", crate::text::plain(text, 60)),
        Value::Array(_) => message!("a list"),
        Value::Object(_) => message!("a table"),
    }
}

/// Returns `; did you mean …?` if one of the known words is close.
pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> String {
    near(word, known.iter().copied()).map(|name| message!("; did you mean {name}?", name)).unwrap_or_default()
}
