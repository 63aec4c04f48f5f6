//! Channels as clients of the dashboard see and change them: a secret is accepted, but never
//! returned. Pure.

use jiff::tz::TimeZone;
use ostler_alerts::Problem;
use ostler_alerts::channel::{Channel, channel};
use serde::Serialize;
use serde_json::{Map, Value};

/// Settings that are secret or may contain a secret: addresses contain tokens, templates may.
const SECRET: &[&str] = &["url", "api", "server", "secret", "token", "topic", "password", "template", "argv"];
/// Settings that determine who receives the messages.
const DESTINATION: &[&str] = &["url", "api", "server", "host", "port"];
/// Settings of all services.
const SHARED: &[&str] = &["name", "type", "severity", "resolved", "quiet"];

/// Settings of a channel without its secrets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ChannelSettings {
    name: String,
    #[serde(rename = "type")]
    service: &'static str,
    severity: &'static str,
    resolved: bool,
    /// As in the settings file; none = no quiet hours.
    quiet: Option<Value>,
    /// Settings of the service that are not secret.
    settings: Map<String, Value>,
    /// Names of the secret settings that are set.
    secrets: Vec<String>,
}

/// Returns the settings of a channel without its secrets; none if they are invalid.
pub(crate) fn without_secrets(value: &Value) -> Option<ChannelSettings> {
    let channel = read_channel(value).ok()?;
    let fields = || value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let is = |names: &[&str], key: &str| names.contains(&key);
    Some(ChannelSettings {
        name: channel.policy.name,
        service: channel.service.word(),
        severity: channel.policy.severity.word(),
        resolved: channel.policy.resolved,
        quiet: value.get("quiet").filter(|quiet| !quiet.is_null()).cloned(),
        settings: fields()
            .filter(|(key, _)| !is(SECRET, key) && !is(SHARED, key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        secrets: SECRET.iter().filter(|key| value.get(**key).is_some_and(|value| !value.is_null())).map(|key| (*key).to_owned()).collect(),
    })
}

/// Reads a channel.
///
/// # Errors
/// Returns every problem that was found.
pub fn read_channel(value: &Value) -> Result<Channel, Vec<Problem>> {
    channel(value, zone)
}

/// Returns a time zone by its name; an empty name is the machine's zone.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() { Some(TimeZone::system()) } else { TimeZone::get(name).ok() }
}

/// Reason why a change is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("there is no channel with that name")]
    Missing,
    #[error("{0} cannot be changed; remove the channel and add another")]
    Fixed(&'static str),
    #[error("a channel that runs a program can only be changed on the machine: `ostler alerts channel add command …`")]
    Program,
    #[error("{0}: enter it again, because the messages would go to another address")]
    Kept(String),
    #[error("{0}")]
    Invalid(String),
}

/// Returns the settings of a channel with a change: null removes a setting, and missing settings
/// stay. Secrets that stay are never sent to another address.
///
/// # Errors
/// Returns the first reason why the change is refused.
pub(crate) fn changed(stored: &Value, change: &Map<String, Value>) -> Result<Value, ChangeError> {
    let stored_name = stored.get("name").or_else(|| stored.get("type"));
    for (key, present) in [("name", stored_name), ("type", stored.get("type"))] {
        if change.get(key).is_some_and(|value| Some(value) != present) {
            return Err(ChangeError::Fixed(key));
        }
    }
    if change.contains_key("argv") {
        return Err(ChangeError::Program);
    }
    let mut merged = stored.as_object().cloned().unwrap_or_default();
    let moves = DESTINATION.iter().any(|key| change.get(*key).is_some_and(|value| value != merged.get(*key).unwrap_or(&Value::Null)));
    let is_kept = |key: &&String| SECRET.contains(&key.as_str()) && !DESTINATION.contains(&key.as_str()) && !change.contains_key(*key);
    if let (true, Some(key)) = (moves, merged.keys().find(is_kept)) {
        return Err(ChangeError::Kept(key.clone()));
    }
    for (key, value) in change.iter().filter(|(key, _)| !["name", "type"].contains(&key.as_str())) {
        if value.is_null() {
            merged.remove(key);
        } else {
            merged.insert(key.clone(), value.clone());
        }
    }
    let merged = Value::Object(merged);
    match read_channel(&merged) {
        Ok(_) => Ok(merged),
        Err(problems) => {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Err(ChangeError::Invalid(all.join("; ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn change(stored: &Value, change: &Value) -> Result<Value, ChangeError> {
        changed(stored, change.as_object().unwrap())
    }

    #[test]
    fn shown_channels_contain_no_secrets() {
        for value in [
            json!({ "type": "webhook", "url": "https://u:HUSH@h/HUSH", "secret": "HUSH", "template": "HUSH" }),
            json!({ "type": "slack", "name": "ops", "url": "https://h/HUSH", "severity": "critical", "resolved": false }),
            json!({ "type": "telegram", "token": "HUSH", "chat": "-5", "api": "https://u:HUSH@h" }),
            json!({ "type": "ntfy", "topic": "HUSH", "server": "https://u:HUSH@h", "token": "HUSH" }),
            json!({ "type": "dingtalk", "url": "https://h?access_token=HUSH", "secret": "HUSH" }),
            json!({ "type": "command", "argv": ["/bin/x", "HUSH"], "quiet": { "from": "22:00", "to": "07:30" } }),
            json!({ "type": "email", "host": "h", "from": "a@b", "to": ["c@d"], "user": "u", "password": "HUSH" }),
        ] {
            let shown = serde_json::to_value(without_secrets(&value).unwrap()).unwrap();
            assert!(!shown.to_string().contains("HUSH"), "{shown}");
            let secrets = shown["secrets"].as_array().unwrap();
            for (key, set) in value.as_object().unwrap() {
                assert_eq!(secrets.contains(&json!(key)), set.to_string().contains("HUSH"), "{key}: {shown}");
            }
        }
        let shown = serde_json::to_value(without_secrets(&json!({ "type": "telegram", "token": "t", "chat": "-5" })).unwrap()).unwrap();
        assert_eq!(shown["settings"], json!({ "chat": "-5" }));
        assert_eq!(without_secrets(&json!({ "type": "slak" })), None);
    }

    #[test]
    fn change_keeps_settings_that_it_does_not_name() {
        let stored = json!({ "type": "telegram", "token": "t", "chat": "-5", "severity": "warning" });
        let next = change(&stored, &json!({ "chat": "-6", "severity": null, "resolved": false, "name": "telegram" })).unwrap();
        assert_eq!(next, json!({ "type": "telegram", "token": "t", "chat": "-6", "resolved": false }));
        let invalid = change(&stored, &json!({ "chat": null, "severity": "loud" })).unwrap_err().to_string();
        assert!(invalid.contains("chat: is required") && invalid.contains("severity: "), "{invalid}");
        assert_eq!(change(&stored, &json!({ "name": "other" })), Err(ChangeError::Fixed("name")));
        assert_eq!(change(&stored, &json!({ "type": "slack" })), Err(ChangeError::Fixed("type")));
        let program = json!({ "type": "command", "argv": ["/bin/true"] });
        assert_eq!(change(&program, &json!({ "argv": ["/bin/sh"] })), Err(ChangeError::Program));
        assert_eq!(change(&program, &json!({ "severity": "critical" })).unwrap()["argv"], json!(["/bin/true"]));
    }

    #[test]
    fn kept_secret_is_never_sent_to_another_address() {
        let mail = json!({ "type": "email", "host": "h", "from": "a@b", "to": ["c@d"], "user": "u", "password": "p" });
        for (stored, change_to, key) in [
            (&mail, json!({ "host": "evil" }), "password"),
            (&mail, json!({ "port": 26 }), "password"),
            (&json!({ "type": "telegram", "token": "t", "chat": "1" }), json!({ "api": "https://evil" }), "token"),
            (&json!({ "type": "ntfy", "topic": "x" }), json!({ "server": "https://evil" }), "topic"),
            (&json!({ "type": "ntfy", "topic": "x", "server": "https://own" }), json!({ "server": null }), "topic"),
            (&json!({ "type": "webhook", "url": "https://h", "secret": "s" }), json!({ "url": "https://evil" }), "secret"),
        ] {
            assert_eq!(change(stored, &change_to), Err(ChangeError::Kept(key.into())), "{change_to}");
        }
        assert!(change(&mail, &json!({ "host": "other", "password": "new" })).is_ok());
        assert!(change(&mail, &json!({ "host": "h", "severity": "critical" })).is_ok(), "the same address");
        assert!(change(&mail, &json!({ "host": "other", "user": null, "password": null })).is_ok());
    }
}
