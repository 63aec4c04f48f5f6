//! Open files of other processes, and a check whether all threads of a process are stopped.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::process::Stat;

/// An open file of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Device and inode.
    pub key: (u64, u64),
    /// Whether the descriptor permits writes.
    pub writes: bool,
    /// Whether every write appends to the end.
    pub appends: bool,
    /// Current path of the file. `None` if the path by which it was opened, or to which the file
    /// was renamed, no longer exists.
    pub path: Option<PathBuf>,
}

/// Returns a descriptor of a process, or `None` if it does not exist or may not be read.
pub fn descriptor(pid: i32, fd: u32) -> Option<Descriptor> {
    let link = format!("/proc/{pid}/fd/{fd}");
    let meta = fs::metadata(&link).ok()?;
    let flags = flags(pid, &fd.to_string())?;
    let path = fs::read_link(&link).ok().filter(|path| path.is_absolute());
    Some(Descriptor { key: (meta.dev(), meta.ino()), writes: writes(flags), appends: flags & libc::O_APPEND != 0, path })
}

/// Returns true if the process has this file open for writing, and false if the process is gone.
///
/// # Errors
/// Returns `EACCES` or `EPERM` if the process may not be inspected.
pub fn has_open_for_writing(pid: i32, key: (u64, u64)) -> io::Result<bool> {
    let entries = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if is_gone(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        let is_it = fs::metadata(entry.path()).is_ok_and(|meta| (meta.dev(), meta.ino()) == key);
        if is_it && entry.file_name().to_str().and_then(|fd| flags(pid, fd)).is_some_and(writes) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns true if every thread of the process has stopped (by SIGSTOP or a tracer) or exited. Also
/// returns true for a process that is gone.
pub fn is_stopped(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| match fs::read(thread.path().join("stat")) {
        Ok(line) => Stat::parse(&line).is_some_and(|stat| matches!(stat.state, b'T' | b't' | b'Z' | b'X')),
        Err(error) => is_gone(&error),
    })
}

fn writes(flags: i32) -> bool {
    flags & libc::O_ACCMODE != libc::O_RDONLY && flags & libc::O_PATH == 0
}

/// Returns the `flags:` of `fdinfo`, octal.
fn flags(pid: i32, fd: &str) -> Option<i32> {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
    i32::from_str_radix(flags.trim(), 8).ok()
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::{File, OpenOptions};
    use std::os::fd::AsRawFd;

    use crate::ProcRef;

    use super::*;

    #[test]
    fn own_descriptors_are_described_correctly() {
        let path = std::env::temp_dir().join(format!("ostler-descriptors-{}", std::process::id()));
        let me = ProcRef::me().pid;
        let look = |file: &File| descriptor(me, file.as_raw_fd().cast_unsigned()).unwrap();
        let writer = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let reader = File::open(&path).unwrap();
        let seen = look(&writer);
        assert_eq!((seen.writes, seen.appends, seen.path.as_deref()), (true, true, Some(path.as_path())));
        assert_eq!((look(&reader).writes, look(&reader).appends, look(&reader).key), (false, false, seen.key));
        let renamed = path.with_extension("1");
        fs::rename(&path, &renamed).unwrap();
        assert_eq!(look(&writer).path, Some(renamed.clone()));
        assert!(has_open_for_writing(me, seen.key).unwrap());
        drop(writer);
        assert!(!has_open_for_writing(me, seen.key).unwrap(), "a reader is no writer");
        fs::remove_file(renamed).unwrap();
        assert!(descriptor(me, 1_000_000).is_none());
    }

    #[test]
    fn gone_process_counts_as_stopped_without_open_files() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let pid = child.id().cast_signed();
        assert!(!has_open_for_writing(pid, (0, 0)).unwrap() && is_stopped(pid));
        assert!(!is_stopped(ProcRef::me().pid), "this very thread runs");
    }
}
