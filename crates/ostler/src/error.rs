//! Results of a command.

mod account;
mod command;
#[cfg(feature = "web")]
mod dashboard;
mod deploy;
#[cfg(feature = "fleet")]
mod fleet;
mod launch;
mod migrate;
mod module;
#[cfg(feature = "export")]
mod project;
mod search;
mod setting;
mod startup;
mod usage;

use std::borrow::Cow;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use ostler_config::{Problem, ProblemKind, UnknownEngine};
use ostler_core::app::select::SelectError;
use ostler_core::message;
use ostler_core::text::language::translated;
use ostler_core::text::suggest::did_you_mean;
use ostler_proto::control::Failure;
use ostler_sys::users::user::UserError;

use crate::home::HomeError;
use crate::near_file::near_file;
#[cfg(feature = "machine")]
use crate::replacement::{ReplaceError, UpdateError};
use ostler_client::ClientError;

pub(crate) use account::AccountProblem;
pub(crate) use command::CommandError;
#[cfg(feature = "web")]
pub(crate) use dashboard::DashboardError;
pub(crate) use deploy::{DeployError, GitError, PullError};
#[cfg(feature = "fleet")]
pub(crate) use fleet::FleetError;
pub(crate) use launch::LaunchProblem;
pub(crate) use migrate::MigrateError;
pub(crate) use module::ModuleError;
#[cfg(feature = "export")]
pub(crate) use project::{NameError, ProjectError};
pub(crate) use search::SearchError;
pub(crate) use setting::SettingError;
pub(crate) use startup::{StartupError, StepError};
pub(crate) use usage::UsageError;

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
    RolledBack,
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
            Self::RolledBack => 5,
            Self::Incomplete => 6,
            Self::LeftOut => 7,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::OfApp(code) => code,
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
    /// The exchange with the daemon failed; never [`ClientError::Refused`].
    #[error(transparent)]
    Client(ClientError),
    /// A daemon could not be started.
    #[error("{}", message!("cannot start the daemon: {reason}", reason = _0))]
    Launch(String),
    /// The daemon refused the request.
    #[error(transparent)]
    Daemon(#[from] Failure),
    /// A file could not be read or written.
    #[error("{}", message!("cannot {what} {path}: {source}", what = translated(what), path, source))]
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
    /// The named object does not exist; a next step is known.
    #[error("{text}")]
    Unknown {
        /// The text for the user.
        text: String,
        /// The next step, mostly a similar name.
        hint: String,
    },
    /// This program could not be replaced with another; nothing was changed.
    #[cfg(feature = "machine")]
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    /// The command belongs to a feature that this program was built without.
    #[error("{}", message!("`{command}` is not available: this program was built without the feature `{feature}`; use the full build", command, feature))]
    LeftOut {
        /// As typed.
        command: String,
        /// Cargo feature of the crate `ostler`.
        feature: &'static str,
    },
    /// A system call failed, or a program cannot be run.
    #[error("{}", message!("cannot {what}: {source}", what, source))]
    System {
        /// The step.
        what: Cow<'static, str>,
        /// The cause.
        source: io::Error,
    },
    /// Path that is not UTF-8.
    #[error("{}", message!("{what} {path} is not valid UTF-8", what = translated(what), path = format!("{path:?}")))]
    NotText {
        /// Meaning of the path.
        what: &'static str,
        /// The path.
        path: OsString,
    },
    /// Content that is not UTF-8.
    #[error("{}", message!("{path} is not UTF-8", path = _0))]
    NotUtf8(String),
    /// File that the command was about to obey, and that it cannot open or trust.
    #[error("{file}: {source}")]
    Opened {
        /// As the user named it.
        file: String,
        /// The fault.
        source: Box<Problem>,
    },
    /// File that makes no sense. The problem names it.
    #[error(transparent)]
    Config(Box<Problem>),
    /// The variable that chooses the engine for config files.
    #[error(transparent)]
    Engine(#[from] UnknownEngine),
    /// User or group that does not exist.
    #[error(transparent)]
    User(AccountProblem),
    /// Target that is no regular expression.
    #[error(transparent)]
    Target(SelectError),
    /// Program file that was replaced or removed while it ran.
    #[error("{}", message!("this program is no longer at {path}; run the new one", path = _0.display()))]
    ProgramGone(PathBuf),
    /// Call that has no connection to the daemon.
    #[error("{}", message!("no connection"))]
    NoConnection,
    /// Old daemon that did not become the new one within this number of seconds.
    #[error("{}", message!("the old daemon still runs after {seconds} s", seconds = _0))]
    OldDaemon(u64),
    /// PM2's own daemon runs in the home.
    #[error(
        "{}",
        message!(
            "cannot {what}: PM2's own daemon{pid} runs in {folder}; `ostler migrate --in-place {folder}` moves its apps to ostler; until then, control it with npm's `pm2`",
            what,
            pid = pid.map_or_else(String::new, |pid| format!(" (pid {pid})")),
            folder = home.display()
        )
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
    #[error("{}", message!("cannot act as {user}, the owner of {home}: {reason}", user, home = home.display(), reason))]
    Owner {
        /// The owner.
        user: String,
        /// The home.
        home: PathBuf,
        /// The cause.
        reason: String,
    },
    /// The starter of a runtime cannot be started.
    #[error("{}", message!("cannot start: {reason}", reason = _0))]
    Starter(#[source] ostler_sys::SpawnError),
    /// The process of a runtime cannot become the keeper.
    #[error("{}", message!("cannot become the keeper"))]
    Keeper(#[source] LaunchProblem),
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
    #[error("{}", message!("{problem}; nothing was changed", problem = _0))]
    Unchanged(Box<Self>),
    /// Error of a command that would have written a file.
    #[error("{}", message!("{problem}; no file was written", problem = _0))]
    NoFile(Box<Self>),
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

impl From<UserError> for CliError {
    fn from(error: UserError) -> Self {
        Self::User(error.into())
    }
}

impl From<Problem> for CliError {
    fn from(problem: Problem) -> Self {
        Self::Config(Box::new(problem))
    }
}

impl CliError {
    /// Returns a function for `map_err` that makes the error of a step that the system refused.
    pub(crate) fn system<E: Into<io::Error>>(what: impl Into<Cow<'static, str>>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        |error| Self::System { what, source: error.into() }
    }

    /// Returns the error about a name that does not exist. The hint is a similar name, or else
    /// `otherwise`.
    pub(crate) fn unknown<'a>(
        text: impl Into<String>,
        word: &str,
        known: impl IntoIterator<Item = &'a str>,
        otherwise: impl Into<String>,
    ) -> Self {
        let hint = did_you_mean(word, known).unwrap_or_else(|| otherwise.into());
        Self::Unknown { text: text.into(), hint }
    }

    /// Returns this error with the words that nothing was changed.
    pub(crate) fn unchanged(error: impl Into<Self>) -> Self {
        Self::Unchanged(Box::new(error.into()))
    }

    /// Returns this error with the words that no file was written.
    pub(crate) fn no_file(error: impl Into<Self>) -> Self {
        Self::NoFile(Box::new(error.into()))
    }

    /// Returns the next step for the user, or none. `program` is the name by which this program was called.
    pub(crate) fn hint(&self, program: &str) -> Option<String> {
        match self {
            Self::Usage(error) => error.hint(program),
            Self::Home(error) => error.hint(),
            Self::Client(ClientError::Version { .. }) => {
                Some(message!("run `{program} update` to replace the running daemon; apps keep running", program))
            }
            Self::Client(ClientError::Lost(_)) => {
                Some(message!("`{program} list` shows the current state; see also pm2.log in the home", program))
            }
            Self::Command(error) => error.hint(),
            Self::Unknown { hint, .. } => Some(hint.clone()).filter(|hint| !hint.is_empty()),
            Self::Opened { file, source } if source.kind == ProblemKind::NotFound => near_file(Path::new(file)),
            Self::File { path, source, .. } if source.kind() == io::ErrorKind::NotFound => near_file(Path::new(path)),
            Self::Migrate(error) => error.hint(),
            Self::Module(error) => error.hint(),
            Self::Startup(error) => error.hint(),
            Self::Deploy(DeployError::Unknown { name, known, .. }) => did_you_mean(name, known.iter().map(String::as_str)),
            #[cfg(feature = "web")]
            Self::Dashboard(error) => error.hint(),
            Self::Unchanged(error) | Self::NoFile(error) => error.hint(program),
            _ => None,
        }
    }

    /// True if a relative path may be why the command failed.
    pub(crate) fn may_concern_paths(&self) -> bool {
        match self {
            Self::Usage(_) | Self::Home(_) | Self::Client(_) | Self::Launch(_) | Self::Daemon(_) | Self::LeftOut { .. } => false,
            #[cfg(feature = "machine")]
            Self::Replace(_) => false,
            _ => true,
        }
    }

    /// Returns the exit code.
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Usage(_) => Status::Usage,
            Self::Client(error) if error.is_unreachable() => Status::Unreachable,
            Self::Launch(_) => Status::Unreachable,
            Self::Daemon(Failure::NotFound { .. } | Failure::Empty) | Self::NotFound(_) | Self::Unknown { .. } => Status::NotFound,
            Self::Reported(status) => *status,
            Self::Unchanged(error) | Self::NoFile(error) => error.status(),
            Self::LeftOut { .. } => Status::LeftOut,
            _ => Status::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use ostler_keeper::LaunchError;

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
            (CliError::unknown("no token x", "x", ["y"], ""), 4),
            (CliError::Reported(Status::NotFound), 4),
            (CliError::LeftOut { command: "web".into(), feature: "web" }, 7),
        ] {
            assert_eq!(error.status().code(), code, "{error}");
        }
    }

    /// Words of errors, with their causes and hints. All of them exit with 1.
    #[test]
    fn words() {
        let io = |kind: io::ErrorKind| io::Error::new(kind, "no luck");
        let denied = || io(io::ErrorKind::PermissionDenied);
        let status = || <std::process::ExitStatus as std::os::unix::process::ExitStatusExt>::from_raw(256);
        let errors: Vec<(CliError, &str)> = vec![
            (CliError::system("wait")(denied()), "cannot wait: no luck"),
            (CliError::NotText { what: "the home", path: "/h".into() }, "the home \"/h\" is not valid UTF-8"),
            (CliError::NotUtf8("compose.yaml".into()), "compose.yaml is not UTF-8"),
            (
                CliError::Opened {
                    file: "a.yaml".into(),
                    source: Problem::error(ostler_config::ProblemKind::NotFound, "file not found").into(),
                },
                "a.yaml: file not found",
            ),
            (UnknownEngine("v9".into()).into(), "OSTLER_JS: expected embedded, runtime or auto, found \"v9\""),
            (UserError::NoUser("x".into()).into(), "no such user \"x\""),
            (
                CliError::BesidePm2 { what: "start".into(), pid: Some(7), home: "/p".into() },
                "cannot start: PM2's own daemon (pid 7) runs in /p; `ostler migrate --in-place /p` moves its apps to ostler; until then, control it with npm's `pm2`",
            ),
            (
                CliError::Keeper(LaunchError::Home { step: "make", path: "/h".into(), source: denied() }.into()),
                "cannot become the keeper: cannot make \"/h\": no luck",
            ),
            (
                CliError::unchanged(StepError::File { what: "write", path: "/etc/x".into(), source: denied() }),
                "cannot write /etc/x: no luck; nothing was changed",
            ),
            (
                CliError::unchanged(ModuleError::Fetch { shown: "mod".into(), source: Box::new(ModuleError::NoNpm) }),
                "mod: cannot download modules: neither npm nor bun was found; install Node's npm; nothing was changed",
            ),
            (
                ModuleError::Package { path: "/m/package.json".into(), source: Box::new(ModuleError::Name("../x".into())) }.into(),
                "\"/m/package.json\": \"../x\" is not a valid module name",
            ),
            (ModuleError::Failed { program: "npm", status: status() }.into(), "npm failed (exit status: 1)"),
            (ModuleError::from(denied()).into(), "cannot unpack: no luck"),
            (
                DeployError::Unknown { name: "stage".into(), file: "a.json".into(), known: vec!["prod".into()] }.into(),
                "stage environment is not defined in a.json file (defined: prod)",
            ),
            (DeployError::Ref("-x".into()).into(), "\"-x\" is not a name of a branch, tag or commit"),
            (
                PullError::Stays { app: "api".into(), commit: "abc".into(), source: GitError::Run(denied()) }.into(),
                "api stays at abc: cannot run git: no luck",
            ),
            (PullError::HookNotRun { command: "make".into(), cause: denied() }.into(), "cannot run post_update (no luck): make"),
            (StartupError::UserUnit("openrc").into(), "--user-unit needs systemd, but this machine uses openrc"),
            (
                MigrateError::NotHealthy { state: "api is stopped".into(), missing: vec!["port 80".into()] }.into(),
                "api is stopped, and nothing listens at port 80",
            ),
            (
                SettingError::Unknown { section: "log_rotate".into(), key: "retan".into(), near: Some("retain"), known: vec![] }.into(),
                "log_rotate has no setting \"retan\", did you mean retain?",
            ),
            (SearchError::TooLong(9).into(), "it has more than 9 bytes"),
            (
                CommandError::SeveralInstances { target: "api".into(), ids: vec!["0".into(), "1".into()] }.into(),
                "api has several instances, choose one: 0, 1",
            ),
            (
                CommandError::TooManyInstances { instances: 900, app: "api".into(), processors: "2 processors".into() }.into(),
                "900 instances of api are too many for this machine, which has 2 processors; nothing was changed (hint: use --yes to start them anyway)",
            ),
        ];
        for (error, words) in errors {
            let hint = error.hint("ostler").map_or_else(String::new, |hint| format!(" (hint: {hint})"));
            assert_eq!(ostler_core::text::causes::with_causes(&error) + &hint, words);
            assert_eq!(error.status(), Status::Failed, "{words}");
        }
    }

    #[test]
    fn hints() {
        let unknown = |closest| UsageError::UnknownCommand { word: "lsit".into(), closest };
        let lost = || ClientError::Lost(io::ErrorKind::ConnectionReset.into());
        for (error, hint) in [
            (unknown(Some("list")).into(), Some("did you mean `pm2 list`?")),
            (unknown(None).into(), Some("`pm2 --help` lists the commands")),
            (UsageError::UnknownCommand { word: "run".into(), closest: None }.into(), Some("did you mean `pm2 start`?")),
            (
                UsageError::MissingArgument { name: "id".into(), command: "stop", example: Some("stop api") }.into(),
                Some("for example `pm2 stop api`; `pm2 help stop` explains it"),
            ),
            (UsageError::MissingArgument { name: "x".into(), command: "", example: None }.into(), None),
            (UsageError::NoEffect { option: "force", command: "list" }.into(), Some("`pm2 list --help` lists its options")),
            (UsageError::NoCommand.into(), None),
            (lost().into(), Some("`pm2 list` shows the current state; see also pm2.log in the home")),
            (ClientError::Version { daemon: "1".into() }.into(), Some("run `pm2 update` to replace the running daemon; apps keep running")),
            (CliError::NotFound("x".into()), None),
        ] {
            assert_eq!(error.hint("pm2").as_deref(), hint, "{error}");
        }
    }

    #[cfg(feature = "web")]
    #[test]
    fn words_of_the_dashboard() {
        for (error, words) in [
            (DashboardError::NoFigures { app: "api".into(), known: vec!["web".into()] }, "no metrics of api yet; apps with metrics: web"),
            (DashboardError::NoFigures { app: "api".into(), known: vec![] }, "no metrics of api yet"),
            (DashboardError::Kept { reason: "no port".into(), state: "it is off".into() }, "no port; it is off"),
            (DashboardError::Off { program: "pm2" }, "the dashboard is off; `pm2 web enable` switches it on"),
        ] {
            assert_eq!(ostler_core::text::causes::with_causes(&CliError::from(error)), words);
        }
    }

    #[cfg(feature = "export")]
    #[test]
    fn words_of_projects() {
        let env = ostler_export::EnvFileError { line: 3, reason: "no quote".into() };
        for (error, words) in [
            (ProjectError::EnvFile { file: "/p/.env".into(), source: env }, "/p/.env: line 3: no quote"),
            (
                ProjectError::Taken { name: "p-api".into(), of: None },
                "p-api exists already and is not part of this project: name this project with --project-name, or delete it",
            ),
            (
                ProjectError::Name { from: "COMPOSE_PROJECT_NAME", source: NameError("A".into()) },
                "COMPOSE_PROJECT_NAME: expected lowercase letters, digits, `-` and `_`, starting with a letter or digit, found \"A\"",
            ),
        ] {
            assert_eq!(ostler_core::text::causes::with_causes(&CliError::from(error)), words);
        }
    }

    #[cfg(feature = "fleet")]
    #[test]
    fn words_of_the_fleet() {
        let error = FleetError::Hosts { file: "hosts.yaml".into(), source: ostler_fleet::HostsError::Empty("web".into()) };
        assert_eq!(CliError::from(error).to_string(), "hosts.yaml: web has no hosts");
    }
}
