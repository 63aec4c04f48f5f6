//! Limit on password attempts.
//!
//! Links and tokens are 256 random bits and cannot be guessed, so they have no limit. A user who is
//! delayed here can use them instead.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ostler_http::network;

/// Number of attempts within [`WINDOW`] without a delay.
const FREE: u32 = 5;
/// Time after which attempts are forgotten, unless they cause a delay.
const WINDOW: Duration = Duration::from_secs(60);
/// Maximum delay for an address of a single client.
const LONGEST: Duration = Duration::from_secs(3600);
/// First and maximum delay for an address that several clients share.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(8);
/// Maximum time that an attempt waits.
const PATIENCE: Duration = Duration::from_secs(30);
/// Maximum number of addresses; beyond it, the oldest is forgotten.
const MOST: usize = 1024;

/// Client address; none = a unix socket.
type ClientAddress = Option<IpAddr>;

/// Attempts by address.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    by_address: HashMap<ClientAddress, FailedAttempts>,
}

#[derive(Clone, Copy, Debug)]
struct FailedAttempts {
    /// Number of attempts that have not succeeded.
    count: u32,
    /// Time of the last attempt, or the time at which it may run.
    last: Instant,
}

impl FailedAttempts {
    /// Returns the delay after the last attempt: none for the first five, then a longer one for
    /// each.
    fn wait(self, is_shared: bool) -> Duration {
        let (first, longest) = if is_shared { (FIRST_DELAY, LONGEST_DELAY) } else { (WINDOW, LONGEST) };
        self.count.checked_sub(FREE).map_or(Duration::ZERO, |more| first.saturating_mul(1 << more.min(10)).min(longest))
    }

    fn is_over(self, now: Instant) -> bool {
        let kept = if self.count >= FREE { self.wait(false) + LONGEST } else { WINDOW };
        now.saturating_duration_since(self.last) >= kept
    }
}

impl Attempts {
    /// Counts an attempt, and returns the time after which the password is checked. The attempt
    /// counts as failed until [`Attempts::succeeded`], so parallel attempts gain nothing.
    /// `is_shared`: other clients have this address, too (loopback, a proxy). They are slowed down,
    /// but never locked out.
    ///
    /// # Errors
    /// Returns the time for which no attempt is accepted.
    pub(crate) fn begin(&mut self, who: ClientAddress, is_shared: bool, now: Instant) -> Result<Duration, Duration> {
        self.by_address.retain(|_, attempts| !attempts.is_over(now));
        let who = who.map(network);
        if self.by_address.len() >= MOST && !self.by_address.contains_key(&who) {
            let oldest = self.by_address.iter().min_by_key(|(_, attempts)| attempts.last).map(|(who, _)| *who);
            oldest.map(|who| self.by_address.remove(&who));
        }
        let attempts = self.by_address.entry(who).or_insert(FailedAttempts { count: 0, last: now });
        let turn = (attempts.last + attempts.wait(is_shared)).max(now);
        let wait = turn.saturating_duration_since(now);
        if wait > if is_shared { PATIENCE } else { Duration::ZERO } {
            return Err(wait);
        }
        *attempts = FailedAttempts { count: attempts.count.saturating_add(1), last: turn };
        Ok(wait)
    }

    /// Records a successful login.
    pub(crate) fn succeeded(&mut self, who: ClientAddress) {
        self.by_address.remove(&who.map(network));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> ClientAddress {
        Some(text.parse().unwrap())
    }

    #[test]
    fn lockout_grows_after_five_attempts_per_minute() {
        let (mut attempts, who, begin) = (Attempts::default(), address("192.0.2.1"), Instant::now());
        for _ in 0..5 {
            assert_eq!(attempts.begin(who, false, begin), Ok(Duration::ZERO));
        }
        assert_eq!(attempts.begin(who, false, begin), Err(WINDOW));
        assert_eq!(attempts.begin(address("192.0.2.2"), false, begin), Ok(Duration::ZERO), "others may");
        let mut now = begin + WINDOW;
        for minutes in [2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(attempts.begin(who, false, now), Ok(Duration::ZERO));
            assert_eq!(attempts.begin(who, false, now), Err(WINDOW * minutes));
            now += WINDOW * minutes;
        }
        attempts.succeeded(who);
        assert_eq!(attempts.begin(who, false, now), Ok(Duration::ZERO));
    }

    #[test]
    fn shared_address_is_delayed_but_never_locked_out() {
        let (mut attempts, who, mut now) = (Attempts::default(), address("127.0.0.1"), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..50 {
            let wait = attempts.begin(who, true, now).unwrap();
            waits.push(wait.as_millis());
            now += wait;
        }
        assert_eq!(waits[..11], [0, 0, 0, 0, 0, 500, 1000, 2000, 4000, 8000, 8000]);
        assert!(waits.iter().all(|wait| *wait <= 8000));
    }

    #[test]
    fn concurrent_attempts_are_limited() {
        let (mut attempts, who, now) = (Attempts::default(), None, Instant::now());
        let taken = (0..1000).filter(|_| attempts.begin(who, true, now).is_ok()).count();
        assert!(taken < 15, "{taken}");
        assert!(attempts.begin(who, true, now + PATIENCE).is_ok(), "the next one has its turn");
    }

    #[test]
    fn single_failures_are_forgotten() {
        let (mut attempts, who, begin) = (Attempts::default(), address("192.0.2.1"), Instant::now());
        for minute in 0..20 {
            assert_eq!(attempts.begin(who, false, begin + WINDOW * minute), Ok(Duration::ZERO));
        }
    }

    #[test]
    fn ipv6_network_counts_as_one_address() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for host in 1..=5 {
            attempts.begin(address(&format!("2001:db8:0:1::{host}")), false, now).unwrap();
        }
        assert!(attempts.begin(address("2001:db8:0:1:ffff::9"), false, now).is_err());
        assert!(attempts.begin(address("2001:db8:0:2::1"), false, now).is_ok());
    }

    #[test]
    fn number_of_tracked_addresses_is_bounded() {
        let (mut attempts, begin) = (Attempts::default(), Instant::now());
        for host in 0..5000_u32 {
            attempts.begin(Some(IpAddr::from(host.to_be_bytes())), false, begin + Duration::from_micros(host.into())).unwrap();
        }
        assert_eq!(attempts.by_address.len(), MOST);
    }
}
