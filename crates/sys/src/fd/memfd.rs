//! Anonymous memory behind a descriptor: it lives as long as somebody holds the descriptor, whoever dies.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::MemfdFlags;
use rustix::io::Errno;

/// A new empty one (CLOEXEC); the name is only for people (`/proc/<pid>/fd`).
///
/// # Errors
/// `EMFILE`/`ENFILE`/`ENOMEM`.
pub fn create(name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)
}

/// A new one with this content.
///
/// # Errors
/// As [`create`], or `ENOMEM`/`ENOSPC` when writing.
pub fn with(name: &str, content: &[u8]) -> Result<OwnedFd, Errno> {
    let file = File::from(create(name)?);
    file.write_all_at(content, 0).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    Ok(file.into())
}

/// Writes all of this at a place.
///
/// # Errors
/// `ENOMEM`/`ENOSPC`; some of it may be written.
pub fn write_at(file: &File, content: &[u8], offset: u64) -> std::io::Result<()> {
    crate::played::step();
    file.write_all_at(content, offset)?;
    crate::played::step();
    Ok(())
}

/// The whole content, independent of the file position.
///
/// # Errors
/// `EFBIG` when it is longer than `max` bytes, else what reading said.
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
            // Somebody made it shorter meanwhile.
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
    fn content_comes_back_and_the_limit_holds() {
        let content: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let fd = with("test", &content).unwrap();
        assert_eq!(read(&fd, 1 << 20).unwrap(), content);
        assert_eq!(read(&fd, content.len() - 1), Err(Errno::FBIG));
        assert_eq!(read(create("empty").unwrap(), 0).unwrap(), b"");
    }
}
