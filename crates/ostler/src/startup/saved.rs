//! Saved list of a home. Root may read it for another user, and the owner of the home controls its
//! content.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ostler_core::message;
use rustix::fs::OFlags;

/// Largest list; ostler and PM2 write no larger one.
const MOST_BYTES: u64 = 64 << 20;

/// Returns its path.
pub(super) fn path(home: &Path) -> PathBuf {
    crate::home::paths(home).dump
}

/// Returns its text. Only a regular file is read, no pipe that blocks and no endless device.
pub(super) fn read(home: &Path) -> io::Result<String> {
    let nonblocking = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path(home))?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > MOST_BYTES {
        return Err(io::Error::other(message!("it is not a file, or it is too large")));
    }
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_rejects_fifo_and_device_without_blocking() {
        let home = std::env::temp_dir().join(format!("ostler-saved-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(path(&home)).status().unwrap();
        assert!(fifo.success() && read(&home).is_err());
        std::fs::remove_file(path(&home)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path(&home)).unwrap();
        assert!(read(&home).is_err());
        std::fs::remove_file(path(&home)).unwrap();
        std::fs::write(path(&home), "[]").unwrap();
        assert_eq!(read(&home).unwrap(), "[]");
        std::fs::remove_dir_all(home).unwrap();
    }
}
