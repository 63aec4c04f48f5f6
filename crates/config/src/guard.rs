//! Files that another user can change: they are checked after they are opened, and rejected unless
//! [`ostler_core::home::trust`] accepts them.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use ostler_core::home::trust::{Caller, Inode, Origin, PathStep, TrustVerdict, Writer, verdict, writer};
use ostler_core::message;

use crate::problem::{Problem, ProblemKind};

/// Largest number of links on a path, as in the kernel.
const MAX_LINKS: usize = 40;

/// Returns the calling process, with the user that called it by `sudo`.
pub(crate) fn caller(variable: impl Fn(&str) -> Option<u32>) -> Caller {
    Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        sudo: variable("SUDO_UID").zip(variable("SUDO_GID")),
        ..Caller::default()
    }
}

/// Opens a file that a command will use. Returns the file, and a warning if others can change it.
///
/// # Errors
/// Returns an error if the file cannot be opened or is not trusted.
pub(crate) fn open(path: &Path, caller: &Caller, origin: Origin) -> Result<(File, Option<String>), Problem> {
    let file = File::open(path).map_err(|error| cannot(&error))?;
    let warning = check(&file, path, caller, origin, None)?;
    Ok((file, warning))
}

/// Checks an open file. `app_user` is the user of the app that the file belongs to: it may change
/// the file.
///
/// # Errors
/// Returns an error if the file is not trusted.
pub(crate) fn check(file: &File, path: &Path, caller: &Caller, origin: Origin, app_user: Option<u32>) -> Result<Option<String>, Problem> {
    let meta = file.metadata().map_err(|error| cannot(&error))?;
    // A pipe or device has no content that others could have changed: `<(…)`, /dev/stdin.
    if !meta.is_file() {
        return Ok(None);
    }
    let walked = walk(path).map_err(|error| cannot(&error))?;
    if walked.is_descriptor {
        return Ok(None);
    }
    // If the path now leads to another file, another process has changed it.
    let is_same = walked.id == (meta.dev(), meta.ino());
    let by = if is_same { writer(caller, &walked.steps) } else { Writer::Everyone };
    if app_user.is_some_and(|user| by == Writer::User(user)) {
        return Ok(None);
    }
    match verdict(caller, meta.uid(), by, origin) {
        TrustVerdict::Accept => Ok(None),
        TrustVerdict::Warn => Ok(Some(message!("{writer} can change this file or a folder on its path", writer = name(by)))),
        TrustVerdict::Refuse => Err(refusal(by, origin)),
    }
}

fn refusal(by: Writer, origin: Origin) -> Problem {
    let writer = name(by);
    let message = match origin {
        Origin::Named => message!("the file is refused: {writer} can change it or a folder on its path", writer),
        Origin::CurrentFolder => {
            message!("the file is refused: {writer} can change it or a folder on its path, and no file was named", writer)
        }
        Origin::FolderAbove => {
            message!("the file is refused: {writer} can change it or a folder on its path, and it is in a folder above this one", writer)
        }
    };
    Problem::error(ProblemKind::Foreign, message)
}

fn name(writer: Writer) -> String {
    match writer {
        Writer::OwnerOnly => message!("no other user"),
        Writer::Group(gid) => message!("the group {gid}", gid),
        Writer::User(uid) => message!("the user {uid}", uid),
        Writer::Everyone => message!("every user"),
    }
}

/// Returns the problem for an unreadable file.
pub(crate) fn cannot(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound => Problem::error(ProblemKind::NotFound, message!("file not found")),
        _ => Problem::error(ProblemKind::Unreadable, message!("cannot read the file: {error}", error)),
    }
}

/// An absolute path, resolved through its links.
#[derive(Debug)]
pub struct ResolvedPath {
    /// All steps, including those to and from links.
    pub steps: Vec<PathStep>,
    /// The file at the end; none if a part of the path does not exist.
    pub end: Option<Inode>,
    /// Device and number of the end.
    id: (u64, u64),
    /// Whether it leads through `/proc`, to a descriptor that the caller has opened.
    is_descriptor: bool,
}

impl ResolvedPath {
    /// Returns every folder on the path, without the end.
    pub fn folders(&self) -> impl Iterator<Item = Inode> {
        self.steps.iter().map(|step| step.folder)
    }
}

/// Resolves an absolute path through its links, as far as it exists.
///
/// # Errors
/// Returns an error if a folder cannot be entered, or if there are too many links.
pub fn walk(path: &Path) -> io::Result<ResolvedPath> {
    let mut rest = parts(path);
    let mut at = PathBuf::from("/");
    let mut end = std::fs::symlink_metadata(&at)?;
    let (mut steps, mut links) = (Vec::new(), 0);
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            at.pop();
            end = std::fs::symlink_metadata(&at)?;
            continue;
        }
        let next = at.join(&part);
        let is_descriptor = next == Path::new("/proc");
        let entry = match std::fs::symlink_metadata(&next) {
            Ok(entry) if !is_descriptor => entry,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {
                // The folder that would contain it counts, too.
                let folder = inode(&end);
                steps.push(PathStep { folder, entry: Inode { is_link: false, ..folder } });
                return Ok(ResolvedPath { steps, end: None, id: (0, 0), is_descriptor });
            }
        };
        steps.push(PathStep { folder: inode(&end), entry: inode(&entry) });
        if !entry.is_symlink() {
            (at, end) = (next, entry);
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(rustix::io::Errno::LOOP.into());
        }
        let target = std::fs::read_link(&next)?;
        if target.is_absolute() {
            at = PathBuf::from("/");
            end = std::fs::symlink_metadata(&at)?;
        }
        let mut before = parts(&target);
        before.append(&mut rest);
        rest = before;
    }
    Ok(ResolvedPath { steps, end: Some(inode(&end)), id: (end.dev(), end.ino()), is_descriptor: false })
}

fn inode(meta: &Metadata) -> Inode {
    Inode { uid: meta.uid(), gid: meta.gid(), mode: meta.mode() & 0o7777, is_link: meta.is_symlink() }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn open_checks_permissions_of_links_and_parent_directories() {
        let dir = crate::check::tests::scratch("guard").canonicalize().unwrap();
        let own = caller(|_| None);
        let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        let (inner, file) = (dir.join("open/inner"), dir.join("open/inner/file"));
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(&file, "x").unwrap();
        for folder in [dir.join("open"), inner] {
            set(&folder, 0o755);
        }
        set(&file, 0o644);
        symlink("open/../open/inner/file", dir.join("link")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        let refuses = |path: &Path, origin| open(path, &own, origin).is_err();
        for path in [&file, &dir.join("link")] {
            assert!(!refuses(path, Origin::FolderAbove), "{path:?}");
        }
        assert_eq!(open(&dir.join("loop"), &own, Origin::Named).unwrap_err().kind, ProblemKind::Unreadable);
        assert_eq!(open(&dir.join("none"), &own, Origin::Named).unwrap_err().kind, ProblemKind::NotFound);
        for (folder, mode) in [("open", 0o777), ("open/inner", 0o777), ("open/inner/file", 0o666)] {
            let before = std::fs::metadata(dir.join(folder)).unwrap().mode();
            set(&dir.join(folder), mode);
            for path in [&file, &dir.join("link")] {
                assert_eq!(open(path, &own, Origin::FolderAbove).unwrap_err().kind, ProblemKind::Foreign, "{folder} {path:?}");
            }
            set(&dir.join(folder), before);
        }
        // A descriptor that the caller opened.
        let open_file = File::open(&file).unwrap();
        let by_number = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open_file));
        assert!(!refuses(Path::new(&by_number), Origin::Named));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
