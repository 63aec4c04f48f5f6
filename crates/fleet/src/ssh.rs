//! The command line of `ssh`, names that may stand in it, and when a connection that broke is made again.

use std::time::Duration;

use serde_json::Value;

/// Exit code of `ssh` when it is the connection that failed.
pub const LOST: i32 = 255;

/// Most connections in a row that bring nothing new.
const MOST_RETRIES: u32 = 6;

/// Host, as `ssh` is told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Name or address; in messages, too.
    pub name: String,
    /// User there.
    pub user: Option<String>,
    /// Port.
    pub port: Option<u16>,
}

impl Host {
    /// True if it is this machine and this user: no `ssh` is needed.
    pub fn is_local(&self) -> bool {
        self.name == "localhost"
    }
}

/// The way to a host: where it is, and how to log in there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The host.
    pub host: Host,
    /// Key file; `~/` is the caller's home.
    pub key: Option<String>,
    /// Options for `ssh -o`, before ours: of each option the first one counts.
    pub options: Vec<String>,
    /// Whether the caller's ssh agent is lent to the host.
    pub forward_agent: bool,
}

/// Words of an `ssh`: `ours` are options for `-o`, `has_terminal` gives the command a terminal, `home` is that of the caller. Host keys are
/// checked as the caller's own configuration says.
pub fn words(login: &Login, ours: &[&str], has_terminal: bool, command: &str, home: Option<&str>) -> Vec<String> {
    let mut words: Vec<String> = vec!["ssh".into()];
    for option in login.options.iter().map(String::as_str).chain(ours.iter().copied()) {
        words.extend(["-o".into(), option.to_owned()]);
    }
    if login.forward_agent {
        words.push("-A".into());
    }
    words.push(if has_terminal { "-tt" } else { "-T" }.into());
    if let Some(port) = login.host.port {
        words.extend(["-p".into(), port.to_string()]);
    }
    if let Some(key) = &login.key {
        let at_home = key.strip_prefix("~/").zip(home).map(|(rest, home)| format!("{home}/{rest}"));
        words.extend(["-i".into(), at_home.unwrap_or_else(|| key.clone())]);
    }
    if let Some(user) = &login.host.user {
        words.extend(["-l".into(), user.clone()]);
    }
    words.extend(["--".into(), login.host.name.clone(), command.to_owned()]);
    words
}

/// One word for a login shell of whatever kind: `sh` with this script.
pub fn command(script: &str) -> String {
    format!("sh -c {}", crate::sh(script))
}

/// Wait before the next connection, when one was lost; none: give up. A host that was never there is not asked again.
pub fn retry(was_there: bool, in_vain: u32) -> Option<Duration> {
    (was_there && in_vain < MOST_RETRIES).then(|| Duration::from_secs(1 << in_vain.min(4)))
}

/// Reason why a host cannot be given to `ssh`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// User or host with characters that `ssh` cannot be given, or one that it would take for an option.
    #[error("{key}: {text:?} is no name that ssh could be given")]
    Name {
        /// `user` or `host`.
        key: String,
        /// As it was written.
        text: String,
    },
    /// Value that is no port.
    #[error("port: expected a number up to 65535, found {0}")]
    Port(Value),
    /// `host:port` whose end is no port.
    #[error("{0:?} has no port that is one")]
    PortOf(String),
    /// Address in brackets with something behind it.
    #[error("{0:?} is no address")]
    Address(String),
}

/// A user or host: a word of ssh's command line, and nothing that it takes for an option.
///
/// # Errors
/// Returns an error that names the key and the text.
pub fn name(key: &str, text: &str) -> Result<String, AddressError> {
    let plain = |c: char| c.is_alphanumeric() || "._-:[]%\\+".contains(c);
    if text.is_empty() || text.starts_with('-') || !text.chars().all(plain) {
        return Err(AddressError::Name { key: key.to_owned(), text: text.to_owned() });
    }
    Ok(text.to_owned())
}

/// A port: a number, or a text with one.
///
/// # Errors
/// Returns an error with the value if it is no port.
pub fn port(value: &Value) -> Result<u16, AddressError> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64().and_then(|number| u16::try_from(number).ok()),
    };
    number.filter(|port| *port > 0).ok_or_else(|| AddressError::Port(value.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        let plain = Login { host: Host { name: "h".into(), user: None, port: None }, ..Login::default() };
        let full = Login {
            host: Host { name: "h".into(), user: Some("u".into()), port: Some(7) },
            key: Some("~/k".into()),
            options: vec!["A=1".into()],
            forward_agent: true,
        };
        for (login, terminal, line) in [
            (&plain, false, "ssh -o B=2 -T -- h sh -c 'it'\\''s'"),
            (&full, true, "ssh -o A=1 -o B=2 -A -tt -p 7 -i /home/me/k -l u -- h sh -c 'it'\\''s'"),
        ] {
            assert_eq!(words(login, &["B=2"], terminal, &command("it's"), Some("/home/me")).join(" "), line);
        }
    }

    #[test]
    fn names_are_no_options() {
        for bad in ["", "-oProxyCommand=x", "a b", "a;b", "$(x)", "a\n"] {
            assert!(name("host", bad).is_err(), "{bad:?}");
        }
        for good in ["web-1.example.com", "10.0.0.1", "::1", "fe80::1%eth0", "münchen"] {
            assert!(name("host", good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn when_to_try_again() {
        for (was_there, in_vain, seconds) in
            [(false, 0, None), (true, 0, Some(1)), (true, 3, Some(8)), (true, 5, Some(16)), (true, 6, None)]
        {
            assert_eq!(retry(was_there, in_vain), seconds.map(Duration::from_secs), "{was_there} {in_vain}");
        }
    }
}
