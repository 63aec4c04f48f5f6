//! Folder of the program: who may write to it, and the three names in it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use rustix::fs::{self, AtFlags, FlockOperation, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

/// Attribute that holds a program's capabilities. Source: capabilities(7).
const CAPABILITIES: &str = "security.capability";

/// Folder of the program, locked while this value lives.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
    /// Name of the program.
    name: OsString,
    /// Name of the file that will become the program.
    new: OsString,
    /// Second name of the previous program.
    previous: OsString,
    /// Current program, for its permissions and owner.
    program: File,
}

impl Folder {
    /// Opens and locks the folder of this program.
    ///
    /// # Errors
    /// Returns an error for the user if others may write there, if another update is running, or if
    /// the folder cannot be opened.
    pub(super) fn of(program: &Path) -> Result<Self, String> {
        let (Some(path), Some(name)) = (program.parent(), program.file_name()) else { return Err(message!("it has no path")) };
        let cannot = |what: &'static str, error: Errno| {
            message!("cannot {what} {path}: {error}", what = translated(what), path = path.display(), error = io::Error::from(error))
        };
        for above in path.ancestors() {
            is_safe(above)?;
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::open(path, flags, Mode::empty())
            .map_err(|error| message!("cannot open {path}: {error}", path = path.display(), error = io::Error::from(error)))?;
        match fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(message!("another update is running")),
            Err(error) => return Err(cannot(marked!("lock"), error)),
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let program = fs::openat(&fd, name, flags, Mode::empty()).map_err(|error| match error {
            Errno::LOOP => message!("it is a link; run the program that it points to"),
            error => message!("cannot open it: {error}", error = io::Error::from(error)),
        })?;
        let program = File::from(program);
        let is_file = program.metadata().is_ok_and(|meta| meta.is_file());
        if !is_file {
            return Err(message!("it is not a regular file"));
        }
        let sibling = |end: &str| {
            let mut sibling = OsString::from(".");
            sibling.push(name);
            sibling.push(end);
            sibling
        };
        Ok(Self { fd, path: path.to_owned(), name: name.to_owned(), new: sibling(".new"), previous: sibling(".former"), program })
    }

    /// Creates the file that will become the program. The lock excludes other updates, so a file
    /// with this name was left behind and is removed.
    pub(super) fn create(&self) -> io::Result<File> {
        self.remove(&self.new)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(fs::openat(&self.fd, &self.new, flags, Mode::RUSR | Mode::WUSR | Mode::XUSR)?))
    }

    /// Returns the path of that file.
    pub(super) fn path_of_new(&self) -> PathBuf {
        self.path.join(&self.new)
    }

    /// Gives the new file the owner, permissions and capabilities of the program, and flushes it to
    /// disk.
    pub(super) fn finish(&self, new: &File) -> io::Result<()> {
        let old = self.program.metadata()?;
        let ours = new.metadata()?;
        if (old.uid(), old.gid()) != (ours.uid(), ours.gid()) {
            std::os::unix::fs::fchown(new, Some(old.uid()), Some(old.gid()))?;
        }
        // The permissions are set after the owner, because a change of the owner clears some of
        // them.
        new.set_permissions(old.permissions())?;
        let mut value = [0; 64];
        if let Ok(length) = fs::fgetxattr(&self.program, CAPABILITIES, &mut value)
            && let Some(value) = value.get(..length)
        {
            fs::fsetxattr(new, CAPABILITIES, value, XattrFlags::empty())?;
        }
        new.sync_all()
    }

    /// Renames the new file to the program's name. The previous program keeps a second name.
    pub(super) fn exchange(&self) -> io::Result<()> {
        self.remove(&self.previous)?;
        fs::linkat(&self.fd, &self.name, &self.fd, &self.previous, AtFlags::empty())?;
        if let Err(error) = fs::renameat(&self.fd, &self.new, &self.fd, &self.name) {
            let _ = self.remove(&self.previous);
            return Err(error.into());
        }
        self.sync();
        Ok(())
    }

    /// Renames the previous program back.
    pub(super) fn restore(&self) -> io::Result<()> {
        fs::renameat(&self.fd, &self.previous, &self.fd, &self.name)?;
        self.sync();
        Ok(())
    }

    /// Removes the previous program.
    pub(super) fn remove_previous(&self) {
        let _ = self.remove(&self.previous);
    }

    /// Removes the new file.
    pub(super) fn remove_new(&self) {
        let _ = self.remove(&self.new);
    }

    fn remove(&self, name: &OsStr) -> io::Result<()> {
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Flushes the names to disk. If the file system cannot do that, the rename has still happened.
    fn sync(&self) {
        let _ = fs::fsync(self.fd.as_fd());
    }
}

/// Checks that only root, this user and the folder's owner can replace files in this folder. A file
/// that others can replace cannot be updated safely.
fn is_safe(folder: &Path) -> Result<(), String> {
    let meta =
        std::fs::symlink_metadata(folder).map_err(|error| message!("cannot inspect {path}: {error}", path = folder.display(), error))?;
    let us = rustix::process::geteuid().as_raw();
    // In a folder with the sticky bit, others can add names but cannot replace ours.
    if meta.mode() & 0o002 != 0 && meta.mode() & 0o1000 == 0 {
        return Err(message!("any user can write to {folder}", folder = folder.display()));
    }
    if us != meta.uid() && meta.uid() != 0 {
        return Err(message!("{folder} belongs to another user", folder = folder.display()));
    }
    Ok(())
}
