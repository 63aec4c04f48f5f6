//! Reclaim of a renamed log file: it goes back to its path.
//!
//! # Theory of operation
//!
//! In direct mode an app's descriptor *is* its log file, and nobody can exchange another process's descriptor. When somebody renames the
//! file (`mv out.log out.log.1`), the app follows it. So it is not the app that goes to a new file, it is the file that goes back to its
//! path, and its content that goes into a new file under the rotated name:
//!
//! 1. *copy* ([`copier`], a thread): the bulk into a hidden file beside the rotated name, and to the disk;
//! 2. *empty* ([`empty`], the same thread, only for a large file): what is in the copy is given back to the file system, in slices, because
//!    to shorten a file takes time in proportion to what it has; its length stays. What comes meanwhile is copied, until little is left;
//! 3. *freeze* ([`freeze`]): SIGSTOP to every process that may write to the file, each recorded in the journal before;
//! 4. *cut* ([`cut`]): copy the rest; the file goes to its path, loses everything up to its last whole line, the copy gets the rotated name;
//! 5. *thaw*.
//!
//! Only 3 to 5 stall the app, and what they do does not depend on the size of the file. Each step is in the journal before it is done, and
//! each can be done twice. A daemon that is killed leaves stopped writers and a record: the next one finishes or undoes ([`recover`])
//! before it does anything else, and continues them. To undo 2 is to put back what was taken. Processes that were stopped by somebody else are
//! left as they are.
//!
//! *Rotation* is the same without the renaming: the file stays at its path, its content gets the rotated name ([`ReclaimRecord::stays`]). It also
//! works when nobody writes, and it does not leave the folder of the log ([`Folder`]), whoever may change that meanwhile.

mod copied;
mod copier;
mod cut;
mod empty;
#[cfg(test)]
mod empty_tests;
mod folder;
mod freeze;
mod plan;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::platform::rights::Rights;

pub(crate) use copied::{Copied, Order};
pub(crate) use copier::{Copier, CopierReport, News};
pub(crate) use cut::{reclaim, recover, rename_to_free, undo};
pub(crate) use folder::Folder;
pub(crate) use freeze::Writers;
pub(crate) use plan::{Seen, There, Verdict, decide};

/// Device and inode.
pub(crate) type FileKey = (u64, u64);

/// Record of one reclaim in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReclaimRecord {
    /// Its number.
    pub id: u32,
    /// The log as its app's description names it.
    pub path: String,
    /// Path without symbolic links.
    pub target: String,
    /// Present path of the file.
    pub rotated: String,
    /// Path of the copy, before it gets that name.
    pub copy: String,
    /// Identity of the file.
    pub file: FileKey,
    /// Progress.
    pub stage: Stage,
    /// True for a rotation: the file is at its path and stays there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stays: bool,
    /// True if the beginning of the file may be in the copy only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emptied: bool,
    /// Rights with which all this is done.
    #[serde(default, skip_serializing_if = "Rights::are_ours")]
    pub rights: Rights,
}

impl ReclaimRecord {
    /// Path of the file before anything is done.
    pub(crate) fn source(&self) -> &str {
        if self.stays { &self.target } else { &self.rotated }
    }

    /// The same record with paths that do not leave this folder.
    pub(crate) fn within(&self, folder: &Folder) -> Option<Self> {
        let inside = |path: &str| Some(folder.inside(Path::new(path).file_name()?.to_str()?));
        Some(Self { target: inside(&self.target)?, rotated: inside(&self.rotated)?, copy: inside(&self.copy)?, ..self.clone() })
    }
}

/// Progress of a reclaim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// The copy is being made.
    Copying,
    /// These processes are being stopped; nothing else has changed.
    Freezing {
        /// Pid and start time.
        stopped: Vec<(i32, u64)>,
    },
    /// It will be completed.
    Cutting {
        /// Pid and start time.
        stopped: Vec<(i32, u64)>,
        /// End of the last whole line.
        cut: u64,
        /// Length of the file.
        end: u64,
        /// Mode, user and group of the file that was at the path.
        like: Option<(u32, u32, u32)>,
    },
    /// Only to continue them is left.
    Thawing {
        /// Pid and start time.
        stopped: Vec<(i32, u64)>,
    },
}

impl Stage {
    /// The record as if it had not been decided yet: only the stopped processes count.
    pub(crate) fn as_undone(&self) -> Self {
        match self {
            Self::Copying => Self::Copying,
            Self::Freezing { stopped } | Self::Cutting { stopped, .. } | Self::Thawing { stopped } => {
                Self::Freezing { stopped: stopped.clone() }
            }
        }
    }
}

/// Result of a reclaim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// Bytes under the rotated name.
    pub cut: u64,
    /// Other name, if the rotated one was taken meanwhile.
    pub renamed: Option<String>,
    /// Time in which nobody could write.
    pub stalled: Duration,
    /// Work that was done meanwhile; it does not depend on the size of the file.
    pub work: Work,
}

/// Work that the writers waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Bytes that were copied.
    pub copied: u64,
    /// Bytes of the file system that were freed.
    pub freed: u64,
}

/// Reason why it was not done; everything is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A call of the system failed.
    #[error("cannot {step} \"{path}\": {source}")]
    System {
        /// Failed step.
        step: &'static str,
        /// Path it was about.
        path: String,
        /// Error of the system.
        source: std::io::Error,
    },
    /// New lines arrive at the path, but the old ones could not get their name.
    #[error("the old lines are in \"{copy}\", it cannot be renamed to \"{rotated}\": {source}")]
    NotNamed {
        /// Path where they are.
        copy: String,
        /// Path where they should be.
        rotated: String,
        /// Error of the system.
        source: std::io::Error,
    },
    /// It was not done, and there was no room to put back what was taken.
    #[error("its beginning is in \"{rotated}\" by now and cannot be put back: {source}")]
    NotPutBack {
        /// Path where it is.
        rotated: String,
        /// Error of the system.
        source: std::io::Error,
    },
    /// Something else happened meanwhile.
    #[error("{0}")]
    Impossible(#[from] plan::Why),
    /// Nobody writes to it any more.
    #[error("no process writes to it any more")]
    NotWritten,
    /// Somebody else moved it while it was to be rotated.
    #[error("another process moved it")]
    Moved,
    /// A thread of ours waits for the disk with its lock.
    #[error("its lines wait for the disk")]
    Busy,
    /// A process does not stop.
    #[error("process {0} cannot be paused; its app keeps the old file until its restart")]
    NotStopped(i32),
    /// A process does not stop at this moment.
    #[error("a process does not pause now")]
    Later,
    /// No more threads.
    #[error("cannot start a thread: {0}")]
    NoThread(std::io::Error),
    /// A panic.
    #[error("a bug in copying the file; its app keeps the old file until its restart")]
    Bug,
    /// The journal cannot be written.
    #[error("cannot write the journal: {0}")]
    Journal(std::io::Error),
}

impl Failure {
    fn system<E: Into<std::io::Error>>(step: &'static str, path: &str) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |error| Self::System { step, path, source: error.into() }
    }
}

/// Log to be rotated.
#[derive(Debug)]
pub(crate) struct Rotating {
    /// Path, as its app's description has it.
    pub path: String,
    /// Path without symbolic links.
    pub target: PathBuf,
    /// Identity of the file.
    pub file: FileKey,
    /// The name that its content gets, in the folder.
    pub rotated: String,
    /// Rights with which that is done.
    pub rights: Rights,
    /// Folder of the file.
    pub folder: Folder,
}

/// Hidden name beside a rotated file, under which its copy is made.
pub(crate) fn copy_name(rotated: &Path) -> Option<PathBuf> {
    let name = rotated.file_name()?.to_str()?;
    Some(rotated.with_file_name(format!(".{name}.ostler")))
}

/// What is at this path, and its identity.
pub(crate) fn look(target: &Path, file: FileKey) -> (There, Option<std::fs::Metadata>) {
    use std::os::unix::fs::MetadataExt;
    match std::fs::symlink_metadata(target) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (There::Nothing, None),
        Err(_) => (There::NoFile, None),
        Ok(meta) if (meta.dev(), meta.ino()) == file => (There::Itself, Some(meta)),
        Ok(meta) if !meta.is_file() => (There::NoFile, Some(meta)),
        Ok(meta) if meta.len() == 0 => (There::Empty, Some(meta)),
        Ok(meta) => (There::Content, Some(meta)),
    }
}
