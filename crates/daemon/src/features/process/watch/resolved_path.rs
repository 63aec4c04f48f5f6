//! Way to a watched path: every folder and link on it. The path is thus found again when one of
//! them is replaced.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Most links in a path, the same as in the kernel.
const MAX_LINKS: u32 = 40;

/// Step of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathStep {
    /// Folder without links in its path.
    pub folder: PathBuf,
    /// Name in the folder that matters: a link, something missing, or a watched file. `None`: only
    /// the folder itself matters.
    pub name: Option<OsString>,
}

/// Target at the end of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathTarget {
    /// The path leads nowhere.
    Missing,
    /// A folder: its real path, device and inode.
    Folder(PathBuf, (u64, u64)),
    /// Any other file: its real folder and its name.
    File(PathBuf, OsString),
}

/// Way with its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResolvedPath {
    pub steps: Vec<PathStep>,
    pub end: PathTarget,
}

pub(super) fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// Follows an absolute path, link by link.
pub(super) fn find(path: &Path) -> ResolvedPath {
    let mut steps = Vec::new();
    let mut left: Vec<OsString> = names(path);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    let mut seen = fs::symlink_metadata(&at).ok();
    while let Some(name) = left.pop() {
        if name == OsStr::new("..") {
            at.pop();
            seen = fs::symlink_metadata(&at).ok();
            continue;
        }
        let next = at.join(&name);
        let Ok(meta) = fs::symlink_metadata(&next) else {
            steps.push(PathStep { folder: at, name: Some(name) });
            return ResolvedPath { steps, end: PathTarget::Missing };
        };
        if meta.is_symlink() {
            links += 1;
            steps.push(PathStep { folder: at.clone(), name: Some(name) });
            let Ok(target) = fs::read_link(&next) else { return ResolvedPath { steps, end: PathTarget::Missing } };
            if links > MAX_LINKS {
                return ResolvedPath { steps, end: PathTarget::Missing };
            }
            if target.is_absolute() {
                at = PathBuf::from("/");
                seen = fs::symlink_metadata(&at).ok();
            }
            left.extend(names(&target));
        } else if meta.is_dir() {
            at = next;
            steps.push(PathStep { folder: at.clone(), name: None });
            seen = Some(meta);
        } else {
            let end = if left.is_empty() { PathTarget::File(at.clone(), name.clone()) } else { PathTarget::Missing };
            steps.push(PathStep { folder: at, name: Some(name) });
            return ResolvedPath { steps, end };
        }
    }
    let end = seen.map_or(PathTarget::Missing, |meta| PathTarget::Folder(at, identity(&meta)));
    ResolvedPath { steps, end }
}

/// Returns the names of a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

/// Returns true for a network file system. The kernel does not report the changes of other machines
/// there, so it must be polled.
pub(super) fn is_remote(path: &Path) -> bool {
    /// NFS, SMB, SMB2, CIFS, AFS, Coda, NCP, 9P, CephFS, VirtualBox' shared folders.
    const REMOTE: [u64; 10] =
        [0x6969, 0x517b, 0xfe53_4d42, 0xff53_4d42, 0x5346_414f, 0x7375_7245, 0x564c, 0x0102_1997, 0x00c3_6400, 0x786f_4256];
    rustix::fs::statfs(path).is_ok_and(|found| REMOTE.contains(&kind(found.f_type)))
}

/// Returns true for a pseudo file system. Users edit no files there, and its tree may be endless.
pub(super) fn is_made_up(path: &Path) -> bool {
    /// proc, sysfs, cgroup, cgroup2, debugfs, tracefs, securityfs, devpts, bpf, configfs, mqueue.
    const MADE_UP: [u64; 11] = [
        0x9fa0,
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0x1cd1,
        0xcafe_4a11,
        0x6265_6570,
        0x1980_0202,
    ];
    rustix::fs::statfs(path).is_ok_and(|found| MADE_UP.contains(&kind(found.f_type)))
}

/// The type has another width and sign on each architecture; all of them fit into 32 bits.
fn kind(raw: impl TryInto<i64>) -> u64 {
    raw.try_into().map_or(0, |raw| raw.cast_unsigned() & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_and_missing_parts_are_watched_steps() {
        let base = std::env::temp_dir().canonicalize().unwrap().join(format!("ostler-way-{}", std::process::id()));
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(base.join("releases/1/src")).unwrap();
        fs::write(base.join("releases/1/a.js"), "").unwrap();
        symlink("releases/1", base.join("current")).unwrap();
        symlink("loop", base.join("loop")).unwrap();
        let named = |way: &ResolvedPath| -> Vec<(PathBuf, OsString)> {
            way.steps.iter().filter_map(|step| Some((step.folder.clone(), step.name.clone()?))).collect()
        };

        let way = find(&base.join("current/src"));
        assert!(matches!(&way.end, PathTarget::Folder(path, _) if *path == base.join("releases/1/src")), "{way:?}");
        assert_eq!(named(&way), [(base.clone(), "current".into())]);
        let way = find(&base.join("current/./a.js"));
        assert_eq!(way.end, PathTarget::File(base.join("releases/1"), "a.js".into()));
        assert_eq!(named(&way), [(base.clone(), "current".into()), (base.join("releases/1"), "a.js".into())]);
        let way = find(&base.join("releases/2/src"));
        assert_eq!((way.end.clone(), named(&way)), (PathTarget::Missing, vec![(base.join("releases"), "2".into())]));
        assert_eq!(find(&base.join("current/a.js/x")).end, PathTarget::Missing);
        assert_eq!(find(&base.join("loop")).end, PathTarget::Missing);
        assert!(matches!(find(Path::new("/")).end, PathTarget::Folder(..)));
        assert!(is_made_up(Path::new("/proc")) && !is_made_up(&base) && !is_remote(Path::new("/proc")));
        fs::remove_dir_all(&base).unwrap();
    }
}
