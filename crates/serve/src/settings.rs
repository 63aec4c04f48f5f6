//! Settings from the app's environment variables.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `PM2_SERVE_PATH`: the served folder.
    pub path: PathBuf,
    /// `PM2_SERVE_HOST`: the address to listen on.
    pub host: String,
    /// `PM2_SERVE_PORT`: the port to listen on.
    pub port: u16,
    /// `PM2_SERVE_SPA`: unknown paths show the home page.
    pub spa: bool,
    /// `PM2_SERVE_FTP`: folders without an `index.html` are listed.
    pub listing: bool,
    /// `PM2_SERVE_HOMEPAGE`: path of the home page below the folder.
    pub homepage: String,
    /// `PM2_SERVE_BASIC_AUTH`: user name and password.
    pub login: Option<(String, String)>,
    /// `OSTLER_SERVE_SYMLINKS=any`: links may lead out of the folder.
    pub follow_out: bool,
    /// `OSTLER_SERVE_TIMEOUT`: time limit for receiving a request head, for an idle connection, and
    /// for a client that reads nothing.
    pub patience: Duration,
    /// `OSTLER_SERVE_CONNECTIONS`: maximum number of simultaneous connections.
    pub connections: usize,
    has_monitor: bool,
}

/// Invalid variables.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    /// A value that the variable does not allow.
    #[error("{name}: expected {expected}, found \"{found}\"")]
    Value {
        /// The variable.
        name: &'static str,
        /// The allowed values.
        expected: &'static str,
        /// The value that was found.
        found: String,
    },
    /// User name or password is missing. Serving without both would let everybody in.
    #[error("PM2_SERVE_BASIC_AUTH needs PM2_SERVE_BASIC_AUTH_USERNAME and PM2_SERVE_BASIC_AUTH_PASSWORD")]
    HalfALogin,
}

const PORT: u16 = 8080;
const HOST: &str = "0.0.0.0";
const PATIENCE_SECS: u64 = 30;
const CONNECTIONS: usize = 4096;

impl Settings {
    /// Reads the settings from variables. An empty variable counts as unset.
    ///
    /// # Errors
    /// Returns an error if a variable is invalid; nothing may be served then.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let text = |name: &str| var(name).filter(|value| !value.is_empty());
        // As in PM2, only this word enables a flag.
        let is_on = |name: &str| text(name).as_deref() == Some("true");
        let number = |name: &'static str, expected: &'static str, absent: u64, most: u64| match text(name) {
            None => Ok(absent),
            Some(found) => match found.trim().parse() {
                Ok(value) if (1..=most).contains(&value) => Ok(value),
                _ => Err(SettingsError::Value { name, expected, found }),
            },
        };
        let port = match text("PM2_SERVE_PORT") {
            None => PORT,
            Some(found) => found.trim().parse().map_err(|_| SettingsError::Value { name: "PM2_SERVE_PORT", expected: "a port", found })?,
        };
        let login = match (text("PM2_SERVE_BASIC_AUTH_USERNAME"), text("PM2_SERVE_BASIC_AUTH_PASSWORD")) {
            _ if !is_on("PM2_SERVE_BASIC_AUTH") => None,
            (Some(name), Some(password)) => Some((name, password)),
            _ => return Err(SettingsError::HalfALogin),
        };
        let follow_out = match text("OSTLER_SERVE_SYMLINKS").as_deref() {
            None | Some("beneath") => false,
            Some("any") => true,
            Some(found) => {
                let expected = "beneath or any";
                return Err(SettingsError::Value { name: "OSTLER_SERVE_SYMLINKS", expected, found: found.into() });
            }
        };
        let seconds = number("OSTLER_SERVE_TIMEOUT", "seconds, from 1 to 86400", PATIENCE_SECS, 86_400)?;
        let connections = number("OSTLER_SERVE_CONNECTIONS", "a number from 1 to 1000000", CONNECTIONS as u64, 1_000_000)?;
        Ok(Self {
            path: text("PM2_SERVE_PATH").map_or_else(|| PathBuf::from("."), PathBuf::from),
            host: text("PM2_SERVE_HOST").unwrap_or_else(|| HOST.into()),
            port,
            spa: is_on("PM2_SERVE_SPA"),
            listing: is_on("PM2_SERVE_FTP"),
            homepage: text("PM2_SERVE_HOMEPAGE").unwrap_or_else(|| "/index.html".into()),
            login,
            follow_out,
            patience: Duration::from_secs(seconds),
            connections: usize::try_from(connections).unwrap_or(CONNECTIONS),
            has_monitor: text("PM2_SERVE_MONITOR").is_some(),
        })
    }

    /// Returns warnings about settings that are accepted without effect.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = &'static str> {
        self.has_monitor.then_some("warning: PM2_SERVE_MONITOR has no effect: ostler adds no third-party script to pages").into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings_from(vars: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::from_vars(|name| vars.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn defaults_match_pm2() {
        let settings = settings_from(&[("PM2_SERVE_PORT", "")]).unwrap();
        assert_eq!((settings.host.as_str(), settings.port, settings.homepage.as_str()), ("0.0.0.0", 8080, "/index.html"));
        assert_eq!((settings.spa, settings.listing, settings.login, settings.follow_out), (false, false, None, false));
    }

    #[test]
    fn flags_require_the_word_true() {
        for (value, expected) in [("true", true), ("1", false), ("false", false), ("TRUE", false)] {
            assert_eq!(settings_from(&[("PM2_SERVE_SPA", value)]).unwrap().spa, expected, "{value}");
        }
    }

    #[test]
    fn incomplete_login_is_rejected() {
        let user = ("PM2_SERVE_BASIC_AUTH_USERNAME", "u");
        assert_eq!(settings_from(&[("PM2_SERVE_BASIC_AUTH", "true"), user]), Err(SettingsError::HalfALogin));
        let whole = settings_from(&[("PM2_SERVE_BASIC_AUTH", "true"), user, ("PM2_SERVE_BASIC_AUTH_PASSWORD", "a:b")]).unwrap();
        assert_eq!(whole.login, Some(("u".into(), "a:b".into())));
        assert_eq!(settings_from(&[user]).unwrap().login, None);
    }

    #[test]
    fn invalid_values_are_reported() {
        for (name, value) in [
            ("PM2_SERVE_PORT", "http"),
            ("PM2_SERVE_PORT", "65536"),
            ("OSTLER_SERVE_TIMEOUT", "0"),
            ("OSTLER_SERVE_CONNECTIONS", "-1"),
            ("OSTLER_SERVE_SYMLINKS", "yes"),
        ] {
            assert!(settings_from(&[(name, value)]).is_err_and(|error| error.to_string().contains(value)), "{name}={value}");
        }
    }
}
