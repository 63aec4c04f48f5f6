//! Merging of lines from many hosts in the order of their times.
//!
//! Lines of one host keep their order. A line without a time, or with an earlier time than the line
//! before it, gets the time of that line. Between hosts, the time decides.
//!
//! New lines wait for a moment, because an older line of a slower host may be on its way. If the
//! clock of a host is wrong, its lines are in the wrong place, but none is lost.

use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

/// Time to wait for older lines of other hosts.
const HOLD: Duration = Duration::from_millis(200);

/// Maximum number of waiting lines; beyond it, the oldest is output early.
const MOST: usize = 10_000;

/// Line with its host and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedLine<T> {
    /// Number of its host.
    pub host: usize,
    /// Its time in ms of the host's wall clock; none = unknown.
    pub at_ms: Option<u64>,
    /// The line.
    pub line: T,
}

/// Waiting lines, and the last time of each host.
#[derive(Debug)]
pub struct Interleave<T> {
    waiting: BinaryHeap<PendingLine<T>>,
    last_ms: HashMap<usize, u64>,
    count: u64,
}

#[derive(Debug)]
struct PendingLine<T> {
    at_ms: u64,
    number: u64,
    arrived_at: Instant,
    host: usize,
    line: T,
}

impl<T> PartialEq for PendingLine<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for PendingLine<T> {}

impl<T> PartialOrd for PendingLine<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for PendingLine<T> {
    /// Orders the oldest line as the greatest, as the max-heap requires.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at_ms, other.number).cmp(&(self.at_ms, self.number))
    }
}

impl<T> Default for Interleave<T> {
    fn default() -> Self {
        Self { waiting: BinaryHeap::new(), last_ms: HashMap::new(), count: 0 }
    }
}

impl<T> Interleave<T> {
    /// Adds a line that arrived now.
    pub fn push(&mut self, line: TimedLine<T>, now: Instant) {
        let last = self.last_ms.entry(line.host).or_insert(0);
        let at_ms = line.at_ms.map_or(*last, |at| at.max(*last));
        *last = at_ms;
        self.count += 1;
        self.waiting.push(PendingLine { at_ms, number: self.count, arrived_at: now, host: line.host, line: line.line });
    }

    /// Returns the next line whose wait is over, with its host.
    pub fn pop(&mut self, now: Instant) -> Option<(usize, T)> {
        let is_due = |first: &PendingLine<T>| now.saturating_duration_since(first.arrived_at) >= HOLD;
        if self.waiting.len() <= MOST && !self.waiting.peek().is_some_and(is_due) {
            return None;
        }
        self.waiting.pop().map(|first| (first.host, first.line))
    }

    /// Returns the next line without waiting, once all input has ended.
    pub fn next_immediately(&mut self) -> Option<(usize, T)> {
        self.waiting.pop().map(|first| (first.host, first.line))
    }

    /// Returns the time until the next line is due; `None` if no line waits.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        self.waiting.peek().map(|first| (first.arrived_at + HOLD).saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interleaved(lines: &[(usize, Option<u64>)]) -> Vec<usize> {
        let now = Instant::now();
        let mut order = Interleave::default();
        for (number, (host, at_ms)) in lines.iter().enumerate() {
            order.push(TimedLine { host: *host, at_ms: *at_ms, line: number }, now);
        }
        assert_eq!(order.pop(now), None, "they wait for others");
        let mut found = Vec::new();
        while let Some((_, line)) = order.pop(now + HOLD) {
            found.push(line);
        }
        found
    }

    #[test]
    fn lines_interleave_by_time_and_keep_order_within_host() {
        for (lines, expected) in [
            (&[(0, Some(5)), (1, Some(3)), (0, Some(6)), (1, Some(4))][..], &[1, 3, 0, 2][..]),
            // Without times, lines are in the order of arrival, host by host.
            (&[(0, None), (1, None), (0, None)], &[0, 1, 2]),
            // A line without a time stays with the line before it.
            (&[(0, Some(9)), (0, None), (1, Some(3)), (1, None)], &[2, 3, 0, 1]),
            // A clock that is set back.
            (&[(0, Some(9)), (0, Some(1)), (1, Some(5))], &[2, 0, 1]),
            (&[], &[]),
        ] {
            assert_eq!(interleaved(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn interleave_bounds_delay_and_held_lines() {
        let now = Instant::now();
        let mut order = Interleave::default();
        assert_eq!(order.wait(now), None);
        order.push(TimedLine { host: 0, at_ms: Some(1), line: 0 }, now);
        assert_eq!((order.wait(now), order.wait(now + HOLD * 2)), (Some(HOLD), Some(Duration::ZERO)));
        for line in 1..=MOST {
            order.push(TimedLine { host: 0, at_ms: Some(1), line }, now);
        }
        assert_eq!((order.pop(now), order.pop(now)), (Some((0, 0)), None), "one too many goes out early");
        assert_eq!(order.next_immediately(), Some((0, 1)));
    }
}
