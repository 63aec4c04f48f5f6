//! Folder of a log, held open: what is done to files in it stays in it, wherever its path leads meanwhile.
//!
//! The folder may belong to the user of the app, and we may be root: with paths alone that user could have files of his content made, or
//! files shortened, in any folder.

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
    /// Folder of this file, if that is the one with this identity. What is in it is accessed with these rights.
    ///
    /// # Errors
    /// Nothing of that name is there, or something else.
    pub(crate) fn with(file: &Path, key: FileKey, rights: &Rights) -> io::Result<Self> {
        let parent = file.parent().ok_or(io::ErrorKind::NotFound)?;
        // Only looked at: whatever it is, nothing is done in it that its user may not do.
        let fd = open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let folder = Self { fd, path: parent.to_owned(), rights: rights.clone() };
        let name = file.file_name().ok_or(io::ErrorKind::NotFound)?;
        let stat = statat(&folder.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if (stat.st_dev, stat.st_ino) == key { Ok(folder) } else { Err(io::Error::other("it is another file by now")) }
    }

    /// Path of something in it, valid as long as it is open.
    pub(crate) fn inside(&self, name: &str) -> String {
        format!("/proc/self/fd/{}/{name}", self.fd.as_raw_fd())
    }

    /// Text for people: with the paths that they know.
    pub(crate) fn plain(&self, text: &str) -> String {
        text.replace(&format!("/proc/self/fd/{}", self.fd.as_raw_fd()), &self.path.to_string_lossy())
    }

    /// Rights with which its files are accessed.
    pub(crate) fn rights(&self) -> &Rights {
        &self.rights
    }

    /// Path at which it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Names of everything in it.
    ///
    /// # Errors
    /// The system's answer.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.inside("."))?;
        entries.map(|entry| Ok(entry?.file_name().into_string().ok())).filter_map(Result::transpose).collect()
    }

    /// Free bytes of its disk, and all of them; for us, not for root only.
    ///
    /// # Errors
    /// The system's answer.
    pub(crate) fn room(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::fstatvfs(&self.fd)?;
        Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
    }

    /// Syncs the folder: names that were given and removed are on the disk.
    pub(crate) fn sync(&self) {
        // Some file systems refuse; then there is nothing more to do.
        let _ = self.fd.as_fd().try_clone_to_owned().map(File::from).and_then(|folder| folder.sync_all());
    }
}
