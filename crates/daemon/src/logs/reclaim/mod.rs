//! Giving a renamed log file back to its path.
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
//! 3. *freeze* ([`freeze`]): SIGSTOP to every process that may write to the file, each noted in the journal before;
//! 4. *cut* ([`cut`]): copy the rest; the file goes to its path, loses everything up to its last whole line, the copy gets the rotated name;
//! 5. *thaw*.
//!
//! Only 3 to 5 stall the app, and what they do does not depend on the size of the file. Each step is in the journal before it is done, and
//! each can be done twice. A daemon that is killed leaves writers that stand still and a record: the next one finishes or undoes ([`recover`])
//! before it does anything else, and wakes them. To undo 2 is to put back what was taken. Processes that were stopped by somebody else are
//! left as they are.
//!
//! *Rotation* is the same without the renaming: the file stays at its path, its content gets the rotated name ([`ReclaimRecord::stays`]). It also
//! works when nobody writes, and it does not leave the folder of the log ([`Folder`]), whoever may change that meanwhile.

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

use crate::rights::Rights;

pub(crate) use copier::{Copied, Copier, CopierReport, News, Order};
pub(crate) use cut::{reclaim, recover, rename_to_free, undo};
pub(crate) use folder::Folder;
pub(crate) use freeze::Writers;
pub(crate) use plan::{Seen, There, Verdict, decide};

/// Device and inode.
pub(crate) type FileKey = (u64, u64);

/// One reclaim, as the journal has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReclaimRecord {
    /// Its number.
    pub id: u32,
    /// The log as its app's description names it.
    pub path: String,
    /// The same without symbolic links.
    pub target: String,
    /// What the file is called now.
    pub rotated: String,
    /// The copy, before it gets that name.
    pub copy: String,
    /// The file.
    pub file: FileKey,
    /// How far it is.
    pub stage: Stage,
    /// It is at its path and stays there: rotation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stays: bool,
    /// The beginning of the file may be in the copy only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emptied: bool,
    /// With whose rights all this is done.
    #[serde(default, skip_serializing_if = "Rights::are_ours")]
    pub rights: Rights,
}

impl ReclaimRecord {
    /// Where the file is before anything is done.
    pub(crate) fn source(&self) -> &str {
        if self.stays { &self.target } else { &self.rotated }
    }

    /// The same with paths that do not leave this folder.
    pub(crate) fn within(&self, folder: &Folder) -> Option<Self> {
        let inside = |path: &str| Some(folder.inside(Path::new(path).file_name()?.to_str()?));
        Some(Self { target: inside(&self.target)?, rotated: inside(&self.rotated)?, copy: inside(&self.copy)?, ..self.clone() })
    }
}

/// How far a reclaim is.
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
    /// It will be done.
    Cutting {
        /// As above.
        stopped: Vec<(i32, u64)>,
        /// Where the last whole line ends.
        cut: u64,
        /// Length of the file.
        end: u64,
        /// Mode, user and group of the file that was at the path.
        like: Option<(u32, u32, u32)>,
    },
    /// Only waking them is left.
    Thawing {
        /// As above.
        stopped: Vec<(i32, u64)>,
    },
}

impl Stage {
    /// As if it had not been decided yet: only those who stand still count.
    pub(crate) fn as_undone(&self) -> Self {
        match self {
            Self::Copying => Self::Copying,
            Self::Freezing { stopped } | Self::Cutting { stopped, .. } | Self::Thawing { stopped } => {
                Self::Freezing { stopped: stopped.clone() }
            }
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// So many bytes are under the rotated name.
    pub cut: u64,
    /// Which that is, if another one was taken meanwhile.
    pub renamed: Option<String>,
    /// For so long nobody could write.
    pub stalled: Duration,
    /// What was done meanwhile; it does not depend on the size of the file.
    pub work: Work,
}

/// What the writers waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// So many bytes were copied.
    pub copied: u64,
    /// So many bytes of the file system were freed.
    pub freed: u64,
}

/// Why it was not done; everything is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A call of the system.
    #[error("cannot {step} \"{path}\": {source}")]
    System {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// New lines arrive at the path, but the old ones could not get their name.
    #[error("the old lines are in \"{copy}\", it cannot be renamed to \"{rotated}\": {source}")]
    NotNamed {
        /// Where they are.
        copy: String,
        /// Where they should be.
        rotated: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// It was not done, and for that there was no room.
    #[error("its beginning is in \"{rotated}\" by now and cannot be put back: {source}")]
    NotPutBack {
        /// Where it is.
        rotated: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Something else came in between.
    #[error("{0}")]
    Impossible(#[from] plan::Why),
    /// Nobody writes to it any more.
    #[error("nobody writes to it any more")]
    NotWritten,
    /// Somebody else moved it while it was to be rotated.
    #[error("somebody moved it meanwhile")]
    Moved,
    /// A thread of ours waits for the disk with its lock.
    #[error("its lines wait for the disk")]
    Busy,
    /// Somebody does not stop.
    #[error("process {0} cannot be stopped for a moment; its app goes on with the old file until its restart")]
    NotStopped(i32),
    /// Somebody does not stop in this moment.
    #[error("somebody does not stop in this moment")]
    Later,
    /// No more threads.
    #[error("cannot start a thread: {0}")]
    NoThread(std::io::Error),
    /// A panic.
    #[error("a bug in the copying; its app goes on with the old file until its restart")]
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

/// A log to be rotated.
#[derive(Debug)]
pub(crate) struct Rotating {
    /// As its app's description has it.
    pub path: String,
    /// The same without symbolic links.
    pub target: PathBuf,
    /// The file.
    pub file: FileKey,
    /// The name that its content gets, in the folder.
    pub rotated: String,
    /// With whose rights that is done.
    pub rights: Rights,
    /// Where it is.
    pub folder: Folder,
}

/// The hidden name beside a rotated file, under which its copy is made.
pub(crate) fn copy_name(rotated: &Path) -> Option<PathBuf> {
    let name = rotated.file_name()?.to_str()?;
    Some(rotated.with_file_name(format!(".{name}.ostler")))
}

/// What a path means without its symbolic links, also if the last one leads to nothing.
pub(crate) fn follow_links(path: &Path) -> PathBuf {
    /// As many as the kernel follows.
    const MAX_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(link) = std::fs::read_link(&path) else { break };
        path = path.parent().map_or_else(|| link.clone(), |folder| folder.join(&link));
    }
    path
}

/// What is at this path, and which file it is.
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
