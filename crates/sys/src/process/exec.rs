//! Replacement of this binary by another one, and reasons why a file would not run.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::process::cstrings::CStrings;
use crate::users::user::Credentials;

/// Path of the running binary. It can be executed even if the file was replaced or removed.
pub const OWN_EXE: &CStr = c"/proc/self/exe";

/// Returns the path of the running binary as the kernel reports it, with the suffix ` (deleted)` if
/// the file was replaced.
///
/// # Errors
/// Returns an error if `/proc` is missing.
pub fn own_exe() -> std::io::Result<PathBuf> {
    std::fs::read_link("/proc/self/exe")
}

/// Replaces this process by a program (`execve`). The pid and the children stay the same, and
/// blocked and pending signals stay so. Returns only if that failed.
pub fn replace(program: &CStr, argv: &CStrings, envp: &CStrings) -> Errno {
    let (argv, envp) = (argv.pointers(), envp.pointers());
    // SAFETY: null-terminated arrays of live strings.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    crate::process::last_errno()
}

/// Replaces this process by this binary as that user: same pid, and none of our own rights remain.
/// Returns only if that failed; the thread may already have that user's rights then.
pub fn replace_as(user: &Credentials, argv: &CStrings, envp: &CStrings) -> Errno {
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
    let become_user = || {
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)
    };
    match become_user() {
        Ok(()) => replace(OWN_EXE, argv, envp),
        Err(errno) => errno,
    }
}

/// Returns a reason in words for an `execve` that failed with a misleading errno, or `None` if the
/// errno is clear.
pub fn explain(program: &Path, errno: i32) -> Option<String> {
    match Errno::from_raw_os_error(errno) {
        Errno::NOENT => match shebang(program) {
            Some(interpreter) => Some(format!("its first line names {}, which does not exist", lossy(&interpreter))),
            None if program.exists() => Some("its dynamic loader does not exist".into()),
            None => None,
        },
        Errno::NOEXEC => Some("it is neither a binary for this machine nor a script that starts with #!".into()),
        Errno::ACCESS if program.is_dir() => Some("it is a directory".into()),
        Errno::ACCESS if program.exists() => Some("it is not executable (or its file system is mounted noexec)".into()),
        Errno::TOOBIG => Some("its arguments and environment together are too large".into()),
        _ => None,
    }
}

fn lossy(path: &Path) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(path.as_os_str().as_bytes())
}

/// Returns the interpreter in the first line of a script.
fn shebang(program: &Path) -> Option<PathBuf> {
    let mut head = [0u8; 256];
    let n = File::open(program).ok()?.read(&mut head).ok()?;
    let line = head.get(..n)?.strip_prefix(b"#!")?.split(|&b| b == b'\n').next()?.trim_ascii();
    let interpreter = line.split(|b| matches!(b, b' ' | b'\t')).next()?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(interpreter)))
}
