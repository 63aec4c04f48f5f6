//! Second copy of the state, in a memory file system. Its folder lasts until the next boot, and
//! other users cannot change it.
//!
//! A disk can be full, read-only, broken or removed while apps run. If daemon, keeper and standby
//! are then killed together, the copy on disk is outdated. Root uses `/run/ostler/<hash of the
//! home's path>`. Other users use `/run/user/<uid>/ostler/<hash>`, or
//! `/dev/shm/ostler-<uid>/<hash>` if no login created the first. Without any of these folders, only
//! the copy on disk exists.
//!
//! The name of the file contains the identity of the home's folder: a home that was removed and
//! recreated has nothing to do with the former one.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ostler_core::text::fnv::fnv_64;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::platform::shared_folder::{SHARED_FOLDER, folder_of, shared_folder};

/// File with the path of the home, so that the folder of a removed home can be deleted.
const HOME_FILE: &str = "home";
/// Extension of the record of the log writers.
const LOG_NOTES: &str = "log-notes";

/// Returns the path of the copy of this home, and creates its folder if it is missing.
pub(crate) fn make(home: &Path) -> Option<PathBuf> {
    let own = own_base();
    let folder = match &own {
        None => shared_folder().and_then(|_| folder_of(home))?,
        Some(base) => private(base).and_then(|base| private(&base.join(hash(home))))?,
    };
    let named = folder.join(HOME_FILE);
    if fs::read(&named).ok().as_deref() != Some(home.as_os_str().as_bytes()) {
        fs::write(&named, home.as_os_str().as_bytes()).ok()?;
    }
    Some(folder.join(name(home)?))
}

/// Reads the copy of this home, if it exists.
pub(crate) fn read(home: &Path) -> Option<Vec<u8>> {
    let base = own_base().unwrap_or_else(|| PathBuf::from(SHARED_FOLDER));
    let folder = base.join(hash(home));
    let is_ours =
        |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid() && meta.mode() & 0o022 == 0);
    if !is_ours(&base) || !is_ours(&folder) {
        return None;
    }
    fs::read(folder.join(name(home)?)).ok()
}

/// Opens the record of the log writers; it is created if it is missing. Returns `None` if no folder
/// keeps it until the next boot.
pub(crate) fn open_log_notes(home: &Path) -> Option<fs::File> {
    let path = make(home)?.with_extension(LOG_NOTES);
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags).open(path).ok()
}

/// Removes the folder of a home whose daemon exited in order, unless the folder has files that are
/// still used.
pub(crate) fn remove_folder(home: &Path) {
    let base = own_base().unwrap_or_else(|| PathBuf::from(SHARED_FOLDER));
    let folder = base.join(hash(home));
    let _ = fs::remove_file(folder.join(HOME_FILE));
    let _ = name(home).map(|name| fs::remove_file(folder.join(name).with_extension(LOG_NOTES)));
    // Only empty folders are removed.
    let _ = fs::remove_dir(folder).and_then(|()| fs::remove_dir(base));
}

/// Removes folders of homes that no longer exist and in which no daemon runs.
pub(crate) fn remove_stale(is_in_use: impl Fn(&Path) -> bool) {
    let base = own_base().unwrap_or_else(|| PathBuf::from(SHARED_FOLDER));
    for folder in fs::read_dir(base).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let Ok(named) = fs::read(folder.join(HOME_FILE)) else {
            // A version that did not record the home created this folder. Only an empty one is
            // certainly unused.
            let _ = fs::remove_dir(folder);
            continue;
        };
        let home = PathBuf::from(std::ffi::OsString::from_vec(named));
        let is_gone = fs::symlink_metadata(&home).is_err_and(|error| error.kind() == ErrorKind::NotFound);
        if is_gone && folder.ends_with(hash(&home)) && !is_in_use(&home) {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Returns the folder above those of the homes, or `None` for root, who has [`SHARED_FOLDER`].
fn own_base() -> Option<PathBuf> {
    let uid = uid();
    let of_login = PathBuf::from(format!("/run/user/{uid}"));
    let is_own = fs::symlink_metadata(&of_login).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid && meta.mode() & 0o077 == 0);
    match uid {
        0 => None,
        _ if is_own => Some(of_login.join("ostler")),
        _ => Some(PathBuf::from(format!("/dev/shm/ostler-{uid}"))),
    }
}

/// Returns a folder that no other user can enter; it is created if it is missing. Returns `None` if
/// another user owns it.
fn private(folder: &Path) -> Option<PathBuf> {
    let _ = fs::DirBuilder::new().mode(0o700).create(folder);
    let meta = fs::symlink_metadata(folder).ok()?;
    (meta.is_dir() && meta.uid() == uid() && meta.mode() & 0o077 == 0).then(|| folder.to_owned())
}

fn hash(home: &Path) -> String {
    format!("{:016x}", fnv_64(home.as_os_str().as_bytes()))
}

/// Returns the name of the file: the identity of the folder, with its birth time if the file system
/// records it.
fn name(home: &Path) -> Option<String> {
    let stat = statx(CWD, home, AtFlags::empty(), StatxFlags::BASIC_STATS | StatxFlags::BTIME).ok()?;
    let birth = stat.stx_btime;
    let identity = format!("{}:{} {} {}.{}", stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino, birth.tv_sec, birth.tv_nsec);
    Some(format!("state-{:016x}", fnv_64(identity.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recreated_home_gets_another_name() {
        let home = std::env::temp_dir().join(format!("ostler-copy-{}", std::process::id()));
        fs::create_dir_all(&home).unwrap();
        let first = name(&home).unwrap();
        assert_eq!(name(&home).unwrap(), first);
        // The same inode number may be given again, but not with the same time.
        fs::remove_dir(&home).unwrap();
        fs::create_dir(&home).unwrap();
        let second = name(&home).unwrap();
        fs::remove_dir(&home).unwrap();
        assert_ne!(first, second);
        assert_eq!(name(&home), None);
    }
}
