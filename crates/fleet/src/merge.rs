//! Answers of many hosts as one value of JSON: each part says which host it is of, by the member `host`, which is the first.

use serde_json::{Map, Value, json};

/// An object with its host in front. A member `host` of its own gives way.
pub fn with_host(host: &str, object: Map<String, Value>) -> Value {
    let mut whole = Map::with_capacity(object.len() + 1);
    whole.insert("host".into(), host.into());
    whole.extend(object.into_iter().filter(|(key, _)| key != "host"));
    Value::Object(whole)
}

/// What an answer adds to the list of all: of a list its objects, else itself. What is no object is the member `value`.
pub fn parts(host: &str, answer: Value) -> Vec<Value> {
    match answer {
        Value::Array(list) => list.into_iter().map(|part| one(host, part)).collect(),
        other => vec![one(host, other)],
    }
}

fn one(host: &str, value: Value) -> Value {
    match value {
        Value::Object(object) => with_host(host, object),
        other => json!({ "host": host, "value": other }),
    }
}

/// What a host without an answer adds, in the form in which `ostler` tells errors.
pub fn failure(host: &str, error: &str, exit_code: u8) -> Value {
    json!({ "host": host, "error": error, "exit_code": exit_code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_answers() {
        for (answer, expected) in [
            (json!([{"pm_id": 0}, {"pm_id": 1}]), json!([{"host": "a", "pm_id": 0}, {"host": "a", "pm_id": 1}])),
            (json!({"x": 1, "host": "z"}), json!([{"host": "a", "x": 1}])),
            (json!([]), json!([])),
            (json!(3), json!([{"host": "a", "value": 3}])),
            (json!(["x", null]), json!([{"host": "a", "value": "x"}, {"host": "a", "value": null}])),
        ] {
            assert_eq!(Value::Array(parts("a", answer)).to_string(), expected.to_string());
        }
        assert_eq!(failure("a", "no", 3).to_string(), r#"{"host":"a","error":"no","exit_code":3}"#);
    }
}
