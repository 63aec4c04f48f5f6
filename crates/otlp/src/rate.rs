//! Rate limits for senders. Each sender has a token bucket; all unknown senders share one bucket.

use std::collections::HashMap;

/// Maximum number of senders with a bucket.
const SENDERS: usize = 512;

/// Size and refill rate of a bucket.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Bytes per second.
    pub per_second: u64,
    /// Maximum burst in bytes.
    pub burst: u64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    remaining: u64,
    at_ms: u64,
}

/// Buckets by sender.
#[derive(Debug)]
pub struct Rates {
    rate: Rate,
    buckets: HashMap<Box<str>, Bucket>,
}

impl Rates {
    /// Creates buckets that start full.
    pub fn new(rate: Rate) -> Self {
        Self { rate, buckets: HashMap::new() }
    }

    /// Takes `bytes` from a sender's bucket. `now_ms` is a monotonic clock.
    ///
    /// # Errors
    /// Returns the seconds to wait if the bucket has too few bytes.
    pub fn take(&mut self, sender: &str, bytes: u64, now_ms: u64) -> Result<(), u64> {
        let Rate { per_second, burst } = self.rate;
        if !self.buckets.contains_key(sender) {
            self.bound();
            self.buckets.insert(sender.into(), Bucket { remaining: burst, at_ms: now_ms });
        }
        let Some(bucket) = self.buckets.get_mut(sender) else { return Ok(()) };
        let filled = now_ms.saturating_sub(bucket.at_ms).saturating_mul(per_second) / 1000;
        if filled > 0 {
            *bucket = Bucket { remaining: bucket.remaining.saturating_add(filled).min(burst), at_ms: now_ms };
        }
        // A request larger than a bucket takes a full bucket.
        let wanted = bytes.min(burst);
        match bucket.remaining.checked_sub(wanted) {
            Some(left) => {
                bucket.remaining = left;
                Ok(())
            }
            None => Err((wanted - bucket.remaining).div_ceil(per_second.max(1)).max(1)),
        }
    }

    /// Removes the least recently used buckets.
    fn bound(&mut self) {
        if self.buckets.len() < SENDERS {
            return;
        }
        let mut times: Vec<u64> = self.buckets.values().map(|bucket| bucket.at_ms).collect();
        let (_, middle, _) = times.select_nth_unstable(SENDERS / 2);
        let middle = *middle;
        self.buckets.retain(|_, bucket| bucket.at_ms > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sender_has_a_token_bucket_that_refills() {
        let mut rates = Rates::new(Rate { per_second: 100, burst: 250 });
        assert_eq!(rates.take("a", 250, 0), Ok(()));
        assert_eq!(rates.take("a", 150, 0), Err(2));
        assert_eq!(rates.take("b", 1000, 0), Ok(()), "more than a bucket takes a full one");
        assert_eq!(rates.take("a", 150, 1500), Ok(()));
        assert_eq!(rates.take("a", 1, 1500), Err(1));
        assert_eq!(rates.take("a", 250, 1_000_000), Ok(()), "never more than full");
        assert!(rates.take("a", 250, 1_000_000).is_err());
        // Small time steps also refill the bucket.
        let slow = (0..20_000).filter(|ms| rates.take("c", 1, *ms).is_ok()).count();
        assert!((2200..=2260).contains(&slow), "{slow}");
        for n in 0..10_000 {
            let _ = rates.take(&n.to_string(), 1, n);
        }
        assert!(rates.buckets.len() <= SENDERS);
    }
}
