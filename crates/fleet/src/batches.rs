//! Order of a change over hosts: batch after batch, and no further than the first host that did not get well.

use std::ops::Range;

/// Batches over hosts that are numbered from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batches {
    hosts: usize,
    size: usize,
    begun: usize,
}

impl Batches {
    /// `size` hosts at a time; 0 is all at once.
    pub fn new(hosts: usize, size: usize) -> Self {
        Self { hosts, size: if size == 0 { hosts } else { size }, begun: 0 }
    }

    /// The next batch; none when all were begun, or when `was_well` is false: the one before had a host that did not get well.
    pub fn next(&mut self, was_well: bool) -> Option<Range<usize>> {
        if !was_well || self.begun >= self.hosts {
            return None;
        }
        let end = self.begun.saturating_add(self.size).min(self.hosts);
        let batch = self.begun..end;
        self.begun = end;
        Some(batch)
    }

    /// The hosts that were not begun.
    pub fn left(&self) -> Range<usize> {
        self.begun..self.hosts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_in_order() {
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
            assert_eq!((found.as_slice(), plan.left().len()), (batches, 0), "{hosts} {size}");
        }
    }

    #[test]
    fn it_stops_where_one_is_not_well() {
        let mut plan = Batches::new(5, 2);
        assert_eq!(plan.next(true), Some(0..2));
        assert_eq!((plan.next(false), plan.left()), (None, 2..5));
    }
}
