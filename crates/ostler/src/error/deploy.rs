//! Errors of `deploy`, and of the commands that bring another commit.

use std::io;

/// Reason why a deployment cannot begin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeployError {
    /// Environment that the file does not have.
    #[error("{name} environment is not defined in {file} file{}", listed(known))]
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
    #[error("{0} needs a command")]
    NoCommand(String),
    /// Word that is no command of `deploy`.
    #[error("unknown command {0:?}: expected setup, update, revert [n], curr, prev, exec <command>, list or ref [ref]")]
    UnknownCommand(String),
    /// Word that the command does not take.
    #[error("{command} does not take {word:?}")]
    Unwanted {
        /// The command.
        command: String,
        /// The word.
        word: String,
    },
    /// `revert` by something else than a number of deployments.
    #[error("revert: expected a number of deployments, 1 or more, found {0:?}")]
    Count(String),
    /// Text that names no commit, or that git would take for an option.
    #[error("{0:?} is not a name of a branch, tag or commit")]
    Ref(String),
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!(" (defined: {})", known.join(", ")) }
}

/// Reason why a command of git failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    /// git cannot be run.
    #[error("cannot run git: {0}")]
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
    #[error("the local branch has commits that the remote branch does not have; name the commit to check out")]
    Ahead,
}

/// Reason why the folder of an app does not get another commit.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    /// Folder without a repository.
    #[error("No versioning system found for process {app}: {folder} is not in a git repository with a commit")]
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
    #[error("{app} stays at {commit}: {source}")]
    Stays {
        /// Name of the app.
        app: String,
        /// Present commit.
        commit: String,
        /// The cause.
        source: GitError,
    },
    /// The former commit cannot be restored.
    #[error("cannot restore the previous commit of {app}: {source}")]
    NoWayBack {
        /// Name of the app.
        app: String,
        /// The cause.
        source: GitError,
    },
    /// Command of `post_update` that cannot be run.
    #[error("cannot run post_update ({cause}): {command}")]
    HookNotRun {
        /// The command.
        command: String,
        /// The cause.
        cause: io::Error,
    },
    /// Command of `post_update` that failed.
    #[error("post_update failed: {0}")]
    HookFailed(String),
    /// Command of `post_update` that was killed.
    #[error("post_update took longer than exec_timeout and was killed: {0}")]
    HookTimedOut(String),
}
