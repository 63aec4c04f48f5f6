//! Attempts: how often somebody may try to log in.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Failures that are free within [`WINDOW`].
const FREE: u32 = 5;
/// Time after which failures are forgotten, unless they cost a wait.
const WINDOW: Duration = Duration::from_secs(60);
/// Longest wait.
const LONGEST: Duration = Duration::from_secs(3600);
/// Most addresses that are known; one more makes the oldest forgotten.
const MOST: usize = 1024;

/// Whoever tries: by its address, or by a unix socket.
type Who = Option<IpAddr>;

/// Failures by address.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    failures: HashMap<Who, Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    /// The wait after the last one: none for the first five, then a minute, doubled by each.
    fn wait(self) -> Duration {
        match self.count.checked_sub(FREE) {
            None => Duration::ZERO,
            Some(more) => WINDOW.saturating_mul(1 << more.min(10)).min(LONGEST),
        }
    }

    fn is_over(self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= self.wait().max(WINDOW) + if self.count >= FREE { LONGEST } else { Duration::ZERO }
    }
}

impl Attempts {
    /// The wait until the next attempt; none = it may try now.
    pub(crate) fn wait(&self, who: Who, now: Instant) -> Option<Duration> {
        let failures = self.failures.get(&network(who)).filter(|failures| !failures.is_over(now))?;
        let left = failures.wait().saturating_sub(now.saturating_duration_since(failures.last));
        (!left.is_zero()).then_some(left)
    }

    /// One failed.
    pub(crate) fn failed(&mut self, who: Who, now: Instant) {
        self.failures.retain(|_, failures| !failures.is_over(now));
        let who = network(who);
        if self.failures.len() >= MOST && !self.failures.contains_key(&who) {
            let oldest = self.failures.iter().min_by_key(|(_, failures)| failures.last).map(|(who, _)| *who);
            oldest.map(|who| self.failures.remove(&who));
        }
        let failures = self.failures.entry(who).or_insert(Failures { count: 0, last: now });
        *failures = Failures { count: failures.count.saturating_add(1), last: now };
    }

    /// It came in.
    pub(crate) fn succeeded(&mut self, who: Who) {
        self.failures.remove(&network(who));
    }
}

/// An address of version 6 stands for its network: whoever has one has 2^64 of them.
fn network(who: Who) -> Who {
    who.map(|address| match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Who {
        Some(text.parse().unwrap())
    }

    #[test]
    fn five_in_a_minute_then_longer_each_time() {
        let (mut attempts, who, begin) = (Attempts::default(), address("192.0.2.1"), Instant::now());
        for _ in 0..5 {
            assert_eq!(attempts.wait(who, begin), None);
            attempts.failed(who, begin);
        }
        assert_eq!(attempts.wait(who, begin), Some(WINDOW));
        assert_eq!(attempts.wait(address("192.0.2.2"), begin), None, "others may");
        let mut now = begin + WINDOW;
        for minutes in [2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(attempts.wait(who, now), None);
            attempts.failed(who, now);
            assert_eq!(attempts.wait(who, now), Some(WINDOW * minutes));
            now += WINDOW * minutes;
        }
        attempts.succeeded(who);
        assert_eq!(attempts.wait(who, now), None);
    }

    #[test]
    fn single_failures_are_forgotten() {
        let (mut attempts, who, begin) = (Attempts::default(), address("192.0.2.1"), Instant::now());
        for minute in 0..20 {
            let now = begin + WINDOW * minute;
            assert_eq!(attempts.wait(who, now), None);
            attempts.failed(who, now);
        }
    }

    #[test]
    fn a_network_of_version_6_is_one() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for host in 1..=5 {
            attempts.failed(address(&format!("2001:db8:0:1::{host}")), now);
        }
        assert!(attempts.wait(address("2001:db8:0:1:ffff::9"), now).is_some());
        assert_eq!(attempts.wait(address("2001:db8:0:2::1"), now), None);
        assert_eq!(network(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut attempts, begin) = (Attempts::default(), Instant::now());
        for host in 0..5000_u32 {
            attempts.failed(Some(IpAddr::from(host.to_be_bytes())), begin + Duration::from_micros(host.into()));
        }
        assert_eq!(attempts.failures.len(), MOST);
    }
}
