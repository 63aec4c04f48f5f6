//! Facts about a file: its identity, length and times.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Stat, Statx, StatxFlags, StatxTimestamp, fstat, lstat, makedev, statx};
use rustix::io::Errno;

/// Facts about a file at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Time of its creation, ns since the epoch; 0 if the file system does not record it.
    pub born_ns: u64,
    /// Length in bytes.
    pub length: u64,
    /// Time of the last change of its content, ms since the epoch.
    pub modified_ms: u64,
    /// Whether it is a regular file.
    pub is_file: bool,
}

impl FileFacts {
    /// Returns the facts about an open file.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        match statx(&file, c"", AtFlags::EMPTY_PATH, WANTED) {
            Ok(found) => Ok(found.into()),
            Err(error) if is_refused(error) => Ok(fstat(file)?.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the facts about the entry at a path. A link is not followed.
    ///
    /// # Errors
    /// Returns the kernel's error.
    pub fn at(path: &Path) -> io::Result<Self> {
        match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, WANTED) {
            Ok(found) => Ok(found.into()),
            Err(error) if is_refused(error) => Ok(lstat(path)?.into()),
            Err(error) => Err(error.into()),
        }
    }
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// Returns true if a sandbox, or an old kernel, refuses the call. The older call then works.
fn is_refused(error: Errno) -> bool {
    matches!(error, Errno::NOSYS | Errno::PERM)
}

impl From<Statx> for FileFacts {
    fn from(found: Statx) -> Self {
        let has_birth = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
        Self {
            dev: makedev(found.stx_dev_major, found.stx_dev_minor),
            ino: found.stx_ino,
            born_ns: if has_birth { nanos(found.stx_btime) } else { 0 },
            length: found.stx_size,
            modified_ms: nanos(found.stx_mtime) / 1_000_000,
            is_file: FileType::from_raw_mode(found.stx_mode.into()) == FileType::RegularFile,
        }
    }
}

impl From<Stat> for FileFacts {
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the types of the fields depend on the architecture")]
    fn from(found: Stat) -> Self {
        let ms = (found.st_mtime as i64).saturating_mul(1000).saturating_add(found.st_mtime_nsec as i64 / 1_000_000);
        Self {
            dev: found.st_dev as u64,
            ino: found.st_ino as u64,
            born_ns: 0,
            length: u64::try_from(found.st_size).unwrap_or(0),
            modified_ms: u64::try_from(ms).unwrap_or(0),
            is_file: FileType::from_raw_mode(found.st_mode) == FileType::RegularFile,
        }
    }
}

/// Returns a time in ns since the epoch; 0 for a time before it.
fn nanos(at: StatxTimestamp) -> u64 {
    let nanos = i128::from(at.tv_sec) * 1_000_000_000 + i128::from(at.tv_nsec);
    u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn facts_equal_those_of_the_standard_library() {
        let folder = std::env::temp_dir().join(format!("ostler-facts-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a");
        fs::write(&path, "12345").unwrap();
        let file = fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_millis(1_795_514_400_250)).unwrap();
        let (facts, meta) = (FileFacts::of(&file).unwrap(), file.metadata().unwrap());
        assert_eq!(facts, FileFacts::at(&path).unwrap());
        assert_eq!((facts.dev, facts.ino, facts.length, facts.modified_ms), (meta.dev(), meta.ino(), 5, 1_795_514_400_250));
        let born = meta.created().ok().map_or(0, |at| at.duration_since(UNIX_EPOCH).unwrap().as_nanos());
        assert!(facts.is_file && u128::from(facts.born_ns) == born, "{facts:?}");
        let old = FileFacts::from(rustix::fs::fstat(&file).unwrap());
        assert_eq!(old, FileFacts { born_ns: 0, ..facts });
        // A rename keeps the identity, and a link is not followed.
        fs::rename(&path, folder.join("b")).unwrap();
        assert_eq!(FileFacts::at(&folder.join("b")).unwrap(), facts);
        std::os::unix::fs::symlink(folder.join("b"), &path).unwrap();
        assert!(!FileFacts::at(&path).unwrap().is_file && !FileFacts::at(&folder).unwrap().is_file);
        assert_eq!(FileFacts::at(&folder.join("c")).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::remove_dir_all(&folder).unwrap();
    }
}
