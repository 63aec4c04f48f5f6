//! Order of a change over hosts: batch by batch. The change stops at the first batch with a failed
//! host.

use std::ops::Range;

/// Batches of hosts that are numbered from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batches {
    hosts: usize,
    size: usize,
    started: usize,
}

impl Batches {
    /// Creates batches of `size` hosts; 0 = all hosts at once.
    pub fn new(hosts: usize, size: usize) -> Self {
        Self { hosts, size: if size == 0 { hosts } else { size }, started: 0 }
    }

    /// Returns the next batch. Returns `None` if all hosts were started, or if `succeeded` is false
    /// because a host of the last batch failed.
    pub fn next(&mut self, succeeded: bool) -> Option<Range<usize>> {
        if !succeeded || self.started >= self.hosts {
            return None;
        }
        let end = self.started.saturating_add(self.size).min(self.hosts);
        let batch = self.started..end;
        self.started = end;
        Some(batch)
    }

    /// Returns the hosts that were not started.
    pub fn remaining(&self) -> Range<usize> {
        self.started..self.hosts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_cover_hosts_in_order() {
        for (hosts, size, batches) in [
            (5, 2, &[(0, 2), (2, 4), (4, 5)][..]),
            (3, 0, &[(0, 3)]),
            (3, 1, &[(0, 1), (1, 2), (2, 3)]),
            (2, 9, &[(0, 2)]),
            (2, usize::MAX, &[(0, 2)]),
            (0, 1, &[]),
            (0, 0, &[]),
        ] {
            let mut plan = Batches::new(hosts, size);
            let mut found = Vec::new();
            while let Some(batch) = plan.next(true) {
                found.push((batch.start, batch.end));
            }
            assert_eq!((found.as_slice(), plan.remaining().len()), (batches, 0), "{hosts} {size}");
        }
    }

    #[test]
    fn batches_stop_after_failed_batch() {
        let mut plan = Batches::new(5, 2);
        assert_eq!(plan.next(true), Some(0..2));
        assert_eq!((plan.next(false), plan.remaining()), (None, 2..5));
    }
}
