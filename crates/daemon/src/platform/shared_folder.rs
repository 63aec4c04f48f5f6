//! Folder of what processes of other users share with a daemon of root's: they enter, and nobody but us changes anything.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Path of the folder.
pub(crate) const SHARED_FOLDER: &str = "/run/ostler";

/// Path of the folder, if it is there and ours.
pub(crate) fn shared_folder() -> Option<&'static Path> {
    let folder = Path::new(SHARED_FOLDER);
    // It may be there already.
    let _ = std::fs::DirBuilder::new().mode(0o755).create(folder);
    let meta = std::fs::symlink_metadata(folder).ok()?;
    let is_ours = meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0;
    if !is_ours {
        return None;
    }
    // Our umask takes from others what was asked for.
    if meta.mode() & 0o055 != 0o055 {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).ok()?;
    }
    Some(folder)
}

/// Path of the folder of a home in it. Two homes of root do not get into each other's way.
pub(crate) fn path_of(home: &Path) -> PathBuf {
    Path::new(SHARED_FOLDER).join(format!("{:016x}", ostler_core::text::fnv::fnv_64(home.as_os_str().as_bytes())))
}

/// The folder of a home in it, made if it is missing: others pass through and read nothing. None if it cannot be made, or is not ours.
pub(crate) fn folder_of(home: &Path) -> Option<PathBuf> {
    let folder = path_of(home);
    // Nobody else can make or change anything there.
    let _ = std::fs::DirBuilder::new().mode(0o711).create(&folder);
    let meta = std::fs::symlink_metadata(&folder).ok()?;
    let is_ours = meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0;
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o711)).ok().filter(|()| is_ours)?;
    Some(folder)
}
