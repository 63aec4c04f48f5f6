//! Saved list of somebody's home, read by root perhaps: whoever owns the home chooses what is there.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Largest list; larger ones are nobody's.
const MOST_BYTES: u64 = 64 << 20;

/// Its path.
pub(super) fn path(home: &Path) -> PathBuf {
    crate::home::paths(home).dump
}

/// Its text: of a file, not of a pipe that never ends or a device that has no end.
pub(super) fn read(home: &Path) -> io::Result<String> {
    let nonblocking = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path(home))?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > MOST_BYTES {
        return Err(io::Error::other("it is not a file, or far too large"));
    }
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_not_waited_for() {
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
