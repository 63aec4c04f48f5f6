//! Reproducible randomness.

/// SplitMix64: tiny, fast, and good enough to choose the next step.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Returns a generator; the same seed results in the same sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound` (0 if that is 0).
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 {
            return 0;
        }
        usize::try_from((self.next_u64() >> 32).wrapping_mul(bound as u64) >> 32).unwrap_or(0)
    }

    /// Returns true with this chance in percent.
    pub fn percent(&mut self, chance: u8) -> bool {
        self.below(100) < usize::from(chance)
    }

    /// Returns one of the given values.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Returns one of the given values. A value of weight 2 is returned twice as often as one of
    /// weight 1.
    pub fn weighted<T: Copy>(&mut self, from: &[(usize, T)]) -> T {
        let mut rest = self.below(from.iter().map(|(weight, _)| weight).sum());
        for (weight, value) in from {
            if rest < *weight {
                return *value;
            }
            rest -= weight;
        }
        unreachable!("the rest is below the sum of the weights")
    }
}
