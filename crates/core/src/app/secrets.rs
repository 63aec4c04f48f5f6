//! Secrets: variables whose values the daemon fetches at each start of a process and stores
//! nowhere. This module describes them.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::lifecycle::command::Command;
use crate::message;

/// Default time limit of a command that returns a secret.
pub const TIMEOUT_MS: u64 = 10_000;
/// Longest value. A longer value is a mistake, and does not fit beside other variables.
pub const MAX_BYTES: usize = 64 << 10;

/// Link in the home to the folder with the credentials of the service, while its main process uses
/// that folder.
pub const CREDENTIALS_LINK: &str = "credentials";

/// Secrets of an app by the names of their variables.
pub type Secrets = IndexMap<String, SecretSource>;

/// Source of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// The content of this file (absolute path).
    File(String),
    /// The credential of this name that the service manager gave the daemon.
    Credential(String),
    /// The output of a command.
    Command {
        /// Run as the app's user, in its directory and environment.
        command: Command,
        /// Time after which it is killed and the start has failed.
        timeout_ms: u64,
    },
}

impl SecretSource {
    /// Its key in a configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Credential(_) => "credential",
            Self::Command { .. } => "command",
        }
    }

    /// Returns true if a command returns the value, which takes time before a start.
    pub fn is_command(&self) -> bool {
        matches!(self, Self::Command { .. })
    }
}

/// Reason why bytes cannot be the value of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// Too long.
    #[error("{}", message!("is longer than 64 KiB"))]
    TooLong,
    /// A NUL byte, which would end the value.
    #[error("{}", message!("contains a NUL byte"))]
    Nul,
    /// Not UTF-8.
    #[error("{}", message!("is not UTF-8"))]
    NotText,
    /// Only a line ending.
    #[error("{}", message!("is empty"))]
    Empty,
}

/// Returns the value in the output of a file or command. One trailing line ending is not part of
/// it.
///
/// # Errors
/// Returns an error if the bytes cannot be the value of a variable. The error contains no part of
/// them.
pub fn value(bytes: &[u8]) -> Result<&str, BadSecret> {
    let line = bytes.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let bytes = line.unwrap_or(bytes);
    if bytes.len() > MAX_BYTES {
        return Err(BadSecret::TooLong);
    }
    if bytes.is_empty() {
        return Err(BadSecret::Empty);
    }
    if bytes.contains(&0) {
        return Err(BadSecret::Nul);
    }
    std::str::from_utf8(bytes).map_err(|_| BadSecret::NotText)
}

/// Returns true for a valid credential name: a file name without path parts.
pub fn is_credential_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.contains(['/', '\0']) && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trailing_newline_is_removed_from_a_secret() {
        for (bytes, expected) in [
            (&b"abc"[..], Ok("abc")),
            (b"abc\n", Ok("abc")),
            (b"abc\r\n", Ok("abc")),
            (b"abc\n\n", Ok("abc\n")),
            (b" a b ", Ok(" a b ")),
            (b"\n", Err(BadSecret::Empty)),
            (b"", Err(BadSecret::Empty)),
            (b"a\0b", Err(BadSecret::Nul)),
            (b"\xff", Err(BadSecret::NotText)),
        ] {
            assert_eq!(value(bytes), expected, "{bytes:?}");
        }
        assert_eq!(value(&[b'x'; MAX_BYTES + 1]), Err(BadSecret::TooLong));
        assert!(value(&[b'x'; MAX_BYTES]).is_ok());
    }

    #[test]
    fn credential_name_must_be_a_plain_file_name() {
        for (name, good) in [("db.password", true), ("", false), ("..", false), ("a/b", false), ("/etc/shadow", false)] {
            assert_eq!(is_credential_name(name), good, "{name}");
        }
    }
}
