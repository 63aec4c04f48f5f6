//! Errors of single commands.

use std::path::PathBuf;
use std::process::ExitStatus;

/// Reason why a command refuses its arguments, or cannot run here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// Word of PM2's command line whose work another command does; the text names it.
    #[error("{0}")]
    Elsewhere(String),
    /// Start without anything that could be started.
    #[error("nothing to start: {0}")]
    NothingToStart(String),
    /// App without a working directory.
    #[error("{0} has no working directory: name one with --cwd or in its file")]
    NoWorkingDirectory(String),
    /// Options for images, which ostler does not build.
    #[error("--{option}: {program} does not build images; {instead}")]
    NoImages {
        /// The option.
        option: &'static str,
        /// Name of this program.
        program: &'static str,
        /// Advice.
        instead: &'static str,
    },
    /// Number of instances that is probably a typing error.
    #[error("{instances} instances of {app} are too many for this machine, which has {processors}; nothing was changed")]
    TooManyInstances {
        /// The number.
        instances: u32,
        /// Name of the app.
        app: String,
        /// Processors of the machine, in words.
        processors: String,
    },
    /// Profile that the app does not have.
    #[error("Using --env {profile} without passing the ecosystem.config.js does not work: {app} has no such profile")]
    NoProfile {
        /// As typed.
        profile: String,
        /// Name of the app.
        app: String,
    },
    /// Target with several instances, of which the command needs one.
    #[error("{target} has several instances, choose one: {}", ids.join(", "))]
    SeveralInstances {
        /// As typed.
        target: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// Target without a running process of Node.
    #[error("{0} is not a running Node app")]
    NoNodeApp(String),
    /// Log files that were not opened again, each with its reason.
    #[error("not every log could be reopened: {}", .0.join("; "))]
    LogsNotReopened(Vec<String>),
    /// Development sessions that run at the same time; the largest number.
    #[error("{0} development sessions are running already")]
    TooManySessions(u32),
    /// Home in which a daemon runs already.
    #[error("a daemon is running in {} already: `{program} start` starts apps there", .home.display())]
    Running {
        /// The home.
        home: PathBuf,
        /// Name of this program.
        program: &'static str,
    },
    /// File that would be overwritten.
    #[error("{} exists already, {instead}", .path.display())]
    Exists {
        /// Its path.
        path: PathBuf,
        /// Options that help.
        instead: &'static str,
    },
    /// File of another program in the place of a link.
    #[error("{} exists and is not a link to this program ({}); add --force to replace it", .link.display(), .found.display())]
    Foreign {
        /// Path of the link.
        link: PathBuf,
        /// The file.
        found: PathBuf,
    },
    /// Config file on standard input that is too long.
    #[error("standard input is too long for a config file")]
    LongInput,
    /// User without a home folder.
    #[error("cannot find the home directory of this user: set HOME")]
    NoUserHome,
    /// Variable `EDITOR` without a word.
    #[error("$EDITOR is empty")]
    NoEditor,
    /// Editor that failed.
    #[error("the editor {program:?} failed ({status})")]
    Editor {
        /// Its command.
        program: String,
        /// Its end.
        status: ExitStatus,
    },
    /// Command that needs a terminal.
    #[error("{command} needs a terminal; {instead}")]
    NoTerminal {
        /// The command.
        command: &'static str,
        /// Advice.
        instead: &'static str,
    },
    /// Terminal that cannot move its cursor.
    #[error("{0} needs a terminal that can move the cursor, but TERM is dumb")]
    DumbTerminal(&'static str),
}

impl CommandError {
    /// Returns the next step, or none.
    pub(super) fn hint(&self) -> Option<String> {
        matches!(self, Self::TooManyInstances { .. }).then(|| "use --yes to start them anyway".to_owned())
    }
}
