//! Reclaim: moves a renamed log file back to its path.
//!
//! # Theory of operation
//!
//! In direct mode an app's descriptor *is* its log file, and no process can exchange another
//! process's descriptor. If a user renames the file (`mv out.log out.log.1`), the app keeps writing
//! to it. The daemon therefore moves the file back to its path, and its content to a new file under
//! the rotated name:
//!
//! 1. *copy* ([`copier`], a thread): copy the bulk to a hidden file beside the rotated name, and
//!    sync it;
//! 2. *empty* ([`empty`], the same thread, only for a large file): free the copied blocks in
//!    slices, because truncating takes time in proportion to the content. The length stays. New
//!    bytes are copied until little is left;
//! 3. *freeze* ([`freeze`]): send SIGSTOP to every process that may write to the file, each
//!    recorded in the journal before;
//! 4. *cut* ([`cut`]): copy the rest. The file returns to its path and loses everything up to its
//!    last whole line; the copy gets the rotated name;
//! 5. *thaw*.
//!
//! Only steps 3 to 5 stall the app, and their work does not depend on the size of the file. Each
//! step is in the journal before it is done, and each can be done twice. A killed daemon leaves
//! stopped writers and a record. The next daemon first finishes or undoes the reclaim ([`recover`])
//! and continues the writers. Undoing step 2 puts the removed bytes back. Processes that another
//! program stopped stay stopped.
//!
//! *Rotation* is the same without the renaming: the file stays at its path, its content gets the
//! rotated name ([`ReclaimRecord::stays`]). It also works without writers. It never leaves the
//! folder of the log ([`Folder`]), even if that folder's path changes in the meantime.

mod copier;
mod copy;
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

use crate::logs::line_times::TimesFolder;
use crate::platform::rights::Rights;

pub(crate) use copier::{Copier, CopierOutcome, CopierReport};
pub(crate) use copy::{Copied, CopyOrder};
pub(crate) use cut::{reclaim, recover, rename_to_free, undo};
pub(crate) use folder::Folder;
pub(crate) use freeze::Writers;
pub(crate) use plan::{LogFindings, PathEntry, ReclaimDecision, decide};

/// Device and inode.
pub(crate) type FileKey = (u64, u64);

/// Record of one reclaim in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReclaimRecord {
    /// Number of the reclaim.
    pub id: u32,
    /// Path of the log in its app's description.
    pub path: String,
    /// Path without symbolic links.
    pub target: String,
    /// Present path of the file.
    pub rotated: String,
    /// Path of the copy before it gets the rotated name.
    pub copy: String,
    /// Identity of the file.
    pub file: FileKey,
    /// Progress.
    pub stage: ReclaimStage,
    /// True for a rotation: the file is at its path and stays there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stays: bool,
    /// True if the beginning of the file may be in the copy only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emptied: bool,
    /// Rights with which the reclaim is done.
    #[serde(default, skip_serializing_if = "Rights::is_daemon_user")]
    pub rights: Rights,
    /// Receive times of lines, which move with the lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<TimesFolder>,
}

impl ReclaimRecord {
    /// Returns the path of the file before the reclaim.
    pub(crate) fn source(&self) -> &str {
        if self.stays { &self.target } else { &self.rotated }
    }

    /// Returns the same record with paths that do not leave this folder.
    pub(crate) fn within(&self, folder: &Folder) -> Option<Self> {
        let inside = |path: &str| Some(folder.inside(Path::new(path).file_name()?.to_str()?));
        Some(Self { target: inside(&self.target)?, rotated: inside(&self.rotated)?, copy: inside(&self.copy)?, ..self.clone() })
    }
}

/// Progress of a reclaim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReclaimStage {
    /// The copy is being made.
    Copying,
    /// Processes are being stopped; the files are unchanged.
    Freezing {
        /// Pid and start time.
        stopped: Vec<(i32, u64)>,
    },
    /// The reclaim will be completed.
    Cutting {
        /// Pid and start time.
        stopped: Vec<(i32, u64)>,
        /// Position behind the last whole line.
        cut: u64,
        /// Length of the file.
        end: u64,
        /// Mode, user and group of the file that was at the path.
        like: Option<(u32, u32, u32)>,
    },
    /// Only the stopped processes must still be continued.
    Thawing {
        /// Pid and start time.
        stopped: Vec<(i32, u64)>,
    },
}

impl ReclaimStage {
    /// Returns the stage as if nothing had been decided yet: only the stopped processes count.
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
pub(crate) struct ReclaimResult {
    /// Bytes under the rotated name.
    pub cut: u64,
    /// Other name, if the rotated one was taken in the meantime.
    pub renamed: Option<String>,
    /// Time during which no process could write.
    pub stalled: Duration,
    /// Work done during that time; it does not depend on the size of the file.
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

/// Reason why the reclaim was not done; everything is as before.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReclaimFailure {
    /// A call of the system failed.
    #[error("cannot {step} \"{path}\": {source}")]
    System {
        /// Failed step.
        step: &'static str,
        /// Path of the failed call.
        path: String,
        /// Error of the system.
        source: std::io::Error,
    },
    /// New lines arrive at the path, but the copy could not be renamed.
    #[error("the old lines are in \"{copy}\", which cannot be renamed to \"{rotated}\": {source}")]
    NotNamed {
        /// Path of the old lines.
        copy: String,
        /// Path where they should be.
        rotated: String,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The reclaim was not done, and the disk had no room to put removed bytes back.
    #[error("its first part is already in \"{rotated}\" and cannot be moved back: {source}")]
    NotPutBack {
        /// Path of the removed bytes.
        rotated: String,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The situation changed in the meantime.
    #[error("{0}")]
    Impossible(#[from] plan::ReclaimObstacle),
    /// No process writes to the file any more.
    #[error("no process writes to it any more")]
    NotWritten,
    /// The file was moved while it was to be rotated.
    #[error("another process moved it")]
    Moved,
    /// A log writer thread waits for the disk with the file's lock.
    #[error("its log writer waits for the disk")]
    Busy,
    /// A process does not stop.
    #[error("process {0} cannot be paused; its app keeps the old file until its restart")]
    NotStopped(i32),
    /// A process does not stop at the moment.
    #[error("a process cannot be paused at the moment")]
    Later,
    /// The system has no more threads.
    #[error("cannot start a thread: {0}")]
    NoThread(std::io::Error),
    /// The copying thread panicked.
    #[error("a bug in copying the file; its app keeps the old file until its restart")]
    Bug,
    /// The journal cannot be written.
    #[error("cannot write the journal: {0}")]
    Journal(std::io::Error),
}

impl ReclaimFailure {
    fn system<E: Into<std::io::Error>>(step: &'static str, path: &str) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |error| Self::System { step, path, source: error.into() }
    }
}

/// Log to be rotated.
#[derive(Debug)]
pub(crate) struct Rotating {
    /// Path in its app's description.
    pub path: String,
    /// Path without symbolic links.
    pub target: PathBuf,
    /// Identity of the file.
    pub file: FileKey,
    /// New name of the content, in the folder.
    pub rotated: String,
    /// Rights with which the rotation is done.
    pub rights: Rights,
    /// Folder of the file.
    pub folder: Folder,
}

/// Returns the hidden name beside a rotated file, under which its copy is made.
pub(crate) fn copy_name(rotated: &Path) -> Option<PathBuf> {
    let name = rotated.file_name()?.to_str()?;
    Some(rotated.with_file_name(format!(".{name}.ostler")))
}

/// Returns the type of entry at this path, and its metadata.
pub(crate) fn inspect_path(target: &Path, file: FileKey) -> (PathEntry, Option<std::fs::Metadata>) {
    use std::os::unix::fs::MetadataExt;
    match std::fs::symlink_metadata(target) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (PathEntry::Missing, None),
        Err(_) => (PathEntry::NoFile, None),
        Ok(meta) if (meta.dev(), meta.ino()) == file => (PathEntry::SameFile, Some(meta)),
        Ok(meta) if !meta.is_file() => (PathEntry::NoFile, Some(meta)),
        Ok(meta) if meta.len() == 0 => (PathEntry::Empty, Some(meta)),
        Ok(meta) => (PathEntry::Content, Some(meta)),
    }
}
