//! File lock that ends when its last holder exits, in whatever way.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// Takes an exclusive `flock` on a file (mode 0600, created if missing) without waiting. `Ok(None)`
/// means that another process holds the lock.
///
/// The lock belongs to the open file description. Every duplicate keeps it, including those passed
/// to other processes. It ends when the last one is closed or one holder calls [`release`].
///
/// # Errors
/// Returns the error of opening the file.
pub fn try_lock(path: &Path) -> Result<Option<OwnedFd>, Errno> {
    // The file is never removed: two processes could otherwise hold locks on two different files of
    // the same name.
    let file = rustix::fs::open(path, OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::from_raw_mode(0o600))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Takes the same lock, and waits for its current holder up to `longest`. It polls, because the
/// kernel's own wait for a lock has no time limit.
///
/// # Errors
/// Returns the error of opening the file.
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

/// Returns true if a process holds this lock, without touching the lock. Returns false if the
/// kernel does not show it.
pub fn is_held(path: &Path) -> bool {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return false };
    // `1: FLOCK  ADVISORY  WRITE 4711 fd:01:131090 0 EOF`. The device is not compared, because some
    // file systems report a different one to `stat`.
    let end = format!(":{}", meta.ino());
    let is_it = |line: &str| line.contains(" FLOCK ") && line.split_whitespace().any(|word| word.ends_with(&end));
    std::fs::read_to_string("/proc/locks").is_ok_and(|locks| locks.lines().any(is_it))
}

/// Releases the lock for every holder of this open file description.
///
/// # Errors
/// In practice, this never fails.
pub fn release(lock: impl AsFd) -> Result<(), Errno> {
    rustix::fs::flock(lock, FlockOperation::Unlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_has_one_holder_including_its_duplicates() {
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
