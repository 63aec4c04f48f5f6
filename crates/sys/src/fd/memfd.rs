//! Anonymous memory behind a descriptor. It lives as long as any process holds the descriptor.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::MemfdFlags;
use rustix::io::Errno;

/// Creates an empty memfd (CLOEXEC). The name is only for people (`/proc/<pid>/fd`).
///
/// # Errors
/// Returns `EMFILE`, `ENFILE` or `ENOMEM`.
pub fn create(name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)
}

/// Creates a memfd with this content.
///
/// # Errors
/// Returns the errors of [`create`], or `ENOMEM` or `ENOSPC` when writing.
pub fn with(name: &str, content: &[u8]) -> Result<OwnedFd, Errno> {
    let file = File::from(create(name)?);
    file.write_all_at(content, 0).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    Ok(file.into())
}

/// Writes all of `content` at an offset.
///
/// # Errors
/// Returns `ENOMEM` or `ENOSPC`; a part of the content may have been written.
pub fn write_at(file: &File, content: &[u8], offset: u64) -> std::io::Result<()> {
    crate::simulated::step();
    file.write_all_at(content, offset)?;
    crate::simulated::step();
    Ok(())
}

/// Reads the whole content, independent of the file position.
///
/// # Errors
/// Returns `EFBIG` if the content is longer than `max` bytes, otherwise the error of the read.
pub fn read(fd: impl AsFd, max: usize) -> Result<Vec<u8>, Errno> {
    let fd = fd.as_fd();
    let len = usize::try_from(rustix::fs::fstat(fd)?.st_size).map_err(|_| Errno::FBIG)?;
    if len > max {
        return Err(Errno::FBIG);
    }
    let mut content = vec![0; len];
    let mut done = 0;
    while let Some(rest) = content.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(fd, rest, done as u64) {
            // Another process has truncated the memory in between.
            Ok(0) => break,
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    content.truncate(done);
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_round_trips_within_the_limit() {
        let content: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let fd = with("test", &content).unwrap();
        assert_eq!(read(&fd, 1 << 20).unwrap(), content);
        assert_eq!(read(&fd, content.len() - 1), Err(Errno::FBIG));
        assert_eq!(read(create("empty").unwrap(), 0).unwrap(), b"");
    }
}
