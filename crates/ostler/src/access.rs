//! Access of a user to a file. The kernel decides if this process may ask as that user. Otherwise
//! the modes of the file and of all folders above it decide. No file is opened.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ostler_sys::Credentials;
use ostler_sys::users::rights::as_user;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

/// Reading a file or listing a folder.
pub(crate) const READ: u32 = 4;
/// Writing.
pub(crate) const WRITE: u32 = 2;
/// Executing a file or passing through a folder.
pub(crate) const EXECUTE: u32 = 1;

/// Reason why access is denied.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AccessDenied {
    /// The file does not exist.
    Missing,
    /// This file or folder is closed to the user.
    Closed(PathBuf),
}

/// Checks whether the user may do this with the file. Links are followed.
pub(crate) fn may(path: &Path, app_credentials: &Credentials, want: u32) -> Result<(), AccessDenied> {
    let by_modes = || by_modes(path, app_credentials, want);
    match by_kernel(path, app_credentials, want) {
        Some(true) => Ok(()),
        // The modes name the folder that is closed.
        Some(false) => by_modes().and(Err(AccessDenied::Closed(path.to_owned()))),
        None => by_modes(),
    }
}

/// Asks the kernel, which also knows access lists and mounts; returns none if that is not possible.
fn by_kernel(path: &Path, app_credentials: &Credentials, want: u32) -> Option<bool> {
    let wanted = Access::from_bits_truncate(want);
    let ask = || accessat(CWD, path, wanted, AtFlags::EACCESS);
    let own = rustix::process::geteuid();
    let answer = match own.as_raw() == app_credentials.uid {
        true => ask(),
        false if own.is_root() => as_user(app_credentials, ask).ok()?,
        false => return None,
    };
    match answer {
        Ok(()) => Some(true),
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Some(false),
        Err(_) => None,
    }
}

fn by_modes(path: &Path, app_credentials: &Credentials, want: u32) -> Result<(), AccessDenied> {
    let real = path.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => AccessDenied::Closed(path.to_owned()),
        _ => AccessDenied::Missing,
    })?;
    let folders: Vec<&Path> = real.ancestors().skip(1).collect();
    for folder in folders.into_iter().rev() {
        check(folder, app_credentials, EXECUTE)?;
    }
    check(&real, app_credentials, want)
}

fn check(path: &Path, app_credentials: &Credentials, want: u32) -> Result<(), AccessDenied> {
    let meta = std::fs::metadata(path).map_err(|_| AccessDenied::Closed(path.to_owned()))?;
    if allows(&meta, app_credentials, want) { Ok(()) } else { Err(AccessDenied::Closed(path.to_owned())) }
}

fn allows(meta: &Metadata, app_credentials: &Credentials, want: u32) -> bool {
    let mode = meta.mode();
    if app_credentials.uid == 0 {
        return want & EXECUTE == 0 || meta.is_dir() || mode & 0o111 != 0;
    }
    let bits = if meta.uid() == app_credentials.uid {
        mode >> 6
    } else if meta.gid() == app_credentials.gid || app_credentials.groups.contains(&meta.gid()) {
        mode >> 3
    } else {
        mode
    };
    bits & want == want
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn access_follows_owner_group_and_other_bits() {
        let place = std::env::temp_dir().join(format!("ostler-access-{}", std::process::id()));
        let file = place.join("in/file");
        fs::create_dir_all(place.join("in")).unwrap();
        fs::write(&file, "").unwrap();
        let meta = fs::metadata(&file).unwrap();
        let owner = Credentials { uid: meta.uid(), gid: meta.gid(), groups: Vec::new() };
        let other = Credentials { uid: 64_321, gid: 64_321, groups: Vec::new() };
        let member = Credentials { groups: vec![meta.gid()], ..other.clone() };
        for (folder, mode, app_credentials, want, allowed) in [
            (0o755, 0o644, &other, READ, true),
            (0o755, 0o640, &other, READ, false),
            (0o755, 0o640, &member, READ, true),
            (0o700, 0o644, &other, READ, false),
            (0o755, 0o644, &owner, EXECUTE, false),
            (0o755, 0o755, &owner, EXECUTE | READ, true),
            (0o755, 0o644, &other, WRITE, false),
        ] {
            fs::set_permissions(place.join("in"), Permissions::from_mode(folder)).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert_eq!(may(&file, app_credentials, want).is_ok(), allowed, "{folder:o} {mode:o} {app_credentials:?} {want}");
        }
        assert_eq!(may(&place.join("none"), &owner, READ), Err(AccessDenied::Missing));
        fs::remove_dir_all(place).unwrap();
    }
}
