//! JSON files in the dashboard's folder. Each write is atomic, and simultaneous changes by several
//! processes do not overwrite each other.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ostler_core::message;
use ostler_core::text::causes::with_causes;
use ostler_core::text::language::translated;
use ostler_sys::fs::lock::lock_within;
use ostler_sys::fs::replace::{Durability, ReplaceError, Writers, replace};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Maximum wait for the lock of a file.
const LOCK_WITHIN: Duration = Duration::from_secs(2);
/// Maximum size of a file that users may edit.
const EDITED_MAX_BYTES: u64 = 1 << 20;

/// Failure to read or change a file; it is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not read.
    #[error("{}", message!("cannot read \"{path}\"", path = path.display()))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is invalid.
    #[error("{}", message!("\"{path}\" is invalid{advice}", path = path.display(), advice = translated(advice)))]
    Broken {
        /// The file.
        path: PathBuf,
        /// Next step of the user, after a semicolon.
        advice: &'static str,
        /// The position and kind of the error.
        source: serde_json::Error,
    },
    /// A later version of this program wrote it.
    #[error("{}", message!("\"{path}\" was written by a newer version ({version})", path = path.display(), version))]
    Later {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Not written.
    #[error(transparent)]
    Write(#[from] ReplaceError),
    /// The folder cannot be created.
    #[error("{}", message!("cannot create the folder \"{path}\"", path = path.display()))]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process holds the lock for too long.
    #[error("{}", message!("another process has locked \"{path}\"", path = _0.display()))]
    Locked(PathBuf),
}

/// Version of a file: inode, size and change time. Each write creates a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileVersion(u64, u64, i64, i64);

/// File of a home.
#[derive(Clone, Debug)]
pub(crate) struct JsonFile {
    home: PathBuf,
    path: PathBuf,
    max_bytes: u64,
    advice: &'static str,
    is_edited: bool,
}

impl JsonFile {
    /// Returns a file that users may edit. It is indented, and a write survives a power failure.
    /// The advice follows "is invalid".
    pub(crate) fn edited(home: &Path, name: &str, advice: &'static str) -> Self {
        Self { is_edited: true, advice, ..Self::internal(home, name, EDITED_MAX_BYTES) }
    }

    /// Returns a file that only this program reads.
    pub(crate) fn internal(home: &Path, name: &str, max_bytes: u64) -> Self {
        let path = crate::settings::names::folder(home).join(name);
        Self { home: home.to_owned(), path, max_bytes, advice: "", is_edited: false }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the version of the file; none if it is missing.
    ///
    /// # Errors
    /// Returns [`FileError::Read`] if the file cannot be examined.
    pub(crate) fn version(&self) -> Result<Option<FileVersion>, FileError> {
        match std::fs::metadata(&self.path) {
            Ok(meta) => Ok(Some(FileVersion(meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.not_read(source)),
        }
    }

    /// Returns the contents; none if the file is missing.
    ///
    /// # Errors
    /// Returns [`FileError::Read`] or [`FileError::Broken`] if the file cannot be used.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, FileError> {
        let mut bytes = Vec::new();
        match File::open(&self.path).and_then(|file| file.take(self.max_bytes).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.not_read(source)),
        }
        let broken = |source| FileError::Broken { path: self.path.clone(), advice: self.advice, source };
        serde_json::from_slice(&bytes).map(Some).map_err(broken)
    }

    /// Writes the contents. Only one process may write files that are not edited.
    ///
    /// # Errors
    /// Returns an error if the folder or the file cannot be written; the file is unchanged then.
    pub(crate) fn write<T: Serialize>(&self, contents: &T) -> Result<(), FileError> {
        self.write_as(contents, Writers::One)
    }

    /// Changes the contents under a lock. An equal result is not written.
    ///
    /// # Errors
    /// Returns the error of `change`, or a [`FileError`]; nothing has changed then.
    pub(crate) fn change<T, R, E>(&self, change: impl FnOnce(&mut T) -> Result<R, E>) -> Result<R, E>
    where
        T: Clone + Default + PartialEq + Serialize + DeserializeOwned,
        E: From<FileError>,
    {
        make_folder(&self.home)?;
        let file = self.path.with_extension("lock");
        let lock = lock_within(&file, LOCK_WITHIN).map_err(|errno| FileError::Read { path: file.clone(), source: errno.into() })?;
        let _lock = lock.ok_or(FileError::Locked(file))?;
        let mut contents: T = self.read()?.unwrap_or_default();
        let before = contents.clone();
        let done = change(&mut contents)?;
        if contents != before {
            self.write_as(&contents, Writers::Many)?;
        }
        Ok(done)
    }

    fn write_as<T: Serialize>(&self, contents: &T, writers: Writers) -> Result<(), FileError> {
        make_folder(&self.home)?;
        let (text, durability) = if self.is_edited {
            let mut text = serde_json::to_vec_pretty(contents).unwrap_or_default();
            text.push(b'\n');
            (text, Durability::Power)
        } else {
            (serde_json::to_vec(contents).unwrap_or_default(), Durability::Process)
        };
        let writers = if self.is_edited { Writers::Many } else { writers };
        Ok(replace(&self.path, &text, durability, writers)?)
    }

    /// Renames the file, which cannot be used. Returns a description for the log.
    pub(crate) fn set_aside(&self, problem: &FileError) -> String {
        let aside = self.path.with_extension("json.aside");
        let _ = std::fs::rename(&self.path, &aside);
        format!("{}; it was renamed to \"{}\"", with_causes(problem), aside.display())
    }

    fn not_read(&self, source: io::Error) -> FileError {
        FileError::Read { path: self.path.clone(), source }
    }
}

/// Creates the dashboard's folder, with access for its owner only.
///
/// # Errors
/// Returns [`FileError::Folder`] if the folder cannot be created.
pub fn make_folder(home: &Path) -> Result<(), FileError> {
    let path = crate::settings::names::folder(home);
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => Err(FileError::Folder { path, source }),
        _ => Ok(()),
    }
}
