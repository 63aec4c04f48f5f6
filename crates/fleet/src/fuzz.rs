//! Checks of the readers of this crate for any bytes. The crate `ostler-fuzzing` runs them; see
//! `docs/fuzzing.md`.

use serde_json::Value;

use crate::Hosts;
use crate::events::EventCursor;
use crate::merge::parts;
use crate::script::{Greeting, greeting};
use crate::ssh::words;

/// Checks a hosts file (JSON): no name or address is an option of `ssh`, and each choice ends.
pub fn hosts_file(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return };
    let (hosts, unknown) = match Hosts::of(&value) {
        Ok(read) => read,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(unknown.len() <= bytes.len());
    let (groups, _) = hosts.groups_and_hosts();
    for word in groups.iter().copied().chain(hosts.names()).chain(["all", "-oProxyCommand=x", "a@b:1", ""]) {
        let Ok(members) = hosts.select(&[word]) else { continue };
        assert!(!members.is_empty() && members.len() <= 1024);
        for member in members {
            let words = words(&member.login, &[], false, "true", None);
            let Some(at) = words.iter().position(|word| word == "--") else { panic!("{words:?}") };
            assert_eq!(words.len(), at + 3, "{words:?}");
            let host = &words[at + 1];
            assert!(!host.starts_with('-') && !host.contains(char::is_whitespace), "{host:?}");
            assert!(member.login.host.user.is_none_or(|user| !user.starts_with('-')));
        }
    }
}

/// Checks what a host answers: lines of events and other output.
pub fn host_answers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut cursor = EventCursor::default();
    for (at, line) in text.lines().enumerate() {
        if let Some(Greeting::Here(version)) = greeting(line) {
            assert!(!version.is_empty() && version.len() <= 100 && !version.chars().any(char::is_control));
        }
        let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
        if at % 3 == 2 {
            cursor.on_disconnect();
        }
        let _ = cursor.judge(&value, at % 2 == 0);
        for part in parts("web1", value) {
            assert_eq!(part["host"], "web1", "{part}");
        }
    }
}
