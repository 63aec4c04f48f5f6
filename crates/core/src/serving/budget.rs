//! Budgets for an app's messages on its channel: the amount that is kept, the number that are
//! handled, and the speed of reading.
//!
//! A message is handled, skipped, or makes its channel wait. Skipping costs almost nothing, so an
//! app that sends messages for other programs is not slowed down. Node's own messages are never
//! skipped, because their sender waits for an answer: too many of them make the whole channel wait,
//! as too many bytes do.

/// Largest number of bytes kept per instance: metrics, actions, options.
pub const KEPT_BYTES: usize = 64 << 10;

/// Longest message. A longer one could not be kept, and Node's own are far shorter.
pub const MESSAGE_BYTES: usize = 64 << 10;

/// Cost of each line, in additional bytes.
const LINE_COST: u64 = 512;

/// Rate: a burst, and a sustained number per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Largest burst.
    pub burst: u64,
    /// Number per second.
    pub per_second: u64,
}

// PM2 differs: it has no limit, and its daemon's memory grows with the messages of apps.
/// Rate of an app's messages, to the daemon or to others.
pub const MESSAGES: Rate = Rate { burst: 1000, per_second: 200 };
/// Rate of messages from Node and the preload. A worker that opens a hundred servers sends two
/// hundred.
pub const INTERNAL: Rate = Rate { burst: 4000, per_second: 1000 };
/// Rate of bytes read.
pub const BYTES: Rate = Rate { burst: 32 << 20, per_second: 32 << 20 };

/// Rate of sd_notify messages. Some apps report each step of their work.
pub const NOTIFICATIONS: Rate = Rate { burst: 4000, per_second: 2000 };

/// Rate of calls that open a port. No server needs more, but a process that loops would keep the
/// daemon busy.
pub const CALLS: Rate = Rate { burst: 500, per_second: 200 };

/// Token bucket that stores the spent tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Tokens spent, in thousandths.
    spent: u64,
    at_ms: u64,
}

impl Bucket {
    /// Spends tokens in any case. Returns `None` if that was within the rate, otherwise the time at
    /// which it will be.
    pub fn spend(&mut self, rate: Rate, count: u64, now_ms: u64) -> Option<u64> {
        self.settle(rate, now_ms);
        self.spent = self.spent.saturating_add(count.saturating_mul(1000));
        let over = self.spent.saturating_sub(rate.burst.saturating_mul(1000));
        (over > 0).then(|| now_ms.saturating_add(over.div_ceil(rate.per_second)))
    }

    /// Spends one token if available.
    pub fn take(&mut self, rate: Rate, now_ms: u64) -> bool {
        self.settle(rate, now_ms);
        let has = self.spent.saturating_add(1000) <= rate.burst.saturating_mul(1000);
        if has {
            self.spent += 1000;
        }
        has
    }

    /// Restores tokens for the elapsed time: one millisecond restores as many thousandths as a
    /// second restores tokens.
    fn settle(&mut self, rate: Rate, now_ms: u64) {
        let back = now_ms.saturating_sub(self.at_ms).saturating_mul(rate.per_second);
        self.spent = self.spent.saturating_sub(back);
        self.at_ms = now_ms;
    }
}

/// Outcome of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is handled.
    Taken,
    /// It is skipped.
    Skipped,
}

/// Budget of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    messages: Bucket,
    internal: Bucket,
    bytes: Bucket,
    waits_until_ms: Option<u64>,
}

impl Channel {
    /// Spends a message; `internal` marks Node's own.
    pub fn message(&mut self, internal: bool, now_ms: u64) -> Admission {
        if internal {
            let wait = self.internal.spend(INTERNAL, 1, now_ms);
            self.waits_until_ms = self.waits_until_ms.max(wait);
            return Admission::Taken;
        }
        if self.messages.take(MESSAGES, now_ms) { Admission::Taken } else { Admission::Skipped }
    }

    /// Spends the bytes and lines that were read.
    pub fn read(&mut self, bytes: usize, lines: usize, now_ms: u64) {
        let wait = self.bytes.spend(BYTES, bytes as u64 + LINE_COST * lines as u64, now_ms);
        self.waits_until_ms = self.waits_until_ms.max(wait);
    }

    /// Takes the time until which reading pauses, if any.
    pub fn take_wait(&mut self) -> Option<u64> {
        self.waits_until_ms.take()
    }
}

/// Number of bytes that are kept for an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferedBytes(usize);

impl BufferedBytes {
    /// Replaces a value of one size (0: no value) by a value of another size. Returns false if
    /// there is no room; the former value then stays.
    pub fn replace(&mut self, former: usize, size: usize) -> bool {
        let after = self.0.saturating_sub(former).saturating_add(size);
        // A smaller value is always accepted.
        let fits = after <= KEPT_BYTES || size <= former;
        if fits {
            self.0 = after;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: Rate = Rate { burst: 3, per_second: 2 };

    #[test]
    fn bucket_allows_a_burst_then_the_rate() {
        let mut bucket = Bucket::default();
        // Time, and whether a token is available.
        for (now_ms, has) in [
            (1000, true),
            (1000, true),
            (1000, true),
            (1000, false),
            (1499, false),
            (1500, true),
            (1500, false),
            (9000, true),
            (8000, true),
        ] {
            assert_eq!(bucket.take(RATE, now_ms), has, "{now_ms}");
        }
    }

    #[test]
    fn spending_beyond_the_burst_waits() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.spend(RATE, 3, 1000), None);
        assert_eq!(bucket.spend(RATE, 1, 1000), Some(1500));
        assert_eq!(bucket.spend(RATE, 0, 1500), None);
        assert_eq!(bucket.spend(RATE, u64::MAX, 1500).map(|at| at > 1_000_000), Some(true));
    }

    #[test]
    fn app_messages_are_dropped_and_internal_messages_are_kept() {
        let mut channel = Channel::default();
        let taken = (0..10_000).filter(|_| channel.message(false, 5) == Admission::Taken).count();
        assert_eq!((taken as u64, channel.take_wait()), (MESSAGES.burst, None));
        assert!((0..INTERNAL.burst).all(|_| channel.message(true, 5) == Admission::Taken));
        assert_eq!(channel.take_wait(), None);
        assert_eq!(channel.message(true, 5), Admission::Taken);
        assert_eq!(channel.take_wait(), Some(6));
        assert_eq!(channel.take_wait(), None);
    }

    #[test]
    fn small_lines_cost_more_than_their_bytes() {
        let read = |bytes: usize, lines: usize| {
            let mut channel = Channel::default();
            channel.read(bytes, lines, 0);
            channel.take_wait()
        };
        assert_eq!(read(32 << 20, 0), None);
        assert_eq!(read(64 << 20, 0), Some(1000));
        assert_eq!(read(1 << 16, 1 << 16), Some(2));
        assert_eq!(read(1 << 16, 1 << 15), None);
    }

    proptest! {
        #[test]
        fn kept_values_never_exceed_the_budget(sizes in prop::collection::vec((0_usize..8, 0_usize..40_000), 0..60)) {
            let (mut kept, mut places) = (BufferedBytes::default(), [0_usize; 8]);
            for (place, size) in sizes {
                if kept.replace(places[place], size) {
                    places[place] = size;
                }
                prop_assert!(places.iter().sum::<usize>() <= KEPT_BYTES);
            }
        }
    }
}
