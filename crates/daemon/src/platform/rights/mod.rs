//! Rights with which a file is accessed that a description names.
//!
//! # Theory of operation
//!
//! A root daemon that opens `/home/deploy/logs/out.log` for an app of `deploy` walks through folders that `deploy` may change: by a link, a
//! hard link or a fifo there that user would have root open, fill, empty or remove whatever it likes. So for an app that runs as another user
//! than we do a path is walked component by component ([`walk`]). As long as nobody but root and ourselves could have changed what the names
//! mean (`ostler_core::home::rights`), that is done with our own rights, root's own links included. From the first folder on that somebody else may
//! change, everything is done with the rights of the app's user: the kernel then allows what that user could do by itself, and nothing else.
//!
//! For an app without a user of its own nothing of this happens: its paths are opened as they are.

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
use walk::{Last, walk};

/// Rights: ours, or those of the user that an app runs as.
// PM2 differs: run by root it opens the files of all apps as root, through every link.
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

/// Most attempts: somebody who swaps what is there faster than it can be opened is not worth more.
const TRIES: usize = 8;

/// Id for a user that is not in the database any more.
const NOBODY: u32 = 65_534;

/// User and group as a description has them.
type Given = (Option<String>, Option<String>);

thread_local! {
    /// Results of former lookups: the database may be slow, and logs are checked often.
    static KNOWN: RefCell<BTreeMap<Given, Rights>> = const { RefCell::new(BTreeMap::new()) };
}

impl Rights {
    /// Rights of an app, as they were at its last start. Only on the thread of the loop.
    pub(crate) fn of(spec: &AppSpec) -> Self {
        if spec.uid.is_none() {
            return Self::default();
        }
        let key = (spec.uid.clone(), spec.gid.clone());
        KNOWN.with_borrow(|known| known.get(&key).cloned()).unwrap_or_else(|| Self::look_up(spec))
    }

    /// Rights of an app after a lookup in the user database.
    pub(crate) fn look_up(spec: &AppSpec) -> Self {
        if spec.uid.is_none() {
            return Self::default();
        }
        let rights = match ostler_sys::users::user::identity(spec.uid.as_deref(), spec.gid.as_deref()) {
            Ok(identity) => identity.map(|identity| identity.credentials),
            // It cannot be started. What is left of it is not touched with more rights than nobody has.
            Err(_) => return Self(Some(Arc::new(Credentials { uid: NOBODY, gid: NOBODY, groups: vec![NOBODY] }))),
        };
        let own = rustix::process::geteuid().as_raw();
        let rights = Self(rights.filter(|user| user.uid != own && user.uid != 0).map(Arc::new));
        KNOWN.with_borrow_mut(|known| known.insert((spec.uid.clone(), spec.gid.clone()), rights.clone()));
        rights
    }

    /// True if they are ours.
    pub(crate) fn are_ours(&self) -> bool {
        self.0.is_none()
    }

    /// Credentials of the other user.
    pub(crate) fn user(&self) -> Option<&Credentials> {
        self.0.as_deref()
    }

    /// Does something to files with these rights.
    ///
    /// # Errors
    /// Of the work, or we may not have these rights.
    pub(crate) fn act<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match &self.0 {
            None => work(),
            Some(user) => with_file_rights_of(user, work)?,
        }
    }

    /// Opens sockets with these rights, which then also belong to that user for the kernel.
    ///
    /// # Errors
    /// Of the work, or we may not become that user.
    pub(crate) fn open_socket<T: Send>(&self, work: impl FnOnce() -> Result<T, Errno> + Send) -> Result<T, Errno> {
        match &self.0 {
            None => work(),
            Some(user) => as_user(user, work)?,
        }
    }

    /// Folder in which a path ends and the name there, after all links; with the rights for its access. None if all rights are
    /// ours: then the path is as good.
    ///
    /// # Errors
    /// There is no such folder, or this user may not go there.
    pub(crate) fn entry(&self, path: &Path) -> io::Result<Option<FolderEntry>> {
        self.0.as_ref().map(|user| walk(user, path, Last::Follow, None)).transpose()
    }

    /// Folder and name as above, and missing folders are made with this mode. A link as the last name is not followed.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn entry_of_name(&self, path: &Path) -> io::Result<Option<FolderEntry>> {
        self.0.as_ref().map(|user| walk(user, path, Last::Keep, None)).transpose()
    }

    /// Path after all links, also if the last one leads to nothing, and the rights for its access.
    pub(crate) fn target(&self, path: &Path) -> (PathBuf, Self) {
        match self.entry(path) {
            Ok(Some(entry)) => (entry.path().to_owned(), entry.rights()),
            Ok(None) | Err(_) => (follow_links(path), self.clone()),
        }
    }

    /// Opens a file. Never waits for the other end of a fifo. Missing folders are made where a mode is given for them; none: the path is to be
    /// opened as it is, all rights are ours.
    ///
    /// # Errors
    /// The system's answer to this user.
    pub(crate) fn open(&self, path: &Path, flags: OFlags, mode: u32, folders: Option<u32>) -> io::Result<Option<(File, FolderEntry)>> {
        let Some(user) = &self.0 else { return Ok(None) };
        let folders = folders.map(Mode::from_raw_mode);
        for _ in 0..TRIES {
            let entry = walk(user, path, Last::Follow, folders)?;
            match entry.open(flags, Mode::from_raw_mode(mode)) {
                // Swapped since it was looked at.
                Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {}
                opened => return opened.map(|file| Some((file, entry))),
            }
        }
        Err(Errno::LOOP.into())
    }

    /// Opens an ordinary file for reading.
    ///
    /// # Errors
    /// The system's answer; `InvalidInput` for what is no ordinary file.
    pub(crate) fn read(&self, path: &Path) -> io::Result<File> {
        let file = match self.open(path, OFlags::RDONLY, 0, None)? {
            Some((file, _)) => file,
            None => OpenOptions::new().read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed()).open(path)?,
        };
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// Empties an ordinary file. False: it is none, or there is none.
    ///
    /// # Errors
    /// The system's answer.
    pub(crate) fn empty(&self, path: &Path) -> io::Result<bool> {
        let opened = match self.open(path, OFlags::WRONLY, 0, None) {
            Ok(Some((file, _))) => Ok(file),
            Ok(None) => OpenOptions::new().write(true).custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed()).open(path),
            Err(error) => Err(error),
        };
        let file = match opened {
            // Nothing there, or a fifo that nobody reads, or a folder or socket.
            Err(error) if is_no_file(&error) => return Ok(false),
            opened => opened?,
        };
        if !file.metadata()?.is_file() {
            return Ok(false);
        }
        file.set_len(0)?;
        Ok(true)
    }

    /// Rewrites a small file by one write: what is there is emptied before if it is longer, and only after it was found to be an ordinary file,
    /// or replaced where it belongs to somebody else and this user may do that.
    ///
    /// # Errors
    /// The system's answer.
    pub(crate) fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        use std::io::Write;
        let flags = OFlags::WRONLY | OFlags::CREATE;
        let opened = match self.open(path, flags, 0o600, Some(0o755)) {
            Ok(Some((file, _))) => Ok(file),
            Ok(None) => open_or_make(path),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                // Root's, from another manager's time, in a folder of that user.
                let entry = self.entry(path)?.filter(|entry| !entry.rights().are_ours()).ok_or(error)?;
                entry.remove()?;
                entry.open(flags | OFlags::EXCL, Mode::from_raw_mode(0o600))
            }
            Err(error) => Err(error),
        };
        let mut file = opened?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        // Only where something would be left of it: ext4 gives an emptied file its place on the disk as soon as it is closed, which takes longer
        // than all the rest, and then it costs ten times as much to remove it. A pid that is as long as the former one is simply written over it.
        if meta.len() > content.len() as u64 {
            file.set_len(0)?;
        }
        file.write_all(content)
    }

    /// Removes a name, whatever it is; nothing is followed.
    ///
    /// # Errors
    /// The system's answer.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        match self.entry_of_name(path)? {
            Some(entry) => entry.remove(),
            None => std::fs::remove_file(path),
        }
    }

    /// Makes a folder and those above it.
    ///
    /// # Errors
    /// The system's answer.
    pub(crate) fn make_folder(&self, folder: &Path, mode: u32) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        match &self.0 {
            Some(user) => walk(user, &folder.join("x"), Last::Keep, Some(Mode::from_raw_mode(mode))).map(drop),
            None => std::fs::DirBuilder::new().recursive(true).mode(mode).create(folder),
        }
    }
}

fn is_no_file(error: &io::Error) -> bool {
    let none = [Errno::NOENT, Errno::NXIO, Errno::ISDIR, Errno::NOTDIR, Errno::NODEV];
    error.raw_os_error().is_some_and(|errno| none.iter().any(|none| none.raw_os_error() == errno))
}

/// Opens or makes a file with our own rights.
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
    /// The system's answer.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.act(|folder, name| Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?))
    }
}

/// Path without its symbolic links, also if the last one leads to nothing.
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
