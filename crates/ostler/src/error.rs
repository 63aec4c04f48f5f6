//! Ends of a command.

mod command;
#[cfg(feature = "web")]
mod dashboard;
mod deploy;
#[cfg(feature = "fleet")]
mod fleet;
mod migrate;
mod module;
#[cfg(feature = "export")]
mod project;
mod search;
mod setting;
mod startup;

use std::borrow::Cow;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use ostler_config::{Problem, UnknownEngine};
use ostler_core::app::select::SelectError;
use ostler_keeper::LaunchError;
use ostler_proto::control::Failure;
use ostler_sys::users::user::UserError;

use crate::home::HomeError;
#[cfg(feature = "machine")]
use crate::replacement::{ReplaceError, UpdateError};
use ostler_client::ClientError;

pub(crate) use command::CommandError;
#[cfg(feature = "web")]
pub(crate) use dashboard::DashboardError;
pub(crate) use deploy::{DeployError, GitError, PullError};
#[cfg(feature = "fleet")]
pub(crate) use fleet::FleetError;
pub(crate) use migrate::MigrateError;
pub(crate) use module::ModuleError;
#[cfg(feature = "export")]
pub(crate) use project::{NameError, ProjectError};
pub(crate) use search::SearchError;
pub(crate) use setting::SettingError;
pub(crate) use startup::{StartupError, StepError};

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

impl UsageError {
    /// Returns the word that was probably meant, or the command that lists the words; `program` is the name of this program.
    pub(crate) fn hint(&self, program: &str) -> Option<String> {
        match self {
            Self::UnknownCommand { closest: Some(closest), .. } => Some(format!("did you mean `{program} {closest}`?")),
            Self::UnknownCommand { closest: None, .. } => Some(format!("`{program} --help` lists the commands")),
            Self::UnknownOption { closest, .. } => closest.as_ref().map(|closest| format!("did you mean `{closest}`?")),
            Self::NoEffect { command, .. } => Some(format!("`{program} {command} --help` lists its options")),
            _ => None,
        }
    }
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
    /// A system call failed, or a program cannot be run.
    #[error("cannot {what}: {source}")]
    System {
        /// The step.
        what: Cow<'static, str>,
        /// The cause.
        source: io::Error,
    },
    /// Path that is not UTF-8.
    #[error("{what} {path:?} is not valid UTF-8")]
    NotText {
        /// Meaning of the path.
        what: &'static str,
        /// The path.
        path: OsString,
    },
    /// Content that is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(String),
    /// File that the command was about to obey, and that it cannot open or trust.
    #[error("{file}: {source}")]
    Opened {
        /// As the user named it.
        file: String,
        /// The fault.
        source: Problem,
    },
    /// File that makes no sense. The problem names it.
    #[error(transparent)]
    Config(#[from] Problem),
    /// The variable that chooses the engine for config files.
    #[error(transparent)]
    Engine(#[from] UnknownEngine),
    /// User or group that does not exist.
    #[error(transparent)]
    User(#[from] UserError),
    /// Target that is no regular expression.
    #[error(transparent)]
    Target(SelectError),
    /// Program file that was replaced or removed while it ran.
    #[error("this program is not at {} any more, run the new one", .0.display())]
    ProgramGone(PathBuf),
    /// Call that has no connection to the daemon.
    #[error("no connection")]
    NoConnection,
    /// Old daemon that did not become the new one within this number of seconds.
    #[error("the old daemon is still there after {0} s")]
    OldDaemon(u64),
    /// PM2's own daemon runs in the home.
    #[error(
        "cannot {what}: PM2's own daemon{} runs in {folder}; `ostler migrate --in-place {folder}` moves its apps to ostler, npm's `pm2` controls it until then",
        .pid.map_or_else(String::new, |pid| format!(" (pid {pid})")), folder = .home.display()
    )]
    BesidePm2 {
        /// The step that is refused.
        what: String,
        /// Pid of PM2's daemon, if it is known.
        pid: Option<i32>,
        /// The home.
        home: PathBuf,
    },
    /// The rights of the home's owner cannot be taken.
    #[error("cannot act as {user}, the owner of {}: {reason}", .home.display())]
    Owner {
        /// The owner.
        user: String,
        /// The home.
        home: PathBuf,
        /// The cause.
        reason: String,
    },
    /// The starter of a runtime cannot be started.
    #[error("cannot start: {0}")]
    Starter(#[source] ostler_sys::SpawnError),
    /// The process of a runtime cannot become the keeper.
    #[error("cannot become the keeper")]
    Keeper(#[source] LaunchError),
    /// The daemon could not become the new program.
    #[cfg(feature = "machine")]
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// See [`CommandError`].
    #[error(transparent)]
    Command(#[from] CommandError),
    /// See [`DashboardError`].
    #[cfg(feature = "web")]
    #[error(transparent)]
    Dashboard(#[from] DashboardError),
    /// See [`DeployError`].
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// See [`PullError`].
    #[error(transparent)]
    Pull(#[from] PullError),
    /// See [`FleetError`].
    #[cfg(feature = "fleet")]
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// See [`MigrateError`].
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// See [`ModuleError`].
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// See [`ProjectError`].
    #[cfg(feature = "export")]
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// Export that cannot begin.
    #[cfg(feature = "export")]
    #[error(transparent)]
    Export(#[from] ostler_export::ExportError),
    /// See [`SearchError`].
    #[error(transparent)]
    Search(#[from] SearchError),
    /// See [`SettingError`].
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// See [`StartupError`].
    #[error(transparent)]
    Startup(#[from] StartupError),
    /// See [`StepError`].
    #[error(transparent)]
    Step(#[from] StepError),
    /// Error of a command that has undone everything before it.
    #[error("{0}; nothing was changed")]
    Unchanged(Box<Self>),
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
    /// Returns a function for `map_err` that makes the error of a step that the system refused.
    pub(crate) fn system<E: Into<io::Error>>(what: impl Into<Cow<'static, str>>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        |error| Self::System { what, source: error.into() }
    }

    /// Returns this error with the words that nothing was changed.
    pub(crate) fn unchanged(error: impl Into<Self>) -> Self {
        Self::Unchanged(Box::new(error.into()))
    }

    /// Returns the next step for the user, if there is one. `program` is the name by which this program was called.
    pub(crate) fn hint(&self, program: &str) -> Option<String> {
        match self {
            Self::Usage(error) => error.hint(program),
            Self::Home(error) => error.hint(),
            Self::Client(ClientError::Version { .. }) => Some(format!("run `{program} update` to replace the running daemon; apps go on")),
            Self::Client(ClientError::Lost(_)) => Some(format!("`{program} list` shows how far it came; see also pm2.log in the home")),
            Self::Command(error) => error.hint(),
            Self::Unchanged(error) => error.hint(program),
            _ => None,
        }
    }

    /// True if a relative path may be why the command failed.
    pub(crate) fn may_be_of_paths(&self) -> bool {
        match self {
            Self::Usage(_) | Self::Home(_) | Self::Client(_) | Self::Launch(_) | Self::Daemon(_) | Self::LeftOut { .. } => false,
            #[cfg(feature = "machine")]
            Self::Replace(_) => false,
            _ => true,
        }
    }

    /// The exit code.
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Usage(_) => Status::Usage,
            Self::Client(error) if error.is_unreachable() => Status::Unreachable,
            Self::Launch(_) => Status::Unreachable,
            Self::Daemon(Failure::NotFound { .. } | Failure::Empty) | Self::NotFound(_) => Status::NotFound,
            Self::Reported(status) => *status,
            Self::LeftOut { .. } => Status::LeftOut,
            _ => Status::Failed,
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
