//! Errors of projects, and of files of other engines.

use std::path::PathBuf;

use ostler_export::{CannotRun, EnvFileError, ImportError};

/// Text that cannot be the name of a project.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected lowercase letters, digits, `-` and `_`, starting with a letter or digit, found {0:?}")]
pub(crate) struct NameError(pub(crate) String);

/// Reason why a project or a file of another engine cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProjectError {
    /// Name that is none.
    #[error("{from}: {source}")]
    Name {
        /// Place of the name.
        from: &'static str,
        /// The fault.
        source: NameError,
    },
    /// Folder whose name has no letter or digit.
    #[error("cannot derive a project name from the folder {0:?}: set one with --project-name")]
    Folder(String),
    /// File that is too long.
    #[error("{file} has more than {most} bytes")]
    TooLong {
        /// The file.
        file: String,
        /// Largest length.
        most: u64,
    },
    /// Env file that makes no sense.
    #[error("{}: {source}", .file.display())]
    EnvFile {
        /// Its path.
        file: PathBuf,
        /// The fault.
        source: EnvFileError,
    },
    /// File of another engine that makes no sense.
    #[error("{file}: {source}")]
    Import {
        /// The file.
        file: String,
        /// The fault.
        source: ImportError,
    },
    /// File without anything that can be an app.
    #[error("no service of {0} can run here as an app; no file was written")]
    NothingToImport(String),
    /// Service that cannot be an app.
    #[error("{service} cannot run here: {reason}")]
    Service {
        /// Its name.
        service: String,
        /// The fault and its remedy.
        reason: CannotRun,
    },
    /// Project without an app that can run.
    #[error("no service of {} can run here, or its profiles are not enabled", .0.display())]
    NothingToRun(PathBuf),
    /// App outside of the project that has the name of one of its apps.
    #[error("{name} exists already and {}: name this project with --project-name, or delete it", .of.as_ref().map_or_else(|| "is not part of this project".to_owned(), |of| format!("belongs to {of}")))]
    Taken {
        /// Name of the app.
        name: String,
        /// File of the other project with this name.
        of: Option<String>,
    },
    /// App of the project's file that `start` started.
    #[error("{0} of this file was started with `start`: delete it first, or keep using `start`")]
    Started(String),
}
