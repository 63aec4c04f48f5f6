//! Folder of a log, held open. File operations through it stay in this folder, even if its path is
//! changed in the meantime.
//!
//! The folder may belong to the user of the app, and the daemon may be root. With paths alone, that
//! user could make root create files with his content, or truncate files, in any folder.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, open, statat};

use super::FileKey;
use crate::platform::rights::Rights;

/// Open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
    rights: Rights,
}

impl Folder {
    /// Opens the folder of this file, if the file has this identity. The files in it are accessed
    /// with these rights.
    ///
    /// # Errors
    ///
    /// Returns an error if the file is missing or has another identity.
    pub(crate) fn with(file: &Path, key: FileKey, rights: &Rights) -> io::Result<Self> {
        let parent = file.parent().ok_or(io::ErrorKind::NotFound)?;
        // The folder is only inspected. Nothing is done in it that its user may not do.
        let fd = open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let folder = Self { fd, path: parent.to_owned(), rights: rights.clone() };
        let name = file.file_name().ok_or(io::ErrorKind::NotFound)?;
        let stat = statat(&folder.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if (stat.st_dev, stat.st_ino) == key { Ok(folder) } else { Err(io::Error::other("it was replaced by another file")) }
    }

    /// Returns the path of an entry, valid while the folder is open.
    pub(crate) fn inside(&self, name: &str) -> String {
        format!("/proc/self/fd/{}/{name}", self.fd.as_raw_fd())
    }

    /// Returns a text for users, with the paths that they know.
    pub(crate) fn plain(&self, text: &str) -> String {
        text.replace(&format!("/proc/self/fd/{}", self.fd.as_raw_fd()), &self.path.to_string_lossy())
    }

    /// Returns the rights with which its files are accessed.
    pub(crate) fn rights(&self) -> &Rights {
        &self.rights
    }

    /// Returns the path at which the folder was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of all entries.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.inside("."))?;
        entries.map(|entry| Ok(entry?.file_name().into_string().ok())).filter_map(Result::transpose).collect()
    }

    /// Returns the free bytes of the folder's disk without root's reserve, and the size of the
    /// disk.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub(crate) fn room(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::fstatvfs(&self.fd)?;
        Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
    }

    /// Syncs the folder, so that created and removed names are on disk.
    pub(crate) fn sync(&self) {
        // Some file systems refuse; then nothing more can be done.
        let _ = self.fd.as_fd().try_clone_to_owned().map(File::from).and_then(|folder| folder.sync_all());
    }
}
