//! Descriptors held under a name, so that they outlive the daemon.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// Maximum length of a name. A longer one is a bug of the caller.
const NAME_MAX: usize = 255;
/// Bounds of the number of descriptors that stay free for spawning and for messages in flight.
const HEADROOM_MOST: u64 = 96;
const HEADROOM_LEAST: u64 = 24;
/// Fraction of a small limit that stays free (one eighth).
const HEADROOM_SHARE: u64 = 8;

/// Returns the number of descriptors that stay free for spawning and for messages in flight.
pub(crate) fn headroom(limit: u64) -> u64 {
    (limit / HEADROOM_SHARE).clamp(HEADROOM_LEAST, HEADROOM_MOST)
}

/// All held descriptors, sorted by name.
#[derive(Debug, Default)]
pub(crate) struct HeldFds {
    by_name: BTreeMap<String, OwnedFd>,
}

impl HeldFds {
    /// Holds a descriptor, and replaces the descriptor that had the name before. `others` is the
    /// number of other descriptors in use or reserved; `limit` is the limit of open files. Held
    /// descriptors may use half of the headroom, so that a process which could be spawned also
    /// finds room for its descriptors.
    ///
    /// # Errors
    /// Returns `EMFILE` if the headroom would be used up, and `ENAMETOOLONG` if the name is too
    /// long.
    pub(crate) fn hold(&mut self, name: String, fd: OwnedFd, others: usize, limit: u64) -> Result<(), Errno> {
        if name.len() > NAME_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let in_use = (self.by_name.len() + others) as u64;
        if !self.by_name.contains_key(&name) && in_use.saturating_add(headroom(limit) / 2) >= limit {
            return Err(Errno::MFILE);
        }
        self.by_name.insert(name, fd);
        Ok(())
    }

    /// Holds a descriptor that a former keeper held. It skips the check, as that keeper had room.
    pub(crate) fn take_over(&mut self, name: String, fd: OwnedFd) {
        self.by_name.insert(name, fd);
    }

    /// Returns the number of held descriptors.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Closes the descriptor of this name.
    pub(crate) fn drop_name(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    pub(crate) fn get(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.by_name.get(name).map(AsFd::as_fd)
    }

    pub(crate) fn into_names(self) -> BTreeMap<String, OwnedFd> {
        self.by_name
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, BorrowedFd<'_>)> {
        self.by_name.iter().map(|(name, fd)| (name, fd.as_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn hold_keeps_headroom_but_always_replaces_a_held_name() {
        let mut held = HeldFds::default();
        let limit = 800;
        let room = usize::try_from(limit - headroom(limit) / 2).unwrap();
        assert_eq!(held.hold("a".into(), null(), room - 1, limit), Ok(()));
        assert_eq!(held.hold("b".into(), null(), room - 1, limit), Err(Errno::MFILE));
        assert_eq!(held.hold("a".into(), null(), room - 1, limit), Ok(()));
        held.drop_name("a");
        held.drop_name("never there");
        assert_eq!(held.hold("b".into(), null(), room - 1, limit), Ok(()));
        assert_eq!(held.hold("x".repeat(256), null(), 0, 10_000), Err(Errno::NAMETOOLONG));
        assert_eq!(held.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b"]);
    }
}
