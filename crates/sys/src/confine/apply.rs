//! Steps of a new process that confine it. They run between fork and exec, on the memory of the
//! parent: no step allocates, locks or panics.

use std::ffi::CStr;
use std::os::fd::RawFd;
use std::ptr;

use super::Confinement;
use super::denial::DenialFilter;
use super::landlock;
use crate::process::step::SpawnStep;

/// Everything that a new process needs to confine itself.
pub(crate) struct ConfinementPlan<'a> {
    pub confinement: &'a Confinement,
    /// Number of the ruleset's descriptor in the child.
    pub ruleset: Option<RawFd>,
    pub filter: Option<DenialFilter>,
}

/// `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

impl ConfinementPlan<'_> {
    /// Creates separate mounts and drops capabilities that the user could get back. Needs the rights of
    /// the parent, so it comes before the change of user. `changes_user`: that follows.
    ///
    /// # Safety
    ///
    /// Only for the child of a start, between clone and exec.
    pub(crate) unsafe fn before_user(&self, changes_user: bool) -> Result<(), SpawnStep> {
        let Confinement { capabilities, private_tmp, private_proc, .. } = self.confinement;
        // SAFETY: constant paths and plain numbers.
        unsafe {
            if (*private_tmp || *private_proc) && !self.mount() {
                return Err(SpawnStep::Mount);
            }
            if let Some(keep) = *capabilities {
                drop_from_bounding(keep);
                if changes_user && keep != 0 && libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 {
                    return Err(SpawnStep::Capabilities);
                }
            }
        }
        Ok(())
    }

    /// Restricts this process for the rest of its life. This is the last step, because it also
    /// restricts the steps themselves.
    ///
    /// # Safety
    ///
    /// Only for the child of a start, between clone and exec.
    pub(crate) unsafe fn after_user(&self) -> Result<(), SpawnStep> {
        // SAFETY: plain numbers, and pointers to objects of this frame or of the plan.
        unsafe {
            if let Some(keep) = self.confinement.capabilities
                && !keep_capabilities(keep)
            {
                return Err(SpawnStep::Capabilities);
            }
            if self.confinement.no_new_privs && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 {
                return Err(SpawnStep::NoNewPrivs);
            }
            if self.ruleset.is_some_and(|ruleset| !landlock::restrict_self(ruleset)) {
                return Err(SpawnStep::Landlock);
            }
            if self.filter.as_ref().is_some_and(|filter| !filter.install()) {
                return Err(SpawnStep::Filter);
            }
        }
        Ok(())
    }

    /// Creates a mount namespace with an own `/tmp`, `/var/tmp` and `/proc`, and allows them in the
    /// ruleset: its rules of the same paths are about the folders below.
    ///
    /// # Safety
    ///
    /// Only for the child of a start, between clone and exec.
    unsafe fn mount(&self) -> bool {
        const TMPFS: &CStr = c"tmpfs";
        const PROC: &CStr = c"proc";
        let Confinement { private_tmp, private_proc, tmp_access, proc_access, .. } = *self.confinement;
        // SAFETY: constant texts.
        unsafe {
            if libc::unshare(libc::CLONE_NEWNS) < 0 {
                return false;
            }
            // Mounts of the machine still arrive here, but ours do not leave.
            if libc::mount(TMPFS.as_ptr(), c"/".as_ptr(), ptr::null(), libc::MS_REC | libc::MS_SLAVE, ptr::null()) < 0 {
                return false;
            }
            let flags = libc::MS_NOSUID | libc::MS_NODEV;
            for folder in [c"/tmp", c"/var/tmp"].into_iter().filter(|_| private_tmp) {
                let mounted = libc::mount(TMPFS.as_ptr(), folder.as_ptr(), TMPFS.as_ptr(), flags, c"mode=1777".as_ptr().cast());
                // A machine without the folder needs none.
                if mounted < 0 && *libc::__errno_location() != libc::ENOENT {
                    return false;
                }
                if mounted >= 0 && !self.allow(folder, tmp_access) {
                    return false;
                }
            }
            if private_proc {
                let flags = flags | libc::MS_NOEXEC;
                // 4 = only processes that this one may trace, which are those of its own sandbox. Before
                // Linux 5.8 there is only 2, which hides nothing from the group of root. Some containers
                // refuse both. Landlock then protects what matters: environment, memory and descriptors of
                // other processes. Their command lines are visible.
                let mounted = [c"hidepid=4", c"hidepid=2"]
                    .into_iter()
                    .any(|hidden| libc::mount(PROC.as_ptr(), c"/proc".as_ptr(), PROC.as_ptr(), flags, hidden.as_ptr().cast()) >= 0);
                if mounted && !self.allow(c"/proc", proc_access) {
                    return false;
                }
            }
        }
        true
    }

    /// # Safety
    ///
    /// Only for the child of a start, between clone and exec.
    unsafe fn allow(&self, folder: &CStr, access: u64) -> bool {
        let Some(ruleset) = self.ruleset.filter(|_| access != 0) else { return true };
        // SAFETY: a constant path and a descriptor of ours.
        unsafe {
            let fd = libc::open(folder.as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
            fd >= 0 && landlock::add_path(ruleset, fd, access) && libc::close(fd) >= 0
        }
    }
}

/// Drops capabilities that no later program gets back. Without rights to do so, the process has none
/// anyway, and `no_new_privs` keeps it so.
///
/// # Safety
///
/// Only for the child of a start, between clone and exec.
unsafe fn drop_from_bounding(keep: u64) {
    for number in (0..64).filter(|number| keep >> number & 1 == 0) {
        // SAFETY: plain numbers. The kernel refuses numbers above its last capability.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number as libc::c_ulong, 0, 0, 0) };
    }
}

/// Keeps these capabilities, as far as the process has them, and passes them to its programs.
///
/// # Safety
///
/// Only for the child of a start, between clone and exec.
unsafe fn keep_capabilities(keep: u64) -> bool {
    let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let mut now = [CapabilityData::default(); 2];
    // SAFETY: pointers to live objects of the sizes of version 3.
    unsafe {
        if libc::syscall(libc::SYS_capget, &raw const header, now.as_mut_ptr()) < 0 {
            return false;
        }
        let parts = [keep as u32, (keep >> 32) as u32];
        for (data, keep) in now.iter_mut().zip(parts) {
            let kept = data.permitted & keep;
            *data = CapabilityData { effective: kept, permitted: kept, inheritable: kept };
        }
        if libc::syscall(libc::SYS_capset, &raw const header, now.as_ptr()) < 0 {
            return false;
        }
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        // Root's programs get the bounding set.
        if libc::geteuid() == 0 {
            return true;
        }
        let [low, high] = now.map(|data| u64::from(data.permitted));
        let all = low | high << 32;
        for number in (0..64).filter(|number| all >> number & 1 == 1) {
            if libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number as libc::c_ulong, 0, 0) < 0 {
                return false;
            }
        }
    }
    true
}
