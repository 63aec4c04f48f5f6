//! `alerts`: rules of an app. They are checked here and kept as given; the process that judges reads them from there.

use ostler_alerts::rule::rule;
use serde_json::Value;

/// Most rules of an app.
const MOST: usize = 100;

/// Checks the rules. All faults at once.
pub(super) fn check(app: &str, value: &Value) -> Result<(), String> {
    let list = match value {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    if list.len() > MOST {
        return Err(format!("expected at most {MOST} rules, found {}", list.len()));
    }
    let mut faults = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (at, value) in list.iter().enumerate() {
        match rule(value, Some(app)) {
            Ok(rule) if names.contains(&rule.name) => faults.push(format!("[{at}]: another rule has this name; give it one by `name`")),
            Ok(rule) => names.push(rule.name),
            Err(problems) => faults.extend(problems.iter().map(|problem| format!("[{at}]: {problem}"))),
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_faults_at_once() {
        assert_eq!(check("api", &json!(["crash", { "metric": "cpu", "above": 90 }])), Ok(()));
        assert_eq!(check("api", &json!("crash")), Ok(()));
        let faults = check("api", &json!(["crahs", { "on": "crash", "severty": "info" }, "crash", "crash"])).unwrap_err();
        for text in
            ["[0]: on: expected one of", "did you mean crash?", "[1]: severty: is not known; did you mean severity?", "[3]: another rule"]
        {
            assert!(faults.contains(text), "{faults}");
        }
    }
}
