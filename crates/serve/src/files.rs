//! Files below the root. The kernel opens them, so no path and no link leads out of the root.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, stat};
use rustix::io::Errno;

/// Served folder.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    follow_out: bool,
    /// Seconds after a change until a file counts as at rest.
    pub(crate) rests_after: i64,
    open: RefCell<Option<Rc<OpenRoot>>>,
}

#[derive(Debug)]
struct OpenRoot {
    fd: OwnedFd,
    key: (u64, u64),
}

/// File or folder that was opened below the root.
#[derive(Debug)]
pub(crate) struct OpenedFile {
    pub fd: OwnedFd,
    pub size: u64,
    /// Modification time in seconds and nanoseconds.
    pub modified: (i64, u32),
    pub is_folder: bool,
    /// True if the last change is so old that another change would get a different time.
    pub is_at_rest: bool,
    key: (u64, u64),
    changed: (i64, u32),
}

/// Values that distinguish any two states of a file, provided it is at rest in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileVersion {
    key: (u64, u64),
    size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

/// Seconds after which a further change gets a different time. Some file systems store times in
/// steps of two seconds.
const STEP: i64 = 2;

impl OpenedFile {
    pub(crate) fn state(&self) -> FileVersion {
        FileVersion { key: self.key, size: self.size, modified: self.modified, changed: self.changed }
    }
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

impl Root {
    /// Opens the folder at this path.
    ///
    /// # Errors
    /// Returns an error if the path is missing, is not a folder, or cannot be read.
    pub(crate) fn new(path: PathBuf, follow_out: bool) -> io::Result<Self> {
        let root = Self { path, follow_out, rests_after: STEP, open: RefCell::new(None) };
        root.current()?;
        Ok(root)
    }

    /// Returns the folder that is at the path now. A deploy may move a link, and a build may
    /// recreate the folder.
    fn current(&self) -> Result<Rc<OpenRoot>, Errno> {
        let found = stat(&self.path)?;
        let mut open = self.open.borrow_mut();
        if let Some(open) = open.as_ref().filter(|open| open.key == key(&found)) {
            return Ok(Rc::clone(open));
        }
        *open = None;
        let fd = openat(CWD, &self.path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let fresh = Rc::new(OpenRoot { key: key(&fstat(&fd)?), fd });
        *open = Some(Rc::clone(&fresh));
        Ok(fresh)
    }

    /// Opens a file or folder below the root by a path without `..`. An empty path is the root
    /// itself.
    ///
    /// # Errors
    /// Returns `NOENT` also if the path is neither a file nor a folder, or if a link leads out of
    /// the root.
    pub(crate) fn open(&self, path: &[u8]) -> Result<OpenedFile, Errno> {
        let root = self.current()?;
        let path = if path.is_empty() { b"." } else { path };
        let fd = if self.follow_out { openat(&root.fd, path, FLAGS, Mode::empty()) } else { beneath(root.fd.as_fd(), path) };
        let fd = fd.map_err(as_absent)?;
        // Taken before `fstat`, so every later change to the file has a later time.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0));
        let found = fstat(&fd)?;
        let is_folder = match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => false,
            FileType::Directory => true,
            // Reading a pipe or a device could block.
            _ => return Err(Errno::NOENT),
        };
        let modified = (found.st_mtime, u32::try_from(found.st_mtime_nsec).unwrap_or(0));
        let changed = (found.st_ctime, u32::try_from(found.st_ctime_nsec).unwrap_or(0));
        let size = u64::try_from(found.st_size).unwrap_or(0);
        let is_at_rest = found.st_ctime.saturating_add(self.rests_after) < now;
        Ok(OpenedFile { fd, size, modified, is_folder, is_at_rest, key: key(&found), changed })
    }
}

/// Returns the identity of an open file or folder.
fn key(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Maps errors that a client need not distinguish from a missing file to `NOENT`.
fn as_absent(error: Errno) -> Errno {
    match error {
        Errno::XDEV | Errno::LOOP | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::NXIO | Errno::NODEV => Errno::NOENT,
        other => other,
    }
}

/// Opens a path below a folder. Links are followed as long as they stay inside the folder.
fn beneath(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    // The kernel returns EAGAIN if something was renamed during the lookup.
    for _ in 0..16 {
        match openat2(root, path, FLAGS, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Kernels before Linux 5.6 return ENOSYS; old sandboxes return EPERM.
            Err(Errno::NOSYS | Errno::PERM) => return without_links(root, path),
            answer => return answer,
        }
    }
    Err(Errno::NOENT)
}

/// Opens a path below a folder one component at a time, without following links.
fn without_links(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let (folder, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    let mut at: Option<OwnedFd> = None;
    for part in folder.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at = Some(openat(at.as_ref().map_or(root, AsFd::as_fd), part, flags, Mode::empty())?);
    }
    openat(at.as_ref().map_or(root, AsFd::as_fd), name, FLAGS | OFlags::NOFOLLOW, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("ostler-serve-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(dir.join("root/in")).unwrap();
            fs::write(dir.join("secret"), "secret").unwrap();
            fs::write(dir.join("root/in/a"), "a").unwrap();
            symlink("../secret", dir.join("root/out")).unwrap();
            symlink(dir.join("secret"), dir.join("root/absolute")).unwrap();
            symlink("..", dir.join("root/up")).unwrap();
            symlink("in", dir.join("root/link")).unwrap();
            Self(dir)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn open_never_leaves_the_root() {
        let tree = Tree::new("beneath");
        let root = Root::new(tree.0.join("root"), false).unwrap();
        for path in ["out", "absolute", "up/secret", "in/../../secret", "/etc/passwd", "absent", "in/a/b"] {
            assert_eq!(root.open(path.as_bytes()).map(|found| found.size), Err(Errno::NOENT), "{path}");
        }
        for (path, is_folder) in [("", true), ("in", true), ("in/a", false), ("link/a", false)] {
            assert_eq!(root.open(path.as_bytes()).map(|found| found.is_folder), Ok(is_folder), "{path}");
        }
        let open = root.current().unwrap();
        for (path, is_there) in [("in/a", true), ("link/a", false), ("out", false), ("up/secret", false)] {
            assert_eq!(without_links(open.fd.as_fd(), path.as_bytes()).is_ok(), is_there, "{path}");
        }
        let free = Root::new(tree.0.join("root"), true).unwrap();
        assert!(["out", "absolute", "up/secret"].iter().all(|path| free.open(path.as_bytes()).is_ok()));
    }

    #[test]
    fn open_rejects_a_fifo_without_blocking() {
        let tree = Tree::new("pipe");
        rustix::fs::mknodat(CWD, tree.0.join("root/pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let root = Root::new(tree.0.join("root"), false).unwrap();
        assert_eq!(root.open(b"pipe").map(|found| found.size), Err(Errno::NOENT));
    }

    #[test]
    fn recreated_root_directory_is_served() {
        let tree = Tree::new("anew");
        let root = Root::new(tree.0.join("root"), false).unwrap();
        fs::rename(tree.0.join("root"), tree.0.join("old")).unwrap();
        assert_eq!(root.open(b"in/a").map(|found| found.size), Err(Errno::NOENT));
        fs::create_dir_all(tree.0.join("root/in")).unwrap();
        fs::write(tree.0.join("root/in/a"), "anew").unwrap();
        assert_eq!(root.open(b"in/a").map(|found| found.size), Ok(4));
    }
}
