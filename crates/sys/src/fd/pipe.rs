//! Pipes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// Creates a pipe (read end, write end), both CLOEXEC.
///
/// # Errors
/// Returns `EMFILE` or `ENFILE`.
pub fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    pipe_with(PipeFlags::CLOEXEC)
}

/// Creates a pipe with room for `bytes`, or for as many bytes as this user may have (at worst the
/// default of 64 KiB). Returns it with its actual size.
///
/// # Errors
/// Returns `EMFILE` or `ENFILE`.
pub fn with_size(bytes: usize) -> Result<((OwnedFd, OwnedFd), usize), Errno> {
    let (read, write) = pipe()?;
    let mut size = bytes;
    // Unprivileged users have a limit per pipe (/proc/sys/fs/pipe-max-size) and a limit on the sum.
    // Halve the size until it fits.
    let real = loop {
        match fcntl_setpipe_size(&write, size) {
            Ok(real) => break real,
            Err(_) if size > 65536 => size /= 2,
            Err(_) => break 65536,
        }
    };
    Ok(((read, write), real))
}

/// Ends of a pipe that a descriptor gives access to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipeAccess {
    /// The descriptor reads, and never waits.
    Read,
    /// The descriptor reads and writes, as the descriptor of a named FIFO can (fifo(7)).
    Both,
}

/// Opens the pipe behind one of our descriptors again, close-on-exec.
///
/// # Errors
/// Returns an error if `/proc` is missing, no descriptor is free, or another user created the pipe.
pub fn reopen(pipe: impl AsFd, ends: PipeAccess) -> io::Result<OwnedFd> {
    let flags = if ends == PipeAccess::Read { OFlags::NONBLOCK } else { OFlags::empty() };
    let mut options = OpenOptions::new();
    options.read(true).write(ends == PipeAccess::Both).custom_flags(flags.bits().cast_signed());
    Ok(options.open(format!("/proc/self/fd/{}", pipe.as_fd().as_raw_fd()))?.into())
}

/// Returns device and inode of a pipe, or `None` if the descriptor is not a pipe.
pub fn identity(pipe: impl AsFd) -> Option<(u64, u64)> {
    let file = File::from(pipe.as_fd().try_clone_to_owned().ok()?);
    let meta = file.metadata().ok()?;
    meta.file_type().is_fifo().then(|| (meta.dev(), meta.ino()))
}

/// Finds a pipe among the descriptors of a process. The returned descriptor (`O_PATH`) neither
/// reads nor writes. To open it has no effect on any file, whatever the numbers of that process
/// refer to.
pub fn of_process(pid: i32, pipe: (u64, u64)) -> Option<OwnedFd> {
    let find = |entry: fs::DirEntry| {
        let meta = fs::metadata(entry.path()).ok()?;
        if (meta.dev(), meta.ino()) != pipe {
            return None;
        }
        let options = OpenOptions::new().read(true).custom_flags(OFlags::PATH.bits().cast_signed()).open(entry.path());
        // The process may have changed the descriptor since then.
        options.ok().map(OwnedFd::from).filter(|found| identity(found) == Some(pipe))
    };
    fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten().find_map(find)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipe_of_a_process_is_found_and_read_by_a_new_descriptor() {
        let me = crate::ProcRef::me().pid;
        let (read, write) = pipe().unwrap();
        let both = reopen(&write, PipeAccess::Both).unwrap();
        let key = identity(&both).unwrap();
        drop((read, write));
        // The only reader is the writer itself.
        rustix::io::write(&both, b"line").unwrap();
        let again = reopen(of_process(me, key).unwrap(), PipeAccess::Read).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(rustix::io::read(&again, &mut buffer).unwrap(), 4);
        assert_eq!(rustix::io::read(&again, &mut buffer), Err(Errno::AGAIN));
        drop(both);
        assert_eq!(rustix::io::read(&again, &mut buffer), Ok(0), "the last writer is closed");
        drop(again);
        assert!(of_process(me, key).is_none());
        assert_eq!(identity(File::open("/dev/null").unwrap()), None);
    }

    #[test]
    fn pipe_size_is_the_requested_one_or_reported_smaller() {
        let ((_read, write), size) = with_size(1 << 20).unwrap();
        assert_eq!(rustix::pipe::fcntl_getpipe_size(&write).unwrap(), size);
        let (_, size) = with_size(usize::MAX >> 1).unwrap();
        assert!(size >= 65536);
    }
}
