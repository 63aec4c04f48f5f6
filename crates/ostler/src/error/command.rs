//! Errors of single commands.

use std::path::PathBuf;
use std::process::ExitStatus;

use ostler_core::message;
use ostler_core::text::language::translated;

/// Reason why a command refuses its arguments, or cannot run here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// Word of PM2's command line whose work another command does; the text names it.
    #[error("{0}")]
    Elsewhere(String),
    /// Start without anything that could be started.
    #[error("{}", message!("nothing to start: {reason}", reason = _0))]
    NothingToStart(String),
    /// App without a working directory.
    #[error("{}", message!("{app} has no working directory: name one with --cwd or in its file", app = _0))]
    NoWorkingDirectory(String),
    /// Options for images, which ostler does not build.
    #[error("{}", message!("--{option}: {program} does not build images; {instead}", option, program, instead = translated(instead)))]
    NoImages {
        /// The option.
        option: &'static str,
        /// Name of this program.
        program: &'static str,
        /// Advice.
        instead: &'static str,
    },
    /// Name that selects other apps in commands. The text contains it.
    #[error("{0}")]
    ReservedName(String),
    /// Number of instances that is probably a typing error.
    #[error("{}", message!("{instances} instances of {app} are too many for this machine, which has {processors}; nothing was changed", instances, app, processors))]
    TooManyInstances {
        /// The number.
        instances: u32,
        /// Name of the app.
        app: String,
        /// Processors of the machine, in words.
        processors: String,
    },
    /// Profile that the app does not have.
    #[error("{}", message!("Using --env {profile} without passing the ecosystem.config.js does not work: {app} has no such profile", profile, app))]
    NoProfile {
        /// As typed.
        profile: String,
        /// Name of the app.
        app: String,
    },
    /// App that runs already.
    #[error("{}", message!("{app} already runs", app))]
    AlreadyRuns {
        /// Name of the app.
        app: String,
        /// Its name as a word of a command.
        word: String,
        /// Name of this program.
        program: &'static str,
    },
    /// Target with several instances, of which the command needs one.
    #[error("{}", message!("{target} has several instances, choose one: {ids}", target, ids = ids.join(", ")))]
    SeveralInstances {
        /// As typed.
        target: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// Target without a running process of Node.
    #[error("{}", message!("{app} is not a running Node app", app = _0))]
    NoNodeApp(String),
    /// Log files that were not opened again, each with its reason.
    #[error("{}", message!("not every log could be reopened: {reasons}", reasons = _0.join("; ")))]
    LogsNotReopened(Vec<String>),
    /// Development sessions that run at the same time; the largest number.
    #[error("{}", message!("{count} development sessions are running already", count = _0))]
    TooManySessions(u32),
    /// Home in which a daemon runs already.
    #[error("{}", message!("a daemon is running in {home} already: `{program} start` starts apps there", home = home.display(), program))]
    Running {
        /// The home.
        home: PathBuf,
        /// Name of this program.
        program: &'static str,
    },
    /// File that would be overwritten.
    #[error("{}", message!("{path} exists already, {instead}", path = path.display(), instead = translated(instead)))]
    Exists {
        /// Its path.
        path: PathBuf,
        /// Options that help.
        instead: &'static str,
    },
    /// File of another program in the place of a link.
    #[error("{}", message!("{link} exists and is not a link to this program ({found}); add --force to replace it", link = link.display(), found = found.display()))]
    Foreign {
        /// Path of the link.
        link: PathBuf,
        /// The file.
        found: PathBuf,
    },
    /// Config file on standard input that is too long.
    #[error("{}", message!("standard input is too long for a config file"))]
    LongInput,
    /// User without a home folder.
    #[error("{}", message!("cannot find the home directory of this user: set HOME"))]
    NoUserHome,
    /// Variable `EDITOR` without a word.
    #[error("{}", message!("$EDITOR is empty"))]
    NoEditor,
    /// Editor that failed.
    #[error("{}", message!("the editor {program} failed ({status})", program = format!("{program:?}"), status))]
    Editor {
        /// Its command.
        program: String,
        /// Its end.
        status: ExitStatus,
    },
    /// Command that needs a terminal.
    #[error("{}", message!("{command} needs a terminal; {instead}", command, instead = translated(instead)))]
    NoTerminal {
        /// The command.
        command: &'static str,
        /// Advice.
        instead: &'static str,
    },
    /// Terminal that cannot move its cursor.
    #[error("{}", message!("{command} needs a terminal that can move the cursor, but TERM is dumb", command = _0))]
    DumbTerminal(&'static str),
}

impl CommandError {
    /// Returns the next step, or none.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::ReservedName(_) => Some(message!("`--name <name>` sets another name")),
            Self::TooManyInstances { .. } => Some(message!("use --yes to start them anyway")),
            Self::AlreadyRuns { word, program, .. } => {
                Some(message!("`{program} restart {app}` restarts it; `--force` starts a second one", program, app = word))
            }
            _ => None,
        }
    }
}
