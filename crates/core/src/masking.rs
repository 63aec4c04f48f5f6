//! Masking: secrets taken out of what is shown to others.

use serde_json::Value;

use crate::diff::looks_secret;

/// Stands for a secret.
pub const MASK: &str = "******";
/// Shorter values are no secrets that could be told from other words.
const SHORTEST_SECRET: usize = 4;

/// Values whose names say that they are secrets, the longest first.
pub fn secrets(value: &Value) -> Vec<String> {
    fn collect(name: &str, value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| collect(name, value, into)),
            Value::Array(list) => list.iter().for_each(|value| collect(name, value, into)),
            Value::String(text) if looks_secret(name) && text.len() >= SHORTEST_SECRET => into.push(text.clone()),
            _ => {}
        }
    }
    let mut all = Vec::new();
    collect("", value, &mut all);
    all.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    all.dedup();
    all
}

/// Takes every secret out of the values, and the user's part out of addresses. Of environments only the names stay: nobody knows what is in them.
pub fn mask(value: &mut Value, secrets: &[String]) {
    match value {
        Value::Object(map) => map.iter_mut().for_each(|(name, value)| if name == "env" { hide(value) } else { mask(value, secrets) }),
        Value::Array(list) => list.iter_mut().for_each(|value| mask(value, secrets)),
        Value::String(text) => *text = masked(text, secrets),
        _ => {}
    }
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(hide),
        Value::Array(list) => list.iter_mut().for_each(hide),
        other => *other = MASK.into(),
    }
}

/// The text without secrets, and without the user's part of addresses.
pub fn masked(text: &str, secrets: &[String]) -> String {
    let text = secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), MASK));
    without_users(&text)
}

/// `scheme://user:password@host` without what is before the `@`.
fn without_users(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, address) = rest.split_at(at + 3);
        out.push_str(before);
        let end = address.find(|c: char| c.is_whitespace() || "/?#\"'".contains(c)).unwrap_or(address.len());
        let user = address[..end].rfind('@').map_or(0, |at| at + 1);
        if user > 0 {
            out.push_str(MASK);
            out.push('@');
        }
        rest = &address[user..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_nowhere() {
        let mut value = json!([{
            "env": { "API_TOKEN": "t0k3n-1", "NAME": "api", "DB": "postgres://me:pa55@db:5432/x", "PIN_KEY": "1" },
            "args": ["--token", "t0k3n-1", "x"],
        }]);
        let secrets = secrets(&value);
        mask(&mut value, &secrets);
        let text = value.to_string();
        assert!(!text.contains("t0k3n") && !text.contains("pa55"), "{text}");
        assert_eq!(value[0]["args"], json!(["--token", MASK, "x"]));
        assert_eq!(value[0]["env"]["NAME"], MASK);
        assert_eq!(masked("App says t0k3n-1 at https://u:p@h/ and ftp://h", &secrets), "App says ****** at https://******@h/ and ftp://h");
    }

    #[test]
    fn addresses_without_users_stay() {
        for text in ["", "a://b", "mail me@x.y", "http://h/p@q", "://", "x://@h"] {
            let expected = if text == "x://@h" { "x://******@h" } else { text };
            assert_eq!(without_users(text), expected);
        }
    }
}
