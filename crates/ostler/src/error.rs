//! Ends of a command.

use ostler_proto::control::Failure;

use crate::home::HomeError;
#[cfg(feature = "machine")]
use crate::replacement::ReplaceError;
use ostler_client::ClientError;

/// End of a command; the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It worked.
    Ok,
    /// It did not.
    Failed,
    /// The command line made no sense.
    Usage,
    /// No daemon answers.
    Unreachable,
    /// No such app, id, file.
    NotFound,
    /// A deployment did not get well, and the former release is back.
    WentBack,
    /// Everything was checked; a part of it has no equal in the target of an export.
    Incomplete,
    /// The command belongs to a part that this program was built without.
    LeftOut,
    /// Ctrl-C ended a project in front.
    Interrupted,
    /// Another signal ended it.
    Terminated,
    /// An app of a project in front exited with this code.
    OfApp(u8),
}

impl Status {
    /// Returns the status of a command that ends as an app did.
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

/// Reason why a command line cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    /// No command at all.
    #[error("no command given")]
    NoCommand,
    /// No such command.
    #[error("Command not found")]
    UnknownCommand {
        /// As typed.
        word: String,
        /// A close one.
        closest: Option<&'static str>,
    },
    /// No such option.
    #[error("unknown option `{word}'")]
    UnknownOption {
        /// As typed.
        word: String,
        /// A close one, with dashes.
        closest: Option<String>,
    },
    /// An option without its value.
    #[error("option `{option}' argument missing")]
    MissingValue {
        /// The option with its placeholder.
        option: String,
    },
    /// A value for an option that takes none.
    #[error("option `{option}' takes no value")]
    UnwantedValue {
        /// The option.
        option: String,
    },
    /// Too few arguments.
    #[error("missing required argument `{name}'")]
    MissingArgument {
        /// As in the usage line.
        name: String,
    },
    /// Too many arguments, for the commands that care.
    #[error("Unknown command argument: {word}")]
    UnknownArgument {
        /// The first one too many.
        word: String,
    },
    /// An option that the command does not use.
    #[error("option `--{option}' has no effect with `{command}'")]
    NoEffect {
        /// Its main spelling, without dashes.
        option: &'static str,
        /// The command.
        command: &'static str,
    },
    /// Not text.
    #[error("argument {shown:?} is not valid UTF-8")]
    NotText {
        /// With the bad bytes replaced.
        shown: String,
    },
    /// A value that makes no sense.
    #[error("option `{option}': {reason}")]
    BadValue {
        /// The option.
        option: String,
        /// What is wrong with it and what would be right.
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
    /// Talking to the daemon failed; never [`ClientError::Refused`].
    #[error(transparent)]
    Client(ClientError),
    /// Starting one failed.
    #[error("cannot start the daemon: {0}")]
    Launch(String),
    /// The daemon refused.
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
    /// The thing named does not exist; worded for the user.
    #[error("{0}")]
    NotFound(String),
    /// This program could not be replaced by another; nothing was changed.
    #[cfg(feature = "machine")]
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    /// A command of a part that this program was built without.
    #[error("`{command}` is left out of this program, which was built without the feature `{feature}`: use the complete one")]
    LeftOut {
        /// As typed.
        command: String,
        /// The feature of the crate `ostler`.
        feature: &'static str,
    },
    /// Anything else, worded for the user.
    #[error("{0}")]
    Failed(String),
    /// Everything was reported already; only the exit code is left.
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
    /// The exit code.
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
    fn exit_codes() {
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
