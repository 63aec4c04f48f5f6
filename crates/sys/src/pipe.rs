//! Pipes.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// A pipe (read end, write end), both CLOEXEC.
///
/// # Errors
/// `EMFILE`/`ENFILE`.
pub fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    pipe_with(PipeFlags::CLOEXEC)
}

/// A pipe with room for `bytes`, or for as much as this user may have (the default 64 KiB at worst). Returns it with its real size.
///
/// # Errors
/// `EMFILE`/`ENFILE`.
pub fn with_size(bytes: usize) -> Result<((OwnedFd, OwnedFd), usize), Errno> {
    let (read, write) = pipe()?;
    let mut size = bytes;
    // Unprivileged users have /proc/sys/fs/pipe-max-size per pipe and a limit on the sum: take half until it fits.
    let real = loop {
        match fcntl_setpipe_size(&write, size) {
            Ok(real) => break real,
            Err(_) if size > 65536 => size /= 2,
            Err(_) => break 65536,
        }
    };
    Ok(((read, write), real))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_at_least_asked_or_less_honestly() {
        let ((_read, write), size) = with_size(1 << 20).unwrap();
        assert_eq!(rustix::pipe::fcntl_getpipe_size(&write).unwrap(), size);
        let (_, size) = with_size(usize::MAX >> 1).unwrap();
        assert!(size >= 65536);
    }
}
