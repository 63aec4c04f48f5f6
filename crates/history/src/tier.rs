//! The four tiers: step length, amount of data per file, number of files. Pure.

/// Tier of the store.
#[derive(Debug)]
pub(crate) struct Tier {
    /// Prefix of its file names.
    pub(crate) name: &'static str,
    /// Length of a step, in seconds.
    pub(crate) step: u64,
    /// Recorded seconds after which new points become a block; 0 = blocks come from the finer tier.
    pub(crate) block: u64,
    /// Recorded seconds after which a segment is full.
    pub(crate) segment: u64,
    /// Number of full segments that are kept.
    pub(crate) full: usize,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

/// All tiers, the finest first.
pub(crate) const TIERS: [Tier; 4] = [
    Tier { name: "1s", step: 1, block: 10 * MINUTE, segment: 10 * MINUTE, full: 6 },
    Tier { name: "10s", step: 10, block: 20 * MINUTE, segment: 4 * HOUR, full: 12 },
    Tier { name: "1m", step: MINUTE, block: 0, segment: 2 * DAY, full: 7 },
    Tier { name: "1h", step: HOUR, block: 0, segment: 30 * DAY, full: 13 },
];

/// Number of the one-second tier.
pub(crate) const FINE: usize = 0;
/// Number of the tier from which the coarser tiers are made.
pub(crate) const USUAL: usize = 1;
/// Number of the coarsest tier.
pub(crate) const LAST: usize = TIERS.len() - 1;

/// Returns the tier of this number.
pub(crate) fn of(number: usize) -> &'static Tier {
    TIERS.get(number).unwrap_or(&TIERS[LAST])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tier_covers_its_documented_period() {
        for (tier, kept) in TIERS.iter().zip([HOUR, 2 * DAY, 14 * DAY, 365 * DAY]) {
            assert!(tier.segment * tier.full as u64 >= kept, "{}", tier.name);
        }
        // Data that is not rolled up yet must still exist.
        for pair in TIERS[USUAL..].windows(2) {
            assert!(pair[0].full >= 2 && pair[0].segment >= pair[1].step, "{}", pair[0].name);
        }
    }
}
