//! Results of a command.

use ostler_proto::control::Failure;

use crate::home::HomeError;
#[cfg(feature = "machine")]
use crate::replacement::ReplaceError;
use ostler_client::ClientError;

/// Result of a command, as its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Success.
    Ok,
    /// Failure.
    Failed,
    /// The command line was invalid.
    Usage,
    /// No daemon answers.
    Unreachable,
    /// No such app, id or file.
    NotFound,
    /// A deployment was not healthy, and the former release was restored.
    WentBack,
    /// Every check passed, but a part cannot be expressed in the target of an export.
    Incomplete,
    /// The command belongs to a feature that this program was built without.
    LeftOut,
    /// Ctrl-C stopped a project in the foreground.
    Interrupted,
    /// Another signal stopped a project in the foreground.
    Terminated,
    /// An app of a project in the foreground exited with this code.
    OfApp(u8),
}

impl Status {
    /// Returns the status of a command that exits with the code of an app.
    pub(crate) fn of_app(code: u8) -> Self {
        if code == 0 { Self::Ok } else { Self::OfApp(code) }
    }

    /// Returns the exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::NotFound => 4,
            Self::WentBack => 5,
            Self::Incomplete => 6,
            Self::LeftOut => 7,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::OfApp(code) => code,
        }
    }
}

/// Reason why a command line is rejected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    /// The command line has no command.
    #[error("no command given")]
    NoCommand,
    /// The command does not exist.
    #[error("Command not found")]
    UnknownCommand {
        /// As typed.
        word: String,
        /// A similar command.
        closest: Option<&'static str>,
    },
    /// The option does not exist.
    #[error("unknown option `{word}'")]
    UnknownOption {
        /// As typed.
        word: String,
        /// A similar option, with dashes.
        closest: Option<String>,
    },
    /// The option lacks its value.
    #[error("option `{option}' argument missing")]
    MissingValue {
        /// The option with its placeholder.
        option: String,
    },
    /// The option takes no value.
    #[error("option `{option}' takes no value")]
    UnwantedValue {
        /// The option.
        option: String,
    },
    /// The command needs more arguments.
    #[error("missing required argument `{name}'")]
    MissingArgument {
        /// Name of the argument, as in the usage line.
        name: String,
    },
    /// There are too many arguments. Some commands ignore this.
    #[error("Unknown command argument: {word}")]
    UnknownArgument {
        /// First superfluous argument.
        word: String,
    },
    /// The command does not use this option.
    #[error("option `--{option}' has no effect with `{command}'")]
    NoEffect {
        /// Main spelling of the option, without dashes.
        option: &'static str,
        /// The command.
        command: &'static str,
    },
    /// An argument is not UTF-8.
    #[error("argument {shown:?} is not valid UTF-8")]
    NotText {
        /// The argument, with invalid bytes replaced.
        shown: String,
    },
    /// The value of an option is invalid.
    #[error("option `{option}': {reason}")]
    BadValue {
        /// The option.
        option: String,
        /// The problem, and an example of a valid value.
        reason: String,
    },
}

/// Reason why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// See [`UsageError`].
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The exchange with the daemon failed; never [`ClientError::Refused`].
    #[error(transparent)]
    Client(ClientError),
    /// A daemon could not be started.
    #[error("cannot start the daemon: {0}")]
    Launch(String),
    /// The daemon refused the request.
    #[error(transparent)]
    Daemon(#[from] Failure),
    /// A file could not be read or written.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// `read`, `write`, …
        what: &'static str,
        /// The path of the file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The named object does not exist. The text is for the user.
    #[error("{0}")]
    NotFound(String),
    /// This program could not be replaced with another; nothing was changed.
    #[cfg(feature = "machine")]
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    /// The command belongs to a feature that this program was built without.
    #[error("`{command}` is left out of this program, which was built without the feature `{feature}`: use the complete one")]
    LeftOut {
        /// As typed.
        command: String,
        /// Cargo feature of the crate `ostler`.
        feature: &'static str,
    },
    /// Any other failure. The text is for the user.
    #[error("{0}")]
    Failed(String),
    /// The failure was already reported; only the exit code remains.
    #[error("failed")]
    Reported(Status),
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(failure) => Self::Daemon(failure),
            other => Self::Client(other),
        }
    }
}

impl CliError {
    /// Returns the exit code.
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Usage(_) => Status::Usage,
            Self::Client(error) if error.is_unreachable() => Status::Unreachable,
            Self::Launch(_) => Status::Unreachable,
            Self::Daemon(Failure::NotFound { .. } | Failure::Empty) | Self::NotFound(_) => Status::NotFound,
            Self::Reported(status) => *status,
            Self::LeftOut { .. } => Status::LeftOut,
            #[cfg(feature = "machine")]
            Self::Replace(_) => Status::Failed,
            Self::Home(_) | Self::Client(_) | Self::Daemon(_) | Self::File { .. } | Self::Failed(_) => Status::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_exit_code() {
        let not_found = || Failure::NotFound { target: "x".into() };
        for (error, code) in [
            (CliError::Usage(UsageError::NoCommand), 2),
            (CliError::Client(ClientError::NotRunning { home: "/h".into() }), 3),
            (CliError::Client(ClientError::Unexpected), 1),
            (CliError::Launch("no".into()), 3),
            (ClientError::Refused(not_found()).into(), 4),
            (CliError::Daemon(not_found()), 4),
            (CliError::Daemon(Failure::AlreadyLaunched), 1),
            (CliError::NotFound("File x not found".into()), 4),
            (CliError::Reported(Status::NotFound), 4),
            (CliError::LeftOut { command: "web".into(), feature: "web" }, 7),
        ] {
            assert_eq!(error.status().code(), code, "{error}");
        }
    }
}
