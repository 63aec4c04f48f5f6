//! Result of a command on one host, as text and exit code, and the result of all hosts together.

use std::fmt;

use ostler_core::message;

/// Exit code of a command over hosts, with the values of `ostler` itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 0: done on all hosts.
    Ok,
    /// 6: a part has no counterpart.
    Incomplete,
    /// 4: no such app.
    NotFound,
    /// 5: rolled back to the former release.
    RolledBack,
    /// 2: the host's `ostler` rejected the command line.
    Usage,
    /// 1: failed.
    Failed,
    /// 3: no daemon, no `ostler`, or no connection.
    Unreachable,
}

impl Code {
    /// Returns the code for a program's exit code.
    pub const fn of(code: i32) -> Self {
        match code {
            0 => Self::Ok,
            2 => Self::Usage,
            3 => Self::Unreachable,
            4 => Self::NotFound,
            5 => Self::RolledBack,
            6 => Self::Incomplete,
            _ => Self::Failed,
        }
    }

    /// Returns the code as a number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::NotFound => 4,
            Self::RolledBack => 5,
            Self::Incomplete => 6,
        }
    }

    /// Returns the rank in the order from good to bad.
    const fn rank(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Incomplete => 1,
            Self::NotFound => 2,
            Self::RolledBack => 3,
            Self::Usage => 4,
            Self::Failed => 5,
            Self::Unreachable => 6,
        }
    }
}

/// Returns the worst code. An unreachable host is worse than a failed one. From bad to good: 3, 1,
/// 2, 5, 4, 6, 0.
pub fn worst(codes: impl IntoIterator<Item = Code>) -> Code {
    codes.into_iter().max_by_key(|code| code.rank()).unwrap_or(Code::Ok)
}

/// Result of a command on one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostOutcome {
    /// The host's `ostler` exited with this code and reported the reason itself.
    Ended(i32),
    /// The connection failed, with this message of `ssh`.
    NoConnection(String),
    /// The connection broke after the command had started.
    Lost {
        /// True if the command changes something, so something may have changed.
        changes: bool,
    },
    /// `ostler` was not found on the host.
    Absent,
    /// The answer cannot be read; the version on the host.
    Unreadable(String),
    /// The answer is longer than this number of bytes.
    TooLong(usize),
    /// `ssh` could not be started.
    NotStarted(String),
    /// Not started, because an earlier host failed.
    NotBegun,
}

impl HostOutcome {
    /// Returns its exit code.
    pub fn code(&self) -> Code {
        match self {
            Self::Ended(code) => Code::of(*code),
            Self::NoConnection(_) | Self::Absent => Code::Unreachable,
            // The progress is unknown, which is worse than a reported failure.
            Self::Lost { .. } => Code::Unreachable,
            Self::Unreadable(_) | Self::TooLong(_) | Self::NotStarted(_) | Self::NotBegun => Code::Failed,
        }
    }

    /// Returns true if the command succeeded.
    pub fn succeeded(&self) -> bool {
        *self == Self::Ended(0)
    }

    /// Returns true if the host's own output does not explain the result.
    pub fn needs_message(&self) -> bool {
        !matches!(self, Self::Ended(_) | Self::NotBegun)
    }
}

impl fmt::Display for HostOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(0) => f.write_str(&message!("done")),
            Self::Ended(code) => f.write_str(&message!("failed with exit code {code}", code)),
            Self::NoConnection(why) if why.is_empty() => f.write_str(&message!("no connection; the command was not run")),
            Self::NoConnection(why) => f.write_str(&message!("no connection ({reason}); the command was not run", reason = why)),
            Self::Lost { changes: true } => f.write_str(&message!(
                "the connection broke after the command had started: it continues on that host and is not sent again; check its progress \
                 with `list`"
            )),
            Self::Lost { changes: false } => f.write_str(&message!("the connection broke before the answer was complete")),
            Self::Absent => {
                f.write_str(&message!("ostler was not found there: install it, or set its path in the hosts file (`ostler: /path`)"))
            }
            Self::Unreadable(version) => {
                f.write_str(&message!("cannot read the answer of ostler {version}: use the same version on both hosts", version))
            }
            Self::TooLong(most) => f.write_str(&message!(
                "the answer was dropped: it is longer than {size} MiB, or all answers together are too long",
                size = most >> 20
            )),
            Self::NotStarted(why) => f.write_str(&message!("cannot run ssh: {reason}", reason = why)),
            Self::NotBegun => f.write_str(&message!("not started")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_exit_code_wins() {
        for (codes, expected) in [
            (&[][..], 0),
            (&[0, 0], 0),
            (&[0, 6], 6),
            (&[6, 4], 4),
            (&[4, 5], 5),
            (&[5, 2], 2),
            (&[2, 1], 1),
            (&[1, 3, 0], 3),
            (&[0, 77], 1),
            (&[-1], 1),
        ] {
            assert_eq!(worst(codes.iter().map(|code| Code::of(*code))).number(), expected, "{codes:?}");
        }
    }

    #[test]
    fn outcome_has_exit_code_and_text() {
        for (outcome, code, word) in [
            (HostOutcome::Ended(0), 0, "done"),
            (HostOutcome::Ended(4), 4, "exit code 4"),
            (HostOutcome::NoConnection("refused".into()), 3, "(refused); the command was not run"),
            (HostOutcome::NoConnection(String::new()), 3, "no connection; the command"),
            (HostOutcome::Lost { changes: true }, 3, "not sent again"),
            (HostOutcome::Lost { changes: false }, 3, "broke"),
            (HostOutcome::Absent, 3, "ostler was not found there"),
            (HostOutcome::Unreadable("0.0.1".into()), 1, "ostler 0.0.1"),
            (HostOutcome::TooLong(16 << 20), 1, "16 MiB"),
            (HostOutcome::NotStarted("x".into()), 1, "cannot run ssh: x"),
            (HostOutcome::NotBegun, 1, "not started"),
        ] {
            assert!(outcome.to_string().contains(word), "{outcome}");
            assert_eq!((outcome.code().number(), outcome.succeeded()), (code, code == 0), "{outcome}");
        }
    }
}
