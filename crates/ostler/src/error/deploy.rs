//! Errors of `deploy`, and of the commands that bring another commit.

use std::io;

use ostler_core::message;

/// Reason why a deployment cannot begin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeployError {
    /// Environment that the file does not have.
    #[error("{}", unknown(name, file, known))]
    Unknown {
        /// As typed.
        name: String,
        /// The config file.
        file: String,
        /// Environments of the file.
        known: Vec<String>,
    },
    /// Environment that makes no sense.
    #[error("{file}: deploy.{name}.{reason}")]
    Environment {
        /// The config file.
        file: String,
        /// Name of the environment.
        name: String,
        /// The key and its fault.
        reason: String,
    },
    /// `exec` or `run` without a command.
    #[error("{}", message!("{command} needs a command", command = _0))]
    NoCommand(String),
    /// Word that is no command of `deploy`.
    #[error("{}", message!("unknown command {word}: expected setup, update, revert [n], curr, prev, exec <command>, list or ref [ref]", word = format!("{_0:?}")))]
    UnknownCommand(String),
    /// Word that the command does not take.
    #[error("{}", message!("{command} does not take {word}", command, word = format!("{word:?}")))]
    Unwanted {
        /// The command.
        command: String,
        /// The word.
        word: String,
    },
    /// `revert` by something else than a number of deployments.
    #[error("{}", message!("revert: expected a number of deployments, 1 or more, found {found}", found = format!("{_0:?}")))]
    Count(String),
    /// Text that names no commit, or that git would take for an option.
    #[error("{}", message!("{name} is not a name of a branch, tag or commit", name = format!("{_0:?}")))]
    Ref(String),
}

fn unknown(name: &str, file: &str, known: &[String]) -> String {
    if known.is_empty() {
        return message!("{name} environment is not defined in {file} file", name, file);
    }
    message!("{name} environment is not defined in {file} file (defined: {known})", name, file, known = known.join(", "))
}

/// Reason why a command of git failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    /// git cannot be run.
    #[error("{}", message!("cannot run git: {reason}", reason = _0))]
    Run(#[source] io::Error),
    /// git failed.
    #[error("git {command}: {words}")]
    Failed {
        /// Command of git.
        command: String,
        /// First lines of its standard error.
        words: String,
    },
    /// Branch with commits that its remote branch does not have.
    #[error("{}", message!("the local branch has commits that the remote branch does not have; name the commit to check out"))]
    Ahead,
}

/// Reason why the folder of an app does not get another commit.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    /// Folder without a repository.
    #[error("{}", message!("No versioning system found for process {app}: {folder} is not in a git repository with a commit", app, folder))]
    NoRepository {
        /// Name of the app.
        app: String,
        /// Its working directory.
        folder: String,
    },
    /// The wanted commit cannot be found.
    #[error("{app}: {source}")]
    Commit {
        /// Name of the app.
        app: String,
        /// The cause.
        source: GitError,
    },
    /// The working tree cannot be changed.
    #[error("{}", message!("{app} stays at {commit}: {source}", app, commit, source))]
    Stays {
        /// Name of the app.
        app: String,
        /// Present commit.
        commit: String,
        /// The cause.
        source: GitError,
    },
    /// The former commit cannot be restored.
    #[error("{}", message!("cannot restore the previous commit of {app}: {source}", app, source))]
    NoWayBack {
        /// Name of the app.
        app: String,
        /// The cause.
        source: GitError,
    },
    /// Command of `post_update` that cannot be run.
    #[error("{}", message!("cannot run post_update ({cause}): {command}", cause, command))]
    HookNotRun {
        /// The command.
        command: String,
        /// The cause.
        cause: io::Error,
    },
    /// Command of `post_update` that failed.
    #[error("{}", message!("post_update failed: {command}", command = _0))]
    HookFailed(String),
    /// Command of `post_update` that was killed.
    #[error("{}", message!("post_update took longer than exec_timeout and was killed: {command}", command = _0))]
    HookTimedOut(String),
}
