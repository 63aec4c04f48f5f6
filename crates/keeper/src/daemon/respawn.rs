//! Delays before the daemon restarts.

/// Number of deaths within [`WINDOW_MS`] without a delay. An operator who kills the daemon now and
/// then gets a new one immediately.
const FREE: u32 = 3;
const WINDOW_MS: u64 = 1000;
const FIRST_DELAY_MS: u64 = 20;
/// Maximum delay. Four starts in a second cost about one hundredth of a core, and no crashed app
/// waits longer than this for its restart.
const MAX_DELAY_MS: u64 = 250;

/// Counter of deaths; pure.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Respawn {
    deaths: u32,
    last_ms: u64,
}

impl Respawn {
    /// Records a death at this time. Returns how long to wait before the next start.
    pub(crate) fn died(&mut self, now_ms: u64) -> u64 {
        // A delay is part of the time between two deaths, so the quiet time must exceed the longest
        // delay.
        if now_ms.saturating_sub(self.last_ms) > WINDOW_MS + MAX_DELAY_MS {
            self.deaths = 0;
        }
        self.last_ms = now_ms;
        self.deaths = self.deaths.saturating_add(1);
        match self.deaths.checked_sub(FREE + 1) {
            None => 0,
            Some(n) => FIRST_DELAY_MS.checked_shl(n.min(16)).unwrap_or(MAX_DELAY_MS).min(MAX_DELAY_MS),
        }
    }
}

/// Text form, for the environment of the next keeper.
impl Respawn {
    /// Returns the number of deaths in a row.
    pub(crate) fn count(self) -> u32 {
        self.deaths
    }

    pub(crate) fn to_text(self) -> String {
        format!("{}:{}", self.deaths, self.last_ms)
    }

    /// Parses the text form. An invalid text counts as no deaths.
    pub(crate) fn from_text(text: &str) -> Self {
        let numbers = text.split_once(':').and_then(|(deaths, last_ms)| Some((deaths.parse().ok()?, last_ms.parse().ok()?)));
        numbers.map_or_else(Self::default, |(deaths, last_ms)| Self { deaths, last_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_round_trip_through_text() {
        let mut respawn = Respawn::default();
        (0..4).for_each(|_| assert!(respawn.died(1_000_000) < 40));
        assert_eq!(Respawn::from_text(&respawn.to_text()).died(1_000_000), 40);
        for nonsense in ["", "1", "x:1", "1:-1"] {
            assert_eq!(Respawn::from_text(nonsense).died(1_000_000), 0, "{nonsense}");
        }
    }

    #[test]
    fn respawn_delay_doubles_and_resets_after_a_quiet_period() {
        let mut respawn = Respawn::default();
        let mut now = 1_000_000;
        let mut delays = Vec::new();
        for _ in 0..10 {
            let delay = respawn.died(now);
            delays.push(delay);
            now += delay + 5;
        }
        assert_eq!(delays, [0, 0, 0, 20, 40, 80, 160, 250, 250, 250]);
        assert_eq!(respawn.died(now + 1251), 0);
    }

    #[test]
    fn rare_deaths_respawn_immediately() {
        let mut respawn = Respawn::default();
        assert!((1..100).all(|n| respawn.died(n * 1300) == 0));
    }
}
