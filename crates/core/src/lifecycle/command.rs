//! Bounded commands that the daemon runs for an app (hooks, probes, secrets, jobs), and their
//! outcomes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Program and arguments. They are never built from input that a shell would split: they are the
/// user's own words, or the user's text as one argument of a shell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Command {
    /// Program, then its arguments. The program is a path (a relative path is resolved in the app's
    /// directory) or a word that is searched in the app's `PATH`.
    pub argv: Vec<String>,
}

impl Command {
    /// Returns the shell command for a text.
    pub fn shell(text: impl Into<String>) -> Self {
        Self { argv: vec!["sh".into(), "-c".into(), text.into()] }
    }
}

impl fmt::Display for Command {
    /// Writes the command as the user wrote it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.argv.as_slice() {
            [shell, option, text] if shell == "sh" && option == "-c" => f.write_str(text),
            words => f.write_str(&words.join(" ")),
        }
    }
}

/// Outcome of a command. By then all processes that it started are gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandOutcome {
    /// It returned this code.
    Code(i32),
    /// A signal that the daemon did not send ended it.
    Signal(i32),
    /// It was killed after this many milliseconds.
    TimedOut(u64),
    /// It never ran, for this reason.
    CouldNotStart(String),
    /// It was cancelled.
    Cancelled,
    /// Its exit status is unknown, because the process that watched it was killed.
    Lost,
}

impl CommandOutcome {
    /// Returns true if it succeeded.
    pub fn is_success(&self) -> bool {
        *self == Self::Code(0)
    }
}

impl fmt::Display for CommandOutcome {
    /// Writes the outcome in words that follow the command's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
            Self::TimedOut(ms) => write!(f, "timed out after {ms} ms and was killed"),
            Self::CouldNotStart(why) => write!(f, "cannot be started: {why}"),
            Self::Cancelled => f.write_str("was cancelled"),
            Self::Lost => f.write_str("exited unobserved"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_displays_as_written() {
        assert_eq!(Command::shell("a && b").to_string(), "a && b");
        assert_eq!(Command { argv: vec!["curl".into(), "-f".into()] }.to_string(), "curl -f");
    }

    #[test]
    fn only_exit_code_0_is_a_success() {
        let failures = [
            CommandOutcome::Code(1),
            CommandOutcome::Signal(9),
            CommandOutcome::TimedOut(1),
            CommandOutcome::CouldNotStart(String::new()),
            CommandOutcome::Cancelled,
            CommandOutcome::Lost,
        ];
        assert!(CommandOutcome::Code(0).is_success() && failures.iter().all(|outcome| !outcome.is_success()));
    }
}
