//! Walk of a path, component by component.
//!
//! Each folder is held open while the next name is resolved in it, so changes of its own path do
//! not matter. Links are read as text and walked in the same way. The links of `/proc/self/fd`,
//! which lead to the daemon's open files, are therefore never followed.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use ostler_core::home::rights::{Changed, Folder, changed};
use ostler_sys::Credentials;
use ostler_sys::users::rights::with_file_rights_of;
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, readlinkat};
use rustix::io::Errno;

use super::Rights;

/// Most links: as many as the kernel follows.
const MAX_LINKS: usize = 40;

/// Treatment of a link that is the last name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkTreatment {
    /// The link is followed, even if it is dangling.
    Follow,
    /// The link itself is the result.
    Keep,
}

/// Name in a folder that is held open, and the rights for its access.
#[derive(Debug)]
pub(crate) struct FolderEntry {
    folder: OwnedFd,
    path: PathBuf,
    name: OsString,
    rights: Rights,
}

impl FolderEntry {
    /// Returns the path without links, as of the walk.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the rights for its access.
    pub(crate) fn rights(&self) -> Rights {
        self.rights.clone()
    }

    /// Returns a path of the name that does not leave the folder, for calls that accept only paths.
    pub(crate) fn through(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.folder.as_raw_fd().to_string()).join(&self.name)
    }

    /// Does work on the name with these rights.
    ///
    /// # Errors
    ///
    /// Returns the error of the work.
    pub(crate) fn act<T>(&self, work: impl FnOnce(BorrowedFd<'_>, &OsStr) -> io::Result<T>) -> io::Result<T> {
        self.rights.act(|| work(self.folder.as_fd(), &self.name))
    }

    /// Opens the name unless it is a link. The file does not block, and is closed on `exec`.
    ///
    /// # Errors
    ///
    /// Returns `ELOOP` if the name is a link by now.
    pub(crate) fn open(&self, flags: OFlags, mode: Mode) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        self.act(|folder, name| Ok(openat(folder, name, flags, mode)?.into()))
    }
}

/// Walks a path for an app of this user. If `make` has a mode, missing folders are created with it.
pub(super) fn walk(user: &Arc<Credentials>, path: &Path, last: LinkTreatment, make: Option<Mode>) -> io::Result<FolderEntry> {
    let path = std::path::absolute(path)?;
    let own = rustix::process::geteuid().as_raw();
    let mut walk = Walk {
        user,
        own,
        last,
        make,
        folder: root()?,
        path: "/".into(),
        changed: Changed::ByUs,
        rest: parts(&path),
        links: 0,
        acts: false,
    };
    walk.enter()?;
    let mut name = walk.go()?;
    if name.is_none() {
        walk.acts = true;
        name = with_file_rights_of(user, || walk.go())??;
    }
    let name = name.ok_or(Errno::ISDIR)?;
    let rights = if walk.changed == Changed::ByUs { Rights::default() } else { Rights(Some(Arc::clone(user))) };
    Ok(FolderEntry { path: walk.path.join(&name), folder: walk.folder, name, rights })
}

struct Walk<'a> {
    user: &'a Credentials,
    own: u32,
    last: LinkTreatment,
    make: Option<Mode>,
    /// Folder that the walk is in.
    folder: OwnedFd,
    path: PathBuf,
    /// Users that could have changed the names so far, and those in this folder.
    changed: Changed,
    rest: VecDeque<OsString>,
    links: usize,
    /// Whether the walk continues with the user's rights.
    acts: bool,
}

impl Walk<'_> {
    /// Continues to the last name. Returns `None` if the rest must be walked with the user's
    /// rights.
    fn go(&mut self) -> io::Result<Option<OsString>> {
        while self.acts || self.changed != Changed::ByOthers {
            let name = self.rest.pop_front().ok_or(Errno::ISDIR)?;
            let is_last = self.rest.is_empty();
            if name == ".." {
                self.folder = open_folder(&self.folder, &name)?;
                self.path.pop();
                self.enter()?;
                continue;
            }
            let (found, stat) = match self.open_name(&name, is_last)? {
                Some(found) => found,
                None => return Ok(Some(name)),
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink if !is_last || self.last == LinkTreatment::Follow => self.follow(&found)?,
                _ if is_last => return Ok(Some(name)),
                FileType::Directory => {
                    self.folder = found;
                    self.path.push(name);
                    self.judge(&stat);
                }
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
        Ok(None)
    }

    /// Opens the name and returns its metadata, or `None` if it is the last one and missing.
    fn open_name(&self, name: &OsStr, is_last: bool) -> io::Result<Option<(OwnedFd, Stat)>> {
        let open = || openat(&self.folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        let found = match (open(), self.make) {
            (Err(Errno::NOENT), _) if is_last => return Ok(None),
            (Err(Errno::NOENT), Some(mode)) => {
                match mkdirat(&self.folder, name, mode) {
                    // Another process has created the folder in the meantime.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                open()?
            }
            (found, _) => found?,
        };
        let stat = fstat(&found)?;
        Ok(Some((found, stat)))
    }

    fn follow(&mut self, link: &OwnedFd) -> io::Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        // It is unknown which user created the link.
        if self.changed == Changed::BySticky {
            self.changed = Changed::ByOthers;
        }
        let target = PathBuf::from(OsString::from_vec(readlinkat(link, "", Vec::new())?.into_bytes()));
        let mut rest = parts(&target);
        if rest.is_empty() && !target.has_root() {
            return Err(Errno::NOENT.into());
        }
        rest.append(&mut self.rest);
        self.rest = rest;
        if target.has_root() {
            self.folder = root()?;
            self.path = "/".into();
            self.enter()?;
        }
        Ok(())
    }

    fn enter(&mut self) -> io::Result<()> {
        let stat = fstat(&self.folder)?;
        self.judge(&stat);
        Ok(())
    }

    /// Determines which users may change the current folder. Once others could change a name, that
    /// holds for the rest of the walk.
    fn judge(&mut self, stat: &Stat) {
        if self.changed == Changed::ByOthers {
            return;
        }
        let mut folder = Folder { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode, has_acl: false };
        if folder.mode & 0o020 != 0 {
            folder.has_acl = has_acl(&self.folder);
        }
        self.changed = changed(folder, self.own, &self.user.groups);
    }
}

fn root() -> io::Result<OwnedFd> {
    Ok(open_folder(CWD, OsStr::new("/"))?)
}

fn open_folder(folder: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(folder, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Returns true if the folder has an ACL, or if that is unknown.
fn has_acl(folder: &OwnedFd) -> bool {
    let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
    !matches!(rustix::fs::getxattr_query(path, "system.posix_acl_access"), Err(Errno::NODATA | Errno::OPNOTSUPP))
}

/// Splits a path into its names. A path that ends with a slash names a folder.
fn parts(path: &Path) -> VecDeque<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}
