//! Masking: removes secrets from text that others can see.

use serde_json::Value;

use crate::app::diff::looks_secret;

/// Replacement of a secret.
pub const MASK: &str = "******";
/// Shorter values cannot be distinguished from other words, so they are not masked.
const SHORTEST_SECRET: usize = 4;

/// Returns the values whose names mark them as secrets, the longest first, including those of
/// command-line options.
pub fn secrets(value: &Value) -> Vec<String> {
    fn collect(name: &str, value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| collect(name, value, into)),
            Value::Array(list) => {
                list.iter().for_each(|value| collect(name, value, into));
                of_words(list.iter().filter_map(Value::as_str), into);
            }
            Value::String(text) if looks_secret(name) && text.len() >= SHORTEST_SECRET => into.push(text.clone()),
            Value::String(text) => of_words(text.split_whitespace(), into),
            _ => {}
        }
    }
    fn of_words<'a>(words: impl Iterator<Item = &'a str>, into: &mut Vec<String>) {
        let mut arguments = Arguments::default();
        into.extend(words.filter_map(|word| arguments.secret_of(word)).filter(|secret| secret.len() >= SHORTEST_SECRET).map(str::to_owned));
    }
    let mut all = Vec::new();
    collect("", value, &mut all);
    all.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    all.dedup();
    all
}

/// Removes every secret from the values, and the user's part from addresses. Environments keep only
/// the names, because any value may be a secret.
pub fn mask(value: &mut Value, secrets: &[String]) {
    match value {
        Value::Object(map) => map.iter_mut().for_each(|(name, value)| if name == "env" { hide(value) } else { mask(value, secrets) }),
        Value::Array(list) => {
            // This comes first: a value that is already masked no longer looks like a secret.
            let mut arguments = Arguments::default();
            for value in list.iter_mut() {
                if let Value::String(word) = value {
                    *word = arguments.masked(word);
                }
                mask(value, secrets);
            }
        }
        Value::String(text) => *text = masked(&masked_line(text), secrets),
        _ => {}
    }
}

/// Words of a command line, in order: `--db-password x`, `--token=x`, `API_KEY=x`.
#[derive(Debug, Default)]
struct Arguments {
    /// Whether the previous word was an option with a secret value.
    is_value: bool,
}

impl Arguments {
    /// Returns the secret in this word.
    fn secret_of<'a>(&mut self, word: &'a str) -> Option<&'a str> {
        let is_option = word.starts_with('-');
        if std::mem::take(&mut self.is_value) && !is_option {
            return Some(word);
        }
        // Only parts of an address may be secrets.
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        if name.contains("://") || !looks_secret(&name.trim_start_matches('-').replace('-', "_")) {
            return None;
        }
        self.is_value = is_option && value.is_none();
        value.filter(|value| !value.is_empty())
    }

    /// Returns the word without its secret.
    fn masked(&mut self, word: &str) -> String {
        match self.secret_of(word) {
            Some(secret) => format!("{}{MASK}", &word[..word.len() - secret.len()]),
            None => word.to_owned(),
        }
    }
}

/// Returns a command line, or any other text, without the secrets of options. Blanks stay.
fn masked_line(text: &str) -> String {
    let mut arguments = Arguments::default();
    let masked = |part: &str| {
        let word = part.trim_end();
        arguments.masked(word) + &part[word.len()..]
    };
    text.split_inclusive(char::is_whitespace).map(masked).collect()
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(hide),
        Value::Array(list) => list.iter_mut().for_each(hide),
        other => *other = MASK.into(),
    }
}

/// Returns the text without secrets, and without the user's part of addresses.
pub fn masked(text: &str, secrets: &[String]) -> String {
    let text = secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), MASK));
    without_query_secrets(&without_users(&text))
}

/// Returns `http://host/?token=x&page=2` without the values of parameters whose names mark them as
/// secrets.
fn without_query_secrets(text: &str) -> String {
    let mut out = String::new();
    for part in text.split_inclusive(['?', '&']) {
        let is_parameter = out.ends_with(['?', '&']);
        let end = part.find(|c: char| c.is_whitespace() || "&?#\"'".contains(c)).unwrap_or(part.len());
        match part[..end].split_once('=').filter(|(name, value)| is_parameter && looks_secret(name) && !value.is_empty()) {
            Some((name, _)) => out.extend([name, "=", MASK, &part[end..]]),
            None => out.push_str(part),
        }
    }
    out
}

/// Returns `scheme://user:password@host` without the part before the `@`.
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
    fn secrets_of_the_environment_are_masked_everywhere() {
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
    fn secrets_of_command_lines_are_masked() {
        for (given, expected) in [
            (json!(["--db-password", "x", "--verbose"]), json!(["--db-password", MASK, "--verbose"])),
            (json!(["--token=x", "--level=3", "rest"]), json!(["--token=******", "--level=3", "rest"])),
            (json!(["--password", "--force", "-auth-token", "x"]), json!(["--password", "--force", "-auth-token", MASK])),
            (json!(["API_KEY=abc", "PORT=80", "tokens"]), json!(["API_KEY=******", "PORT=80", "tokens"])),
            (json!(["--secret=", "x", "--private-key", "k=v"]), json!(["--secret=", "x", "--private-key", MASK])),
            (json!(["--url", "redis://:pa55@h:1/0?token=abc&db=2"]), json!(["--url", "redis://******@h:1/0?token=******&db=2"])),
            (json!("node  app.js --db-password\tx --port 80\n"), json!("node  app.js --db-password\t****** --port 80\n")),
            (json!("curl https://h/?api_key=k&x=1#y http://h/p?q"), json!("curl https://h/?api_key=******&x=1#y http://h/p?q")),
            (json!(["--tökén", "ü", "?", "&token=é"]), json!(["--tökén", "ü", "?", "&token=******"])),
        ] {
            let mut value = given.clone();
            mask(&mut value, &secrets(&given));
            assert_eq!(value, expected, "{given}");
        }
        // A secret that occurs only there is masked everywhere.
        let known = secrets(&json!({"args": ["--db-password", "hunter22"], "script": "run --token=abcdef"}));
        assert_eq!(masked("login with hunter22, then abcdef", &known), "login with ******, then ******");
    }

    proptest::proptest! {
        #[test]
        fn masking_any_text_never_panics(words in proptest::collection::vec(".*", 0..6)) {
            let given = json!([words, { "args": words.join(" ") }]);
            let mut value = given.clone();
            mask(&mut value, &secrets(&given));
        }

        #[test]
        fn secret_argument_is_always_masked(secret in "[a-z0-9]{12}", before in "[a-z -]{0,9}", form in 0..3) {
            let words = [before, "--my-token".to_owned(), secret.clone()];
            let mut value = match form {
                0 => json!(words),
                1 => json!(words.join(" ")),
                _ => json!([words[0], format!("--my-token={secret}")]),
            };
            let secrets = secrets(&value);
            mask(&mut value, &secrets);
            proptest::prop_assert!(!value.to_string().contains(&secret), "{}", value);
        }
    }

    #[test]
    fn address_without_user_is_unchanged() {
        for text in ["", "a://b", "mail me@x.y", "http://h/p@q", "://", "x://@h"] {
            let expected = if text == "x://@h" { "x://******@h" } else { text };
            assert_eq!(without_users(text), expected);
        }
    }
}
