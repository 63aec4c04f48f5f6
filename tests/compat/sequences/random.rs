//! Reproducible choices.

/// SplitMix64 generator: the same seed gives the same choices.
#[derive(Debug)]
pub struct Choices(u64);

impl Choices {
    /// Creates the generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`, which must be positive.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.word() % bound as u64).unwrap()
    }

    /// Returns true with this probability in percent.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// Picks one of the values.
    pub fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    /// Picks one of the values by weight.
    pub fn weighted<T: Copy>(&mut self, values: &[(usize, T)]) -> T {
        let mut rest = self.below(values.iter().map(|(weight, _)| weight).sum());
        for (weight, value) in values {
            if rest < *weight {
                return *value;
            }
            rest -= weight;
        }
        unreachable!("the rest is below the sum of the weights")
    }
}
