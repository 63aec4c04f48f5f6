//! Errors of projects, and of files of other engines.

use std::path::PathBuf;

use ostler_core::message;
use ostler_core::text::language::translated;
use ostler_export::{CannotRun, EnvFileError, ImportError};

/// Text that cannot be the name of a project.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", message!("expected lowercase letters, digits, `-` and `_`, starting with a letter or digit, found {found}", found = format!("{_0:?}")))]
pub(crate) struct NameError(pub(crate) String);

/// Reason why a project or a file of another engine cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProjectError {
    /// Name that is none.
    #[error("{}: {source}", translated(from))]
    Name {
        /// Place of the name.
        from: &'static str,
        /// The fault.
        source: NameError,
    },
    /// Folder whose name has no letter or digit.
    #[error("{}", message!("cannot derive a project name from the folder {folder}: set one with --project-name", folder = format!("{_0:?}")))]
    Folder(String),
    /// File that is too long.
    #[error("{}", message!("{file} has more than {most} bytes", file, most))]
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
    #[error("{}", message!("no service of {file} can run here as an app; no file was written", file = _0))]
    NothingToImport(String),
    /// Service that cannot be an app.
    #[error("{}", message!("{service} cannot run here: {reason}", service, reason))]
    Service {
        /// Its name.
        service: String,
        /// The fault and its remedy.
        reason: CannotRun,
    },
    /// Project without an app that can run.
    #[error("{}", message!("no service of {path} can run here, or its profiles are not enabled", path = _0.display()))]
    NothingToRun(PathBuf),
    /// App outside of the project that has the name of one of its apps.
    #[error("{}", taken(name, of.as_deref()))]
    Taken {
        /// Name of the app.
        name: String,
        /// File of the other project with this name.
        of: Option<String>,
    },
    /// App of the project's file that `start` started.
    #[error("{}", message!("{app} of this file was started with `start`: delete it first, or keep using `start`", app = _0))]
    Started(String),
}

/// Returns the text of [`ProjectError::Taken`].
fn taken(name: &str, of: Option<&str>) -> String {
    match of {
        None => {
            message!("{name} exists already and is not part of this project: name this project with --project-name, or delete it", name)
        }
        Some(owner) => {
            message!("{name} exists already and belongs to {owner}: name this project with --project-name, or delete it", name, owner)
        }
    }
}
