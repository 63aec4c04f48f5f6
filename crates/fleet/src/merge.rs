//! Merging of the hosts' answers into one JSON value. Each part starts with the member `host`, the
//! name of its host.

use serde_json::{Map, Value, json};

/// Returns the object with its host as the first member. It replaces an existing member `host`.
pub fn with_host(host: &str, object: Map<String, Value>) -> Value {
    let mut whole = Map::with_capacity(object.len() + 1);
    whole.insert("host".into(), host.into());
    whole.extend(object.into_iter().filter(|(key, _)| key != "host"));
    Value::Object(whole)
}

/// Returns the parts that an answer adds to the common list: the objects of a list, or the answer
/// itself. A value that is not an object becomes the member `value`.
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

/// Returns the part of a host without an answer, in the format of `ostler`'s errors.
pub fn failure(host: &str, error: &str, exit_code: u8) -> Value {
    json!({ "host": host, "error": error, "exit_code": exit_code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_the_host_to_each_entry() {
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
