//! Command line of `ssh`, checks of the names in it, and retries after a lost connection.

use std::time::Duration;

use ostler_core::message;
use serde_json::Value;

/// Exit code of `ssh` if the connection failed.
pub const LOST: i32 = 255;

/// Maximum number of consecutive connections without new output.
const MOST_RETRIES: u32 = 6;

/// Host in the form that `ssh` expects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Name or address; also used in messages.
    pub name: String,
    /// User on the host.
    pub user: Option<String>,
    /// Port.
    pub port: Option<u16>,
}

impl Host {
    /// Returns true if the host is this machine with this user, so `ssh` is not needed.
    pub fn is_local(&self) -> bool {
        self.name == "localhost"
    }
}

/// Login on a host: its address and the ssh settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The host.
    pub host: Host,
    /// Key file; `~/` is the caller's home.
    pub key: Option<String>,
    /// Options for `ssh -o`, placed before ostler's own. For each option, `ssh` uses the first
    /// value.
    pub options: Vec<String>,
    /// True to forward the caller's ssh agent to the host.
    pub forward_agent: bool,
}

/// Returns the words of an `ssh` command. `ours` are options for `-o`, `has_terminal` gives the
/// command a terminal, and `home` is the caller's home. Host keys are checked according to the
/// caller's own ssh configuration.
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

/// Returns one word for any login shell: `sh` with this script.
pub fn command(script: &str) -> String {
    format!("sh -c {}", crate::sh(script))
}

/// Returns the wait before the next connection after one was lost; `None` = give up. A host that
/// was never reached is not tried again.
pub fn retry(was_there: bool, in_vain: u32) -> Option<Duration> {
    (was_there && in_vain < MOST_RETRIES).then(|| Duration::from_secs(1 << in_vain.min(4)))
}

/// Reason why a host cannot be passed to `ssh`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// User or host name that `ssh` would misread.
    #[error("{}", message!("{key}: {text} cannot be passed to ssh", key, text = format!("{text:?}")))]
    Name {
        /// `user` or `host`.
        key: String,
        /// As it was written.
        text: String,
    },
    /// Value that is not a port.
    #[error("{}", message!("port: expected a number up to 65535, found {found}", found = _0))]
    Port(Value),
    /// `host:port` with an invalid port.
    #[error("{}", message!("{address} has an invalid port", address = format!("{_0:?}")))]
    PortOf(String),
    /// Address in brackets with text after it.
    #[error("{}", message!("{address} is not an address", address = format!("{_0:?}")))]
    Address(String),
}

/// Checks a user or host name: a single word that `ssh` cannot take for an option.
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

/// Reads a port from a number or a text.
///
/// # Errors
/// Returns a message with the value that was found if it is not a port.
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
    fn ssh_command_line_follows_login() {
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
    fn names_that_look_like_options_are_rejected() {
        for bad in ["", "-oProxyCommand=x", "a b", "a;b", "$(x)", "a\n"] {
            assert!(name("host", bad).is_err(), "{bad:?}");
        }
        for good in ["web-1.example.com", "10.0.0.1", "::1", "fe80::1%eth0", "münchen"] {
            assert!(name("host", good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn retry_delay_doubles_only_after_a_connection() {
        for (was_there, in_vain, seconds) in
            [(false, 0, None), (true, 0, Some(1)), (true, 3, Some(8)), (true, 5, Some(16)), (true, 6, None)]
        {
            assert_eq!(retry(was_there, in_vain), seconds.map(Duration::from_secs), "{was_there} {in_vain}");
        }
    }
}
