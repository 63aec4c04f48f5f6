//! Pace of replacements: how soon a replaced instance may be replaced again.
//!
//! An app whose limit is below its normal use, or whose check can never pass, would be replaced
//! without end. Each replacement that soon follows another waits twice as long as the previous one.

/// Time without a replacement after which the pace restarts from the first wait.
const CALM_MS: u64 = 60_000;
/// First and longest wait.
const FIRST_MS: u64 = 1000;
const LONGEST_MS: u64 = 60_000;

/// The replacements of one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    last_ms: Option<u64>,
    wait_ms: u64,
}

impl Pace {
    /// Returns the time (`mono_ms`) before which it must not be replaced.
    pub fn not_before_ms(&self) -> u64 {
        self.last_ms.map_or(0, |last| last.saturating_add(self.wait_ms))
    }

    /// Records that it is replaced now.
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
