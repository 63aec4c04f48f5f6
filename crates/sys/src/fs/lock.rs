//! File lock that ends with its last holder, however that ends.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// Takes an exclusive `flock` on a file (0600, made if missing) without waiting; `Ok(None)` = somebody else has it.
///
/// The lock belongs to the open file description: it lives on in every duplicate and in whoever got one passed, and ends when the last
/// is closed or one holder calls [`release`].
///
/// # Errors
/// What opening the file said.
pub fn try_lock(path: &Path) -> Result<Option<OwnedFd>, Errno> {
    // The file is never removed: two processes could otherwise hold locks on two files of one name.
    let file = rustix::fs::open(path, OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::from_raw_mode(0o600))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The same, and waits for whoever has it, but not for longer than this. Nobody announces that a lock is free without a wait that has no end.
///
/// # Errors
/// What opening the file said.
pub fn lock_within(path: &Path, longest: Duration) -> Result<Option<OwnedFd>, Errno> {
    const PAUSE: Duration = Duration::from_millis(2);
    let until = Instant::now() + longest;
    loop {
        let lock = try_lock(path)?;
        if lock.is_some() || Instant::now() >= until {
            return Ok(lock);
        }
        std::thread::sleep(PAUSE);
    }
}

/// True if somebody has this lock; it is not touched for that. False where the kernel does not say.
pub fn is_held(path: &Path) -> bool {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return false };
    // `1: FLOCK  ADVISORY  WRITE 4711 fd:01:131090 0 EOF`. The device is not compared: some file systems tell another one to `stat`.
    let end = format!(":{}", meta.ino());
    let is_it = |line: &str| line.contains(" FLOCK ") && line.split_whitespace().any(|word| word.ends_with(&end));
    std::fs::read_to_string("/proc/locks").is_ok_and(|locks| locks.lines().any(is_it))
}

/// Gives the lock up for every holder of this open file description.
///
/// # Errors
/// None in practice.
pub fn release(lock: impl AsFd) -> Result<(), Errno> {
    rustix::fs::flock(lock, FlockOperation::Unlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_and_duplicates_count() {
        let dir = std::env::temp_dir().join(format!("ostler-lock-{}", std::process::id()));
        assert!(!is_held(&dir), "there is no file");
        let first = try_lock(&dir).unwrap().expect("free");
        assert!(is_held(&dir));
        assert!(try_lock(&dir).unwrap().is_none());
        let dup = first.try_clone().unwrap();
        drop(first);
        assert!(try_lock(&dir).unwrap().is_none(), "the duplicate holds it");
        release(&dup).unwrap();
        assert!(!is_held(&dir));
        assert!(try_lock(&dir).unwrap().is_some());
        std::fs::remove_file(&dir).unwrap();
    }
}
