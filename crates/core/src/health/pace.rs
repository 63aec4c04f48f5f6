//! Pace of replacements: how soon what was replaced may be replaced again.
//!
//! An app whose limit is below what it always needs, or whose check can never pass, would be replaced for ever. Each replacement that follows
//! another one soon waits twice as long as the one before.

/// Time without a replacement after which the pace starts anew.
const CALM_MS: u64 = 60_000;
/// The first wait, and the longest.
const FIRST_MS: u64 = 1000;
const LONGEST_MS: u64 = 60_000;

/// The replacements of one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    last_ms: Option<u64>,
    wait_ms: u64,
}

impl Pace {
    /// The time (`mono_ms`) before which it must not be replaced.
    pub fn not_before_ms(&self) -> u64 {
        self.last_ms.map_or(0, |last| last.saturating_add(self.wait_ms))
    }

    /// Notes that it is replaced now.
    pub fn replaced(&mut self, now_ms: u64) {
        let calm = |last: u64| now_ms.saturating_sub(last) > CALM_MS.saturating_add(self.wait_ms);
        self.wait_ms = match self.last_ms {
            Some(last) if !calm(last) => (self.wait_ms * 2).clamp(FIRST_MS, LONGEST_MS),
            _ => 0,
        };
        self.last_ms = Some(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_replacements_back_off() {
        let mut pace = Pace::default();
        let (mut now, mut waits) = (5_000, Vec::new());
        for _ in 0..10 {
            now = now.max(pace.not_before_ms());
            pace.replaced(now);
            waits.push(pace.not_before_ms() - now);
        }
        assert_eq!(waits, [0, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        pace.replaced(now + 120_001);
        assert_eq!(pace.not_before_ms(), now + 120_001);
    }
}
