//! Rulesets of Landlock.
//!
//! The three system calls are made directly: the crate `landlock` restricts the calling thread, but a
//! ruleset of ours is enforced in a child that must not allocate.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;

use crate::process::last_errno;

const CREATE_RULESET: libc::c_long = 444;
const ADD_RULE: libc::c_long = 445;
const RESTRICT_SELF: libc::c_long = 446;

const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;
const RULE_NET_PORT: u32 = 2;

// No rule allows bits 6 and 11: new device files.
const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SOCK: u64 = 1 << 9;
const MAKE_FIFO: u64 = 1 << 10;
const MAKE_SYM: u64 = 1 << 12;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;

const BIND_TCP: u64 = 1;
const CONNECT_TCP: u64 = 2;

const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
const SCOPE_SIGNAL: u64 = 2;

/// Accesses that apply to a file that is no folder.
const OF_FILE: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

/// Accesses to files in version 1, and those that later versions added.
const VERSION_1: u64 = (1 << 13) - 1;

/// Access to a path and everything below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read, and execute programs.
    Read,
    /// Write to an open file of the process by its path.
    Append,
    /// Read, write, create and remove.
    WriteData,
    /// As `WriteData`, and execute.
    Write,
    /// Read, write and control a device.
    Device,
}

impl Access {
    /// Returns the bits of the kernel.
    fn bits(self) -> u64 {
        const READ: u64 = READ_FILE | READ_DIR;
        const WRITE: u64 =
            READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_SYM | REFER | TRUNCATE;
        match self {
            Self::Read => READ | EXECUTE,
            Self::Append => WRITE_FILE | TRUNCATE,
            Self::WriteData => WRITE,
            Self::Write => WRITE | EXECUTE,
            Self::Device => WRITE | IOCTL_DEV,
        }
    }

    /// Returns the bits that a ruleset of this version can have.
    pub fn in_version(self, abi: u32) -> u64 {
        self.bits() & files_of_version(abi)
    }
}

/// Returns all accesses to files that a version knows.
fn files_of_version(abi: u32) -> u64 {
    let mut bits = if abi >= 1 { VERSION_1 } else { 0 };
    for (version, access) in [(2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)] {
        bits |= if abi >= version { access } else { 0 };
    }
    bits
}

/// Returns the version of Landlock in the kernel.
///
/// # Errors
/// Returns `ENOSYS` or `EOPNOTSUPP` if the kernel has no Landlock or it is disabled, and `EPERM` if a
/// container refuses the call.
pub fn abi() -> Result<u32, Errno> {
    // SAFETY: no pointers.
    let version = unsafe { libc::syscall(CREATE_RULESET, std::ptr::null::<u8>(), 0_usize, CREATE_RULESET_VERSION) };
    if version < 0 { Err(last_errno()) } else { Ok(u32::try_from(version).unwrap_or(0)) }
}

/// Restrictions of a ruleset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restricted {
    /// Access to files.
    pub files: bool,
    /// `bind` of TCP ports.
    pub bind: bool,
    /// `connect` to TCP ports.
    pub connect: bool,
    /// Signals and abstract unix sockets of processes outside.
    pub scope: bool,
}

impl Restricted {
    /// Returns true if nothing is restricted.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// A ruleset. It refuses all restricted accesses until rules are added.
#[derive(Debug)]
pub struct Ruleset {
    fd: OwnedFd,
    abi: u32,
}

#[repr(C)]
struct RulesetAttr {
    files: u64,
    net: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: RawFd,
}

#[repr(C)]
struct NetPort {
    allowed: u64,
    port: u64,
}

impl Ruleset {
    /// Creates a ruleset for a kernel of this version.
    ///
    /// # Errors
    /// Returns the errno of the kernel; `ENOMSG` if nothing is restricted.
    pub fn new(restricted: Restricted, abi: u32) -> Result<Self, Errno> {
        let when = |wanted: bool, bits: u64| if wanted { bits } else { 0 };
        let attr = RulesetAttr {
            files: when(restricted.files, files_of_version(abi)),
            net: when(restricted.bind, BIND_TCP) | when(restricted.connect, CONNECT_TCP),
            scoped: when(restricted.scope, SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL),
        };
        // SAFETY: a live structure of the given size. The kernel returns a new descriptor.
        unsafe {
            let fd = libc::syscall(CREATE_RULESET, &raw const attr, size_of::<RulesetAttr>(), 0_u32);
            if fd < 0 { Err(last_errno()) } else { Ok(Self { fd: OwnedFd::from_raw_fd(fd as RawFd), abi }) }
        }
    }

    /// Allows access to an open path, and to everything below it.
    ///
    /// # Errors
    /// Returns the errno of the kernel: `EBADFD` for a file without a path, such as a pipe.
    pub fn allow(&self, path: BorrowedFd<'_>, access: Access) -> Result<(), Errno> {
        let is_folder = FileType::from_raw_mode(fstat(path)?.st_mode) == FileType::Directory;
        let allowed = access.in_version(self.abi) & if is_folder { u64::MAX } else { OF_FILE };
        // SAFETY: a live descriptor.
        if unsafe { add_path(self.fd.as_raw_fd(), path.as_raw_fd(), allowed) } { Ok(()) } else { Err(last_errno()) }
    }

    /// Allows to bind a TCP port.
    ///
    /// # Errors
    /// Returns the errno of the kernel.
    pub fn allow_bind(&self, port: u16) -> Result<(), Errno> {
        self.allow_port(port, BIND_TCP)
    }

    /// Allows to connect to a TCP port.
    ///
    /// # Errors
    /// Returns the errno of the kernel.
    pub fn allow_connect(&self, port: u16) -> Result<(), Errno> {
        self.allow_port(port, CONNECT_TCP)
    }

    fn allow_port(&self, port: u16, allowed: u64) -> Result<(), Errno> {
        let rule = NetPort { allowed, port: port.into() };
        // SAFETY: a live structure of the type that the rule has.
        let added = unsafe { libc::syscall(ADD_RULE, self.fd.as_raw_fd(), RULE_NET_PORT, &raw const rule, 0_u32) };
        if added < 0 { Err(last_errno()) } else { Ok(()) }
    }
}

impl AsFd for Ruleset {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Ruleset> for OwnedFd {
    fn from(ruleset: Ruleset) -> Self {
        ruleset.fd
    }
}

/// Adds a rule for an open path. Returns false, with the errno set, if that failed. Never allocates.
///
/// # Safety
///
/// Only for the child of a start, between clone and exec.
pub(super) unsafe fn add_path(ruleset: RawFd, parent: RawFd, allowed: u64) -> bool {
    let rule = PathBeneath { allowed, parent };
    // SAFETY: a live structure of the type that the rule has.
    unsafe { libc::syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, &raw const rule, 0_u32) >= 0 }
}

/// Restricts this thread. Returns false, with the errno set, if that failed. Never allocates.
///
/// # Safety
///
/// Only for the child of a start, between clone and exec.
pub(super) unsafe fn restrict_self(ruleset: RawFd) -> bool {
    // SAFETY: plain numbers.
    unsafe { libc::syscall(RESTRICT_SELF, ruleset, 0_u32) >= 0 }
}

/// Opens a path for a rule, without access to its content. Links are followed.
///
/// # Errors
/// Returns the errno of `open`.
pub fn open_path(path: &std::path::Path) -> Result<OwnedFd, Errno> {
    open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a relative path below a folder, without following any link.
///
/// # Errors
/// Returns `ELOOP` for a link, and the errno of `openat2`.
pub fn open_beneath(folder: BorrowedFd<'_>, path: &std::path::Path) -> Result<OwnedFd, Errno> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(folder, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), how)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits of new device files.
    const DEVICE_FILES: u64 = 1 << 6 | 1 << 11;

    #[test]
    fn older_versions_know_fewer_accesses() {
        for (abi, access, bits) in [
            (1, Access::Write, VERSION_1 & !DEVICE_FILES),
            (2, Access::Write, VERSION_1 & !DEVICE_FILES | REFER),
            (7, Access::Read, READ_FILE | READ_DIR | EXECUTE),
            (4, Access::Device, VERSION_1 & !(DEVICE_FILES | EXECUTE) | REFER | TRUNCATE),
            (0, Access::Write, 0),
        ] {
            assert_eq!(access.in_version(abi), bits, "{abi} {access:?}");
        }
        assert_eq!(Access::WriteData.bits() & EXECUTE, 0);
    }

    #[test]
    fn rules_are_added_for_folders_and_files() {
        let Ok(abi) = abi() else { return };
        let ruleset = Ruleset::new(Restricted { files: true, ..Restricted::default() }, abi).unwrap();
        for path in ["/usr", "/dev/null", "/etc/passwd"] {
            let fd = open_path(std::path::Path::new(path)).unwrap();
            for access in [Access::Read, Access::Write, Access::Device, Access::Append] {
                ruleset.allow(fd.as_fd(), access).unwrap();
            }
        }
        assert_eq!(Ruleset::new(Restricted::default(), abi).unwrap_err(), Errno::NOMSG);
    }

    #[test]
    fn links_below_a_folder_are_not_followed() {
        let folder = std::env::temp_dir().join(format!("ostler-beneath-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("real dir")).unwrap();
        std::os::unix::fs::symlink("/etc", folder.join("link")).unwrap();
        let opened = open_path(&folder).unwrap();
        let beneath = |path: &str| open_beneath(opened.as_fd(), std::path::Path::new(path));
        assert!(beneath("real dir").is_ok());
        assert_eq!(beneath("link").unwrap_err(), Errno::LOOP);
        assert_eq!(beneath("link/passwd").unwrap_err(), Errno::LOOP);
        assert_eq!(beneath("../x").unwrap_err(), Errno::XDEV);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
