//! Budget of descriptors.
//!
//! If the limit of open files is small, apps must not take the descriptors that clients, rotations
//! and a new keeper need. A start that finds no room is refused, with a message about the limit.
//! The descriptors for a new keeper are reserved from the beginning, because clients may take all
//! the rest.

use std::os::fd::{AsRawFd, OwnedFd};

use ostler_core::lifecycle::SpawnFailure;
use ostler_sys::process::rlimit;

/// Divisor of the limit for the share that is reserved for the daemon.
const SHARE: u64 = 8;
/// Least number that stays free.
const LEAST: u64 = 16;
/// Greatest number that stays free.
const MOST: u64 = 128;
/// Descriptors of a new keeper: its link (two), state and `/dev/null`, and some spare ones.
const SET_ASIDE: usize = 8;
/// Error for a process that has no descriptors left.
const TOO_MANY: i32 = rustix::io::Errno::MFILE.raw_os_error();

fn one_more() -> rustix::io::Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 0)
}

/// Limit of open files, and the descriptors reserved for a new keeper.
#[derive(Debug)]
pub(crate) struct FdBudget {
    limit: u64,
    aside: Vec<OwnedFd>,
}

impl FdBudget {
    /// Creates the budget from the limit of this process, which does not change.
    pub(crate) fn new() -> Self {
        let mut budget = Self { limit: rlimit::nofile().soft, aside: Vec::new() };
        budget.set_aside();
        budget
    }

    fn free_share(&self) -> u64 {
        (self.limit / SHARE).clamp(LEAST, MOST)
    }

    /// Returns true if there are enough descriptors for an app. The kernel gives the lowest free
    /// number, so the next one shows how many are in use.
    pub(crate) fn has_room(&self) -> bool {
        let next = one_more().map_or(u64::MAX, |fd| fd.as_raw_fd().unsigned_abs().into());
        next.saturating_add(self.free_share()) < self.limit
    }

    /// Returns true if less than half of the descriptors are in use. Optional work may then use
    /// one.
    pub(crate) fn has_plenty(&self) -> bool {
        one_more().is_ok_and(|fd| u64::from(fd.as_raw_fd().unsigned_abs()) < self.limit / 2)
    }

    /// Returns how many descriptors may wait in the daemon for the keeper.
    pub(crate) fn queue_limit(&self) -> usize {
        usize::try_from(self.free_share() / 2).unwrap_or(0)
    }

    /// Frees the reserved descriptors for a new keeper.
    pub(crate) fn release_reserve(&mut self) {
        self.aside.clear();
    }

    /// Reserves as many descriptors as are available.
    pub(crate) fn set_aside(&mut self) {
        let missing = SET_ASIDE.saturating_sub(self.aside.len());
        self.aside.extend((0..missing).map_while(|_| one_more().ok()));
    }

    /// Returns the failure of a start for which there was no room.
    pub(crate) fn refusal(&self) -> SpawnFailure {
        self.explain(SpawnFailure { step: "descriptors".to_owned(), errno: TOO_MANY })
    }

    /// Adds the limit and how to raise it to a failure for lack of descriptors.
    pub(crate) fn explain(&self, mut failure: SpawnFailure) -> SpawnFailure {
        if failure.errno == TOO_MANY && !failure.step.contains("limit of open files") {
            let hint = format!(" (the limit of open files is {}, raise it with ulimit -n, LimitNOFILE= or --ulimit nofile=)", self.limit);
            failure.step.push_str(&hint);
        }
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_of_the_descriptor_limit_is_reserved() {
        for (limit, share) in [(20, 16), (256, 32), (1024, 128), (1 << 20, 128)] {
            let budget = FdBudget { limit, aside: Vec::new() };
            assert_eq!((budget.free_share(), budget.queue_limit()), (share, usize::try_from(share / 2).unwrap()), "{limit}");
        }
        assert!(!FdBudget { limit: LEAST, aside: Vec::new() }.has_room());
        assert!(FdBudget { limit: 1 << 20, aside: Vec::new() }.has_room());
    }

    #[test]
    fn refusal_names_the_limit_once() {
        let budget = FdBudget { limit: 256, aside: Vec::new() };
        let refusal = budget.refusal();
        assert!(refusal.step.contains("the limit of open files is 256") && refusal.errno == TOO_MANY, "{}", refusal.step);
        assert_eq!(budget.explain(refusal.clone()).step, refusal.step);
        assert_eq!(budget.explain(SpawnFailure::new("exec", 2)).step, "exec");
    }

    #[test]
    fn descriptors_for_a_new_keeper_are_set_aside() {
        let mut budget = FdBudget::new();
        assert_eq!(budget.aside.len(), SET_ASIDE);
        budget.release_reserve();
        assert!(budget.aside.is_empty());
        budget.set_aside();
        assert_eq!(budget.aside.len(), SET_ASIDE);
    }
}
