//! Descriptors held under a name, so that they outlive the daemon.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// Longer names are a fault of the caller.
const NAME_MAX: usize = 255;
/// Descriptors that stay free for spawning and for messages on their way.
pub(crate) const HEADROOM: u64 = 96;

/// All held descriptors, sorted by name.
#[derive(Debug, Default)]
pub(crate) struct Held {
    by_name: BTreeMap<String, OwnedFd>,
}

impl Held {
    /// Holds a descriptor in place of what had the name before. `others` are descriptors in use besides, `limit` is that of open files.
    ///
    /// # Errors
    /// `EMFILE` when it would leave no headroom, `ENAMETOOLONG`.
    pub(crate) fn hold(&mut self, name: String, fd: OwnedFd, others: usize, limit: u64) -> Result<(), Errno> {
        if name.len() > NAME_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let in_use = (self.by_name.len() + others) as u64;
        if !self.by_name.contains_key(&name) && in_use.saturating_add(HEADROOM) >= limit {
            return Err(Errno::MFILE);
        }
        self.by_name.insert(name, fd);
        Ok(())
    }

    /// Closes what has this name.
    pub(crate) fn drop_name(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    pub(crate) fn get(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.by_name.get(name).map(AsFd::as_fd)
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
    fn headroom_is_kept_but_a_name_can_always_be_replaced() {
        let mut held = Held::default();
        assert_eq!(held.hold("a".into(), null(), 3, HEADROOM + 4), Ok(()));
        assert_eq!(held.hold("b".into(), null(), 3, HEADROOM + 4), Err(Errno::MFILE));
        assert_eq!(held.hold("a".into(), null(), 3, HEADROOM + 4), Ok(()));
        held.drop_name("a");
        held.drop_name("never there");
        assert_eq!(held.hold("b".into(), null(), 3, HEADROOM + 4), Ok(()));
        assert_eq!(held.hold("x".repeat(256), null(), 0, 10_000), Err(Errno::NAMETOOLONG));
        assert_eq!(held.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b"]);
    }
}
