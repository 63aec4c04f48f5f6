//! Access of another user to a file, as the kernel decides it: it applies modes, groups, access
//! lists and mounts.

use std::io;
use std::path::Path;
use std::thread;

use crate::users::user::Credentials;

/// Returns true if this user can open the file for reading, including access to every folder above
/// it. We have to be root, or be that user.
///
/// # Errors
/// Returns an error if the test itself failed: no thread, or no right to become that user.
pub fn can_read(path: &Path, user: &Credentials) -> io::Result<bool> {
    // Use a separate thread: its changed rights end with it, even on an error.
    thread::scope(|scope| {
        let spawned = thread::Builder::new().spawn_scoped(scope, || {
            act_as(user)?;
            match std::fs::File::open(path) {
                Ok(_) => Ok(true),
                Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound) => Ok(false),
                Err(error) => Err(error),
            }
        })?;
        spawned.join().unwrap_or_else(|_| Err(io::Error::other("the thread ended")))
    })
}

/// Makes this thread open files as that user from now on. It avoids glibc's functions, which would
/// change all threads.
fn act_as(user: &Credentials) -> io::Result<()> {
    // SAFETY: the kernel follows no argument. Setting an invalid id changes nothing and returns the
    // current id.
    let fs_uid = || unsafe { libc::syscall(libc::SYS_setfsuid, -1) };
    if fs_uid() == libc::c_long::from(user.uid) {
        return Ok(());
    }
    // SAFETY: the list has the given length.
    let grouped = unsafe { libc::syscall(libc::SYS_setgroups, user.groups.len(), user.groups.as_ptr()) };
    if grouped < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: numbers only.
    unsafe { libc::syscall(libc::SYS_setfsgid, user.gid) };
    // SAFETY: numbers only. A thread that is no longer root also loses the rights over files.
    unsafe { libc::syscall(libc::SYS_setfsuid, user.uid) };
    if fs_uid() == libc::c_long::from(user.uid) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn access_depends_on_every_parent_folder() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = std::env::temp_dir().join(format!("ostler-access-{}", std::process::id()));
        let file = folder.join("a/file");
        std::fs::create_dir_all(folder.join("a")).unwrap();
        std::fs::write(&file, "x").unwrap();
        let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        let stranger = Credentials { uid: 54_321, gid: 54_322, groups: vec![54_323] };
        let root = Credentials { uid: 0, gid: 0, groups: vec![0] };
        // Columns: mode of the folder, mode of the file, group of the file, expected result.
        for (folder_mode, mode, group, expected) in [
            (0o755, 0o644, 0, true),
            (0o700, 0o644, 0, false),
            (0o711, 0o644, 0, true),
            (0o755, 0o600, 0, false),
            (0o755, 0o640, 54_322, true),
            (0o755, 0o640, 54_323, true),
            (0o755, 0o640, 54_324, false),
        ] {
            std::os::unix::fs::chown(&file, None, Some(group)).unwrap();
            set(&folder, folder_mode);
            set(&file, mode);
            assert_eq!(can_read(&file, &stranger).unwrap(), expected, "{folder_mode:o} {mode:o} {group}");
            assert!(can_read(&file, &root).unwrap() && std::fs::read(&file).is_ok(), "our own rights are as before");
        }
        assert!(!can_read(&folder.join("absent"), &stranger).unwrap());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
