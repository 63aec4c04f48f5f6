//! Values of keys: checked against the types of their key, converted to canonical form, and
//! described in words.

use ostler_core::message;
pub(crate) use ostler_core::text::units::whole;
use ostler_core::{app::args, text::units};
use serde_json::Value;

use crate::keys::{self, Accept, Key};

/// Returns a value as the process gets it: tables and lists as JSON, the rest as text.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

type Canonical = (Value, Option<String>);

/// Returns the value in canonical form, with an optional warning.
///
/// # Errors
/// Returns "expected …, found …".
pub(crate) fn canonical(key: &Key, value: &Value) -> Result<Canonical, String> {
    if let Some(canonical) = flag_in_quotes(key, value) {
        return Ok(canonical);
    }
    if let Some(value) = key.accepts.iter().find_map(|accept| convert(accept, value)) {
        return Ok((value, None));
    }
    let expected = key.accepts.iter().map(Accept::describe).collect::<Vec<_>>().join(" or ");
    let words = key.accepts.iter().flat_map(|accept| match accept {
        Accept::OneOf(words) => *words,
        _ => &[],
    });
    let hint =
        value.as_str().and_then(|text| keys::closest(text, words.copied())).map(|near| message!(" (did you mean \"{near}\"?)", near));
    Err(message!("expected {expected}, found {found}{near}", expected, found = describe_value(value), near = hint.unwrap_or_default()))
}

/// Returns the index of the first item of a list that the key does not accept. If it accepts each
/// of them alone, the list as a whole is wrong.
pub(crate) fn wrong_item(key: &Key, value: &Value) -> Option<usize> {
    let items = value.as_array()?;
    let is_wrong = |item: &Value| {
        let alone = Value::Array(vec![item.clone()]);
        !key.accepts.iter().any(|accept| convert(accept, &alone).is_some())
    };
    let wrong = items.iter().position(is_wrong)?;
    // A list of right items must exist.
    key.accepts.iter().any(|accept| convert(accept, &Value::Array(Vec::new())).is_some()).then_some(wrong)
}

/// Rejects `watch: "false"`, which would watch a path called `false`. No user intends that.
fn flag_in_quotes(key: &Key, value: &Value) -> Option<Canonical> {
    let flag = match value.as_str()? {
        "true" => true,
        "false" => false,
        _ => return None,
    };
    key.accepts
        .contains(&Accept::Flag)
        .then(|| key.accepts.iter().any(|accept| matches!(accept, Accept::Text | Accept::Texts)))?
        .then(|| (Value::Bool(flag), Some(message!("read as {flag}; remove the quotes", flag))))
}

fn convert(accept: &Accept, value: &Value) -> Option<Value> {
    match (accept, value) {
        (Accept::Flag, Value::Bool(_)) | (Accept::Text | Accept::Command, Value::String(_)) | (Accept::Table, Value::Object(_)) => {
            Some(value.clone())
        }
        (Accept::OneOf(words), Value::String(text)) => words.contains(&text.as_str()).then(|| value.clone()),
        (Accept::Number(min, max), value) => whole(value).filter(|number| (*min..=*max).contains(number)).map(Value::from),
        (Accept::Millis, value) => units::millis_of(value).map(Value::from),
        (Accept::Bytes, Value::String(text)) if is_percent(text) => Some(value.clone()),
        (Accept::Bytes, value) => units::bytes_of(value).map(Value::from),
        (Accept::Words, Value::String(text)) => Some(args::split(text).into()),
        (Accept::Texts, Value::String(_)) => Some(Value::Array(vec![value.clone()])),
        (Accept::Command | Accept::Words | Accept::Texts, Value::Array(items)) => {
            items.iter().map(word).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        (Accept::Words, Value::Number(_)) => word(value).map(|word| Value::Array(vec![word])),
        (Accept::Numbers, Value::Array(items)) => {
            items.iter().map(whole).map(|item| item.map(Value::from)).collect::<Option<Vec<_>>>().map(Value::Array)
        }
        (Accept::Numbers, Value::String(text)) => text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|part| !part.is_empty())
            .map(|part| part.parse::<i64>().ok().map(Value::from))
            .collect::<Option<Vec<_>>>()
            .filter(|codes| !codes.is_empty())
            .map(Value::Array),
        (Accept::Numbers, value) => whole(value).map(|number| Value::Array(vec![number.into()])),
        (Accept::Tables, Value::Array(items)) => items.iter().all(Value::is_object).then(|| value.clone()),
        (Accept::Mixed, Value::Array(items)) => {
            items.iter().all(|item| item.is_object() || item.is_string() || item.is_number()).then(|| value.clone())
        }
        _ => None,
    }
}

fn word(value: &Value) -> Option<Value> {
    match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => Some(Value::String(text_of(value))),
        _ => None,
    }
}

fn is_percent(text: &str) -> bool {
    units::percent(text).is_some_and(|percent| percent > 0.0 && percent <= 100.0)
}

/// Describes a value in words that follow "found".
pub(crate) fn describe_value(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Array(_) => message!("a list"),
        Value::Object(_) => message!("a table"),
        Value::String(text) if text.chars().count() > 40 => format!("\"{}…\"", text.chars().take(40).collect::<String>().escape_debug()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn canonical_value(key: &str, value: Value) -> Result<Value, String> {
        canonical(keys::find(key).unwrap(), &value).map(|(value, _)| value)
    }

    #[test]
    fn values_are_converted_to_canonical_form() {
        let cases = [
            ("max_restarts", json!("10"), json!(10)),
            ("max_restarts", json!(0), json!(0)),
            ("max_restarts", json!(3.0), json!(3)),
            ("min_uptime", json!("10s"), json!(10_000)),
            ("kill_timeout", json!(0), json!(0)),
            ("max_memory_restart", json!("1G"), json!(1 << 30)),
            ("max_memory_restart", json!("50%"), json!("50%")),
            ("args", json!("a 'b c'"), json!(["a", "b c"])),
            ("args", json!(["a b", 1, true]), json!(["a b", "1", "true"])),
            ("stop_exit_codes", json!([]), json!([])),
            ("stop_exit_codes", json!("0, 143"), json!([0, 143])),
            ("stop_exit_codes", json!(3), json!([3])),
            ("watch", json!("src dir"), json!(["src dir"])),
            ("watch", json!("false"), json!(false)),
            ("instances", json!("max"), json!("max")),
            ("instances", json!(-1), json!(-1)),
            ("log_file", json!("true"), json!(true)),
            ("uid", json!(1000), json!(1000)),
            ("uid", json!("www"), json!("www")),
        ];
        for (key, given, expected) in cases {
            assert_eq!(canonical_value(key, given.clone()), Ok(expected), "{key}: {given}");
        }
    }

    #[test]
    fn wrong_values_report_the_expected_type() {
        let cases = [
            ("max_restarts", json!("ten"), "expected a number, found \"ten\""),
            ("max_restarts", json!(-1), "expected a number, found -1"),
            ("max_restarts", json!(1.5), "expected a number, found 1.5"),
            ("autorestart", json!("false"), "expected true or false, found \"false\""),
            ("script", json!(["a"]), "expected a string, found a list"),
            ("min_uptime", json!("3x"), "expected a number of milliseconds or a time such as \"3s\", found \"3x\""),
            ("nice", json!(40), "expected a number from -20 to 20, found 40"),
            ("instances", json!("foo"), "expected a number from -10000 to 10000 or \"max\" or a table, found \"foo\""),
        ];
        for (key, given, expected) in cases {
            assert_eq!(canonical_value(key, given.clone()), Err(expected.to_owned()), "{key}: {given}");
        }
        assert!(canonical_value("exec_mode", json!("clustr")).unwrap_err().ends_with("found \"clustr\" (did you mean \"cluster\"?)"));
    }
}
