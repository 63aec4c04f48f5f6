//! Rights of another user, for one thread and one piece of work.
//!
//! On Linux, users, groups and capabilities belong to a thread; only libc keeps them equal in all
//! threads. This module uses the system calls directly, so the other threads of this process are
//! not affected. With another user, the kernel removes the capabilities over files. During the
//! work, the thread can open, create, rename or bind only what that user could, and new files
//! belong to that user.
//!
//! [`with_file_rights_of`] changes only the ids that count for files. If the effective user changed
//! as well, that user could change the thread's priority or pin it to a processor. Work that needs
//! this runs in a thread that ends with the work ([`as_user`]).

use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Gid, Uid, dumpable_behavior, getgroups, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::users::user::Credentials;

/// Runs `work` on files with the rights of that user. Aborts the process if our own rights cannot
/// be restored afterwards.
///
/// # Errors
/// Returns `EPERM` if we may not become that user, or would keep rights that the user does not
/// have. The work did not run then.
pub fn with_file_rights_of<T>(user: &Credentials, work: impl FnOnce() -> T) -> Result<T, Errno> {
    let acting = Acting::begin(user)?;
    let result = work();
    drop(acting);
    Ok(result)
}

/// Runs `work` as that user in a separate thread. Sockets then also belong to that user, and only
/// the ports that the user may bind are available.
///
/// # Errors
/// Returns `EPERM` if we may not become that user, and `EAGAIN` if no thread can be created. The
/// work did not run then.
pub fn as_user<T: Send>(user: &Credentials, work: impl FnOnce() -> T + Send) -> Result<T, Errno> {
    let _dumpable = Dumpable::begin();
    std::thread::scope(|scope| {
        let working = std::thread::Builder::new().name("as-user".into()).spawn_scoped(scope, || {
            set_thread_groups(&groups_of(user))?;
            // The real user stays ours, so that user can neither trace nor signal the thread.
            set_thread_res_gid(None, Gid::from_raw(user.gid), None)?;
            set_thread_res_uid(None, Uid::from_raw(user.uid), None)?;
            let mut left = capabilities(None)?;
            // A thread that leaves root has no capabilities. A daemon that has some without being
            // root would keep them, so drop them.
            if !left.effective.is_empty() {
                left.effective = CapabilitySet::empty();
                set_capabilities(None, left)?;
            }
            Ok(work())
        });
        let working = working.map_err(|_| Errno::AGAIN)?;
        working.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn groups_of(user: &Credentials) -> Vec<Gid> {
    user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect()
}

/// Capabilities over files beyond the rights of an owner.
const OVER_FILES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::LINUX_IMMUTABLE)
    .union(CapabilitySet::MAC_OVERRIDE)
    .union(CapabilitySet::MKNOD);

/// Former credentials of this thread, which are restored at the end.
struct Acting {
    uid: u32,
    gid: u32,
    groups: Vec<Gid>,
    capabilities: CapabilitySets,
    _dumpable: Dumpable,
}

impl Acting {
    fn begin(user: &Credentials) -> Result<Self, Errno> {
        let own = Self {
            uid: file_uid(NONE),
            gid: file_gid(NONE),
            groups: getgroups()?,
            capabilities: capabilities(None)?,
            _dumpable: Dumpable::begin(),
        };
        // From here on, `own` undoes any partial change.
        set_thread_groups(&groups_of(user))?;
        file_gid(user.gid);
        file_uid(user.uid);
        if (file_uid(NONE), file_gid(NONE)) != (user.uid, user.gid) {
            return Err(Errno::PERM);
        }
        let mut left = capabilities(None)?;
        // A thread that leaves root has none of these capabilities. A daemon that has some without
        // being root would keep them, so drop them.
        if left.effective.intersects(OVER_FILES) {
            left.effective = left.effective.difference(OVER_FILES);
            set_capabilities(None, left)?;
        }
        Ok(own)
    }

    fn end(&self) -> Result<(), Errno> {
        file_uid(self.uid);
        file_gid(self.gid);
        if capabilities(None)? != self.capabilities {
            set_capabilities(None, self.capabilities)?;
        }
        if getgroups()? != self.groups {
            set_thread_groups(&self.groups)?;
        }
        if (file_uid(NONE), file_gid(NONE)) == (self.uid, self.gid) { Ok(()) } else { Err(Errno::PERM) }
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        if self.end().is_err() {
            // A supervisor with the wrong rights would endanger every app. A new one replaces it
            // after the abort.
            std::process::abort();
        }
    }
}

/// Invalid id; setting it changes nothing.
const NONE: u32 = u32::MAX;

/// Sets the thread's user for files. Returns the former user, even if the change failed.
fn file_uid(uid: u32) -> u32 {
    // SAFETY: a plain number; the call changes this thread's credentials only.
    unsafe { libc::syscall(libc::SYS_setfsuid, uid) as u32 }
}

/// Sets the thread's group for files. Returns the former group, even if the change failed.
fn file_gid(gid: u32) -> u32 {
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_setfsgid, gid) as u32 }
}

/// Restores the process's dumpable flag. The kernel clears the flag when a thread changes its user,
/// and `/proc/<us>` becomes unreadable for our own other processes. The last such thread restores
/// it.
struct Dumpable;

/// Number of threads that currently act as other users, and the flag before the first of them.
static ACTING: Mutex<(usize, Option<DumpableBehavior>)> = Mutex::new((0, None));

impl Dumpable {
    fn begin() -> Self {
        let mut acting = ACTING.lock().unwrap_or_else(PoisonError::into_inner);
        if acting.0 == 0 {
            acting.1 = dumpable_behavior().ok();
        }
        acting.0 += 1;
        Self
    }
}

impl Drop for Dumpable {
    fn drop(&mut self) {
        let mut acting = ACTING.lock().unwrap_or_else(PoisonError::into_inner);
        acting.0 -= 1;
        if acting.0 == 0 && acting.1 == Some(DumpableBehavior::Dumpable) {
            // If this fails, our own files in `/proc` belong to root, which is harmless.
            let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn stranger() -> Credentials {
        Credentials { uid: 54_321, gid: 54_322, groups: vec![54_323] }
    }

    /// Returns everything that the functions change.
    fn ids() -> (u32, u32, Vec<Gid>, CapabilitySets) {
        (file_uid(NONE), file_gid(NONE), getgroups().unwrap(), capabilities(None).unwrap())
    }

    #[test]
    fn file_rights_of_a_user_are_applied_and_restored() {
        if !rustix::process::geteuid().is_root() {
            assert_eq!(with_file_rights_of(&stranger(), || ()), Err(Errno::PERM));
            assert_eq!(as_user(&stranger(), || ()), Err(Errno::PERM));
            return;
        }
        let folder = std::env::temp_dir().join(format!("ostler-rights-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        let secret = folder.join("secret");
        std::fs::write(&secret, "x").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let before = ids();
        let work = |name: &str| (std::fs::read(&secret), std::fs::write(folder.join(name), ""));
        for (name, (read, made)) in
            [("a", with_file_rights_of(&stranger(), || work("a")).unwrap()), ("b", as_user(&stranger(), || work("b")).unwrap())]
        {
            assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
            made.unwrap();
            let made = std::fs::metadata(folder.join(name)).unwrap();
            assert_eq!((made.uid(), made.gid()), (54_321, 54_322));
            assert_eq!(ids(), before);
        }
        // It also works if the work panics.
        let panicked = std::panic::catch_unwind(|| with_file_rights_of(&stranger(), || panic!("in the midst of it")));
        assert!(panicked.is_err());
        assert_eq!(ids(), before);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn rights_of_other_threads_are_unchanged() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (ask, asked) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            asked.recv().unwrap();
            tell.send((file_uid(NONE), capabilities(None).unwrap().effective)).unwrap();
        });
        let effective = capabilities(None).unwrap().effective;
        let seen = with_file_rights_of(&stranger(), || {
            ask.send(()).unwrap();
            (told.recv().unwrap(), file_uid(NONE), capabilities(None).unwrap().effective.intersects(OVER_FILES))
        })
        .unwrap();
        other.join().unwrap();
        assert_eq!(seen, ((0, effective), 54_321, false));
    }

    #[test]
    fn privileged_port_is_denied_to_the_user() {
        let first: u16 = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap().trim().parse().unwrap();
        if !rustix::process::geteuid().is_root() || first < 100 {
            return;
        }
        let bound = as_user(&stranger(), || std::net::TcpListener::bind(("127.0.0.1", 99))).unwrap();
        assert_eq!(bound.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    }
}
