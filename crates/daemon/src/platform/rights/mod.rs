//! Rights with which the daemon accesses a file that a description names.
//!
//! # Theory of operation
//!
//! A root daemon that opens `/home/deploy/logs/out.log` for an app of `deploy` walks through
//! folders that `deploy` may change. With a symbolic link, a hard link or a FIFO, that user could
//! make root open, fill, truncate or remove any file. If an app runs as another user than the
//! daemon, its paths are therefore walked component by component ([`walk`]). The daemon's own
//! rights are used as long as only root and the daemon's user could have changed the names
//! (`ostler_core::home::rights`); root's own links are followed, too. From the first folder that
//! another user may change, everything is done with the rights of the app's user. The kernel then
//! allows only what that user could do directly.
//!
//! For an app without its own user none of this happens: its paths are opened directly.

mod walk;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ostler_core::app::AppSpec;
use ostler_sys::Credentials;
use ostler_sys::users::rights::{as_user, with_file_rights_of};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub(crate) use walk::FolderEntry;
use walk::{LinkTreatment, walk};

/// Rights: the daemon's own, or those of the user that an app runs as.
// PM2 differs: as root it opens the files of all apps as root, through every link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<Numbers>", into = "Option<Numbers>")]
pub(crate) struct Rights(Option<Arc<Credentials>>);

/// Our own rights.
#[cfg(test)]
pub(crate) static OURS: Rights = Rights(None);

/// Form in the journal: user, group, supplementary groups.
type Numbers = (u32, u32, Vec<u32>);

impl From<Option<Numbers>> for Rights {
    fn from(numbers: Option<Numbers>) -> Self {
        Self(numbers.map(|(uid, gid, groups)| Arc::new(Credentials { uid, gid, groups })))
    }
}

impl From<Rights> for Option<Numbers> {
    fn from(rights: Rights) -> Self {
        rights.0.map(|user| (user.uid, user.gid, user.groups.clone()))
    }
}

/// Most attempts to open a file that another process keeps replacing.
const TRIES: usize = 8;

/// Id for a user that is no longer in the user database.
const NOBODY: u32 = 65_534;

/// User and group in the form of a description.
type UserAndGroup = (Option<String>, Option<String>);

thread_local! {
    /// Results of former lookups: the user database may be slow, and logs are checked often.
    static KNOWN: RefCell<BTreeMap<UserAndGroup, Rights>> = const { RefCell::new(BTreeMap::new()) };
}

impl Rights {
    /// Returns the rights of an app as of its last start. Call it only on the loop's thread.
    pub(crate) fn of(spec: &AppSpec) -> Self {
        if spec.uid.is_none() {
            return Self::default();
        }
        let key = (spec.uid.clone(), spec.gid.clone());
        KNOWN.with_borrow(|known| known.get(&key).cloned()).unwrap_or_else(|| Self::look_up(spec))
    }

    /// Looks up the rights of an app in the user database.
    pub(crate) fn look_up(spec: &AppSpec) -> Self {
        if spec.uid.is_none() {
            return Self::default();
        }
        let rights = match ostler_sys::users::user::identity(spec.uid.as_deref(), spec.gid.as_deref()) {
            Ok(identity) => identity.map(|identity| identity.credentials),
            // The app cannot be started. Its remaining files are accessed with the rights of an
            // unknown user.
            Err(_) => return Self(Some(Arc::new(Credentials { uid: NOBODY, gid: NOBODY, groups: vec![NOBODY] }))),
        };
        let own = rustix::process::geteuid().as_raw();
        let rights = Self(rights.filter(|user| user.uid != own && user.uid != 0).map(Arc::new));
        KNOWN.with_borrow_mut(|known| known.insert((spec.uid.clone(), spec.gid.clone()), rights.clone()));
        rights
    }

    /// Returns true if these are the daemon's own rights.
    pub(crate) fn is_daemon_user(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the credentials of the other user.
    pub(crate) fn user(&self) -> Option<&Credentials> {
        self.0.as_deref()
    }

    /// Accesses files with these rights.
    ///
    /// # Errors
    ///
    /// Returns an error of the work, or if the daemon may not take these rights.
    pub(crate) fn act<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match &self.0 {
            None => work(),
            Some(user) => with_file_rights_of(user, work)?,
        }
    }

    /// Opens sockets with these rights. For the kernel they then belong to that user.
    ///
    /// # Errors
    ///
    /// Returns an error of the work, or if the daemon may not become that user.
    pub(crate) fn open_socket<T: Send>(&self, work: impl FnOnce() -> Result<T, Errno> + Send) -> Result<T, Errno> {
        match &self.0 {
            None => work(),
            Some(user) => as_user(user, work)?,
        }
    }

    /// Resolves all links of a path. Returns the folder and the name in it, with the rights for its
    /// access. Returns `None` if all rights are the daemon's own: then the path itself is enough.
    ///
    /// # Errors
    ///
    /// Returns an error if the folder is missing, or if this user may not enter it.
    pub(crate) fn entry(&self, path: &Path) -> io::Result<Option<FolderEntry>> {
        self.0.as_ref().map(|user| walk(user, path, LinkTreatment::Follow, None)).transpose()
    }

    /// Resolves a path like [`Rights::entry`], but does not follow a link as the last name.
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`Rights::entry`].
    pub(crate) fn entry_of_name(&self, path: &Path) -> io::Result<Option<FolderEntry>> {
        self.0.as_ref().map(|user| walk(user, path, LinkTreatment::Keep, None)).transpose()
    }

    /// Returns the path after all links, even if the last one is dangling, and the rights for its
    /// access.
    pub(crate) fn target(&self, path: &Path) -> (PathBuf, Self) {
        match self.entry(path) {
            Ok(Some(entry)) => (entry.path().to_owned(), entry.rights()),
            Ok(None) | Err(_) => (follow_links(path), self.clone()),
        }
    }

    /// Opens a file. It never waits for the other end of a FIFO. If `folders` has a mode, missing
    /// folders are created with it. Returns `None` if all rights are the daemon's own: then the
    /// path is opened directly.
    ///
    /// # Errors
    ///
    /// Returns the system's error for this user.
    pub(crate) fn open(&self, path: &Path, flags: OFlags, mode: u32, folders: Option<u32>) -> io::Result<Option<(File, FolderEntry)>> {
        let Some(user) = &self.0 else { return Ok(None) };
        let folders = folders.map(Mode::from_raw_mode);
        for _ in 0..TRIES {
            let entry = walk(user, path, LinkTreatment::Follow, folders)?;
            match entry.open(flags, Mode::from_raw_mode(mode)) {
                // The file was replaced since it was inspected.
                Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {}
                opened => return opened.map(|file| Some((file, entry))),
            }
        }
        Err(Errno::LOOP.into())
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    ///
    /// Returns the system's error, or `InvalidInput` if the path is not a regular file.
    pub(crate) fn read(&self, path: &Path) -> io::Result<File> {
        let file = match self.open(path, OFlags::RDONLY, 0, None)? {
            Some((file, _)) => file,
            None => OpenOptions::new().read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed()).open(path)?,
        };
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// Truncates a regular file. Returns false if the path is missing or not a regular file.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub(crate) fn empty(&self, path: &Path) -> io::Result<bool> {
        let opened = match self.open(path, OFlags::WRONLY, 0, None) {
            Ok(Some((file, _))) => Ok(file),
            Ok(None) => OpenOptions::new().write(true).custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed()).open(path),
            Err(error) => Err(error),
        };
        let file = match opened {
            // The path is missing, or it is a FIFO without a reader, a folder or a socket.
            Err(error) if is_no_file(&error) => return Ok(false),
            opened => opened?,
        };
        if !file.metadata()?.is_file() {
            return Ok(false);
        }
        file.set_len(0)?;
        Ok(true)
    }

    /// Rewrites a small regular file with one write. A longer file is truncated before. A file of
    /// another owner is replaced if this user may do that.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub(crate) fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        use std::io::Write;
        let flags = OFlags::WRONLY | OFlags::CREATE;
        let opened = match self.open(path, flags, 0o600, Some(0o755)) {
            Ok(Some((file, _))) => Ok(file),
            Ok(None) => open_or_make(path),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                // The file is root's, from a former manager, in a folder of that user.
                let entry = self.entry(path)?.filter(|entry| !entry.rights().is_daemon_user()).ok_or(error)?;
                entry.remove()?;
                entry.open(flags | OFlags::EXCL, Mode::from_raw_mode(0o600))
            }
            Err(error) => Err(error),
        };
        let mut file = opened?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        // Truncated only if a rest would remain. ext4 allocates a truncated file's blocks as soon
        // as it is closed. That takes longer than everything else here, and makes removing the file
        // ten times as expensive. A pid with the same length overwrites the former one.
        if meta.len() > content.len() as u64 {
            file.set_len(0)?;
        }
        file.write_all(content)
    }

    /// Removes a name of any type, without following links.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        match self.entry_of_name(path)? {
            Some(entry) => entry.remove(),
            None => std::fs::remove_file(path),
        }
    }

    /// Creates a folder and its parents.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub(crate) fn make_folder(&self, folder: &Path, mode: u32) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        match &self.0 {
            Some(user) => walk(user, &folder.join("x"), LinkTreatment::Keep, Some(Mode::from_raw_mode(mode))).map(drop),
            None => std::fs::DirBuilder::new().recursive(true).mode(mode).create(folder),
        }
    }
}

fn is_no_file(error: &io::Error) -> bool {
    let none = [Errno::NOENT, Errno::NXIO, Errno::ISDIR, Errno::NOTDIR, Errno::NODEV];
    error.raw_os_error().is_some_and(|errno| none.iter().any(|none| none.raw_os_error() == errno))
}

/// Opens or creates a file with the daemon's own rights.
fn open_or_make(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let open = || OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).custom_flags(flags).open(path);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            open()
        }
        opened => opened,
    }
}

impl FolderEntry {
    /// Removes the name.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.act(|folder, name| Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?))
    }
}

/// Returns a path without its symbolic links, even if the last one is dangling.
pub(crate) fn follow_links(path: &Path) -> PathBuf {
    /// Most links: as many as the kernel follows.
    const MAX_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(link) = std::fs::read_link(&path) else { break };
        path = path.parent().map_or_else(|| link.clone(), |folder| folder.join(&link));
    }
    path
}

#[cfg(test)]
mod tests;
