//! Folder that a daemon of root shares with processes of other users. They may enter it, but only
//! root changes it.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Path of the folder.
pub(crate) const SHARED_FOLDER: &str = "/run/ostler";

/// Returns the path of the folder, if it exists and is ours.
pub(crate) fn shared_folder() -> Option<&'static Path> {
    let folder = Path::new(SHARED_FOLDER);
    // The folder may exist already.
    let _ = std::fs::DirBuilder::new().mode(0o755).create(folder);
    let meta = std::fs::symlink_metadata(folder).ok()?;
    let is_ours = meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0;
    if !is_ours {
        return None;
    }
    // Our umask may have removed permissions of others.
    if meta.mode() & 0o055 != 0o055 {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).ok()?;
    }
    Some(folder)
}

/// Returns the path of a home's folder in it. Two homes of root have different folders.
pub(crate) fn path_of(home: &Path) -> PathBuf {
    Path::new(SHARED_FOLDER).join(format!("{:016x}", ostler_core::text::fnv::fnv_64(home.as_os_str().as_bytes())))
}

/// Returns the folder of a home in it, and creates it if it is missing. Others can pass through it
/// and read nothing. Returns `None` if it cannot be created, or is not ours.
pub(crate) fn folder_of(home: &Path) -> Option<PathBuf> {
    let folder = path_of(home);
    // No other user can create or change anything there.
    let _ = std::fs::DirBuilder::new().mode(0o711).create(&folder);
    let meta = std::fs::symlink_metadata(&folder).ok()?;
    let is_ours = meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0;
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o711)).ok().filter(|()| is_ours)?;
    Some(folder)
}
