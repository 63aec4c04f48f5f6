//! Autoscaling: the number of instances of an app by its load, within its bounds.
//!
//! Each reading is the CPU use of all its instances together. Instances are added quickly. If the
//! mean use of an instance is over the target for a short time, enough instances are added to bring
//! it below the target. The number at most doubles. Instances are removed slowly. If the load
//! of a long time would have fit into fewer instances with some room, one instance is removed at a
//! time. After each change, the load has to settle first. The number does not oscillate, because
//! there is a gap of [`ROOM_PCT`] between "too many" and "too few".

use std::collections::VecDeque;

use crate::serving::AutoscaleSettings;

/// Time between two readings.
pub const INTERVAL_MS: u64 = 2_000;
/// Time that the load has to be over the target before instances are added.
const UP_AFTER_MS: u64 = 6_000;
/// Time that the load has to fit into fewer instances before one is removed.
const DOWN_AFTER_MS: u64 = 60_000;
/// Time after a change whose readings are ignored, because new instances start up. Readings from
/// before the change are ignored, too.
const SETTLE_MS: u64 = 6_000;
/// Part of the target that the load may fill after the removal of one instance.
const ROOM_PCT: u64 = 80;

/// The load of one app over time.
#[derive(Clone, Debug, Default)]
pub struct Scaler {
    /// Time, and CPU use of all instances in percent of one core.
    readings: VecDeque<(u64, u64)>,
    /// Start of the readings that count.
    from_ms: u64,
    /// Expected number of instances since the last reading; if the actual number differs, a user
    /// changed it.
    instances: Option<u32>,
}

impl Scaler {
    /// Takes a reading of `instances` running instances, and returns the number that is needed.
    pub fn decide(&mut self, rules: &AutoscaleSettings, instances: u32, cpu_pct: f64, now_ms: u64) -> u32 {
        let wanted = self.wanted(rules, instances, cpu_pct, now_ms);
        self.instances = Some(wanted);
        wanted
    }

    fn wanted(&mut self, rules: &AutoscaleSettings, instances: u32, cpu_pct: f64, now_ms: u64) -> u32 {
        let (min, max) = (rules.min.max(1), rules.max.max(rules.min).max(1));
        if self.instances.is_some_and(|known| known != instances) {
            // A user's change counts as a change by ostler. Otherwise earlier measurements would
            // undo it immediately.
            self.changed(now_ms);
        }
        if instances < min || instances > max {
            self.changed(now_ms);
            return instances.clamp(min, max);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float becomes an integer within its range")]
        let load = cpu_pct.clamp(0.0, 1e9) as u64;
        if now_ms >= self.from_ms {
            self.readings.push_back((now_ms, load));
        }
        while self.readings.front().is_some_and(|(at, _)| now_ms.saturating_sub(*at) > DOWN_AFTER_MS) {
            self.readings.pop_front();
        }
        let aim = u64::from(rules.cpu.max(1));
        // The load must be over the target all the time, or under it all the time: one other
        // reading is enough to keep the number.
        let wanted = if let Some(least) = self.least(UP_AFTER_MS, now_ms).filter(|least| *least > aim * u64::from(instances)) {
            let needed = u32::try_from(least.div_ceil(aim)).unwrap_or(u32::MAX);
            needed.min(instances.saturating_mul(2)).min(max)
        } else if let Some(most) = self.most(DOWN_AFTER_MS - INTERVAL_MS, now_ms)
            && instances > min
            && most * 100 <= aim * u64::from(instances - 1) * ROOM_PCT
        {
            instances - 1
        } else {
            instances
        };
        if wanted != instances {
            self.changed(now_ms);
        }
        wanted
    }

    fn changed(&mut self, now_ms: u64) {
        self.readings.clear();
        self.from_ms = now_ms + SETTLE_MS;
    }

    /// Returns the smallest reading of this span, if the readings cover all of it.
    fn least(&self, span_ms: u64, now_ms: u64) -> Option<u64> {
        self.span(span_ms, now_ms)?.min()
    }

    fn most(&self, span_ms: u64, now_ms: u64) -> Option<u64> {
        self.span(span_ms, now_ms)?.max()
    }

    fn span(&self, span_ms: u64, now_ms: u64) -> Option<impl Iterator<Item = u64>> {
        let oldest = self.readings.front()?.0;
        let covered = now_ms.saturating_sub(oldest) >= span_ms;
        covered.then(|| self.readings.iter().filter(move |(at, _)| now_ms.saturating_sub(*at) <= span_ms).map(|(_, load)| *load))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: AutoscaleSettings = AutoscaleSettings { min: 1, max: 8, cpu: 70 };

    /// Feeds the load of each reading; returns the number of instances after each.
    fn follow(rules: &AutoscaleSettings, start: u32, loads: impl IntoIterator<Item = f64>) -> Vec<u32> {
        let mut scaler = Scaler::default();
        let mut instances = start;
        let mut now = 0;
        let mut numbers = Vec::new();
        for load in loads {
            now += INTERVAL_MS;
            // No instance uses more than one core.
            instances = scaler.decide(rules, instances, load.min(f64::from(instances) * 100.0), now);
            numbers.push(instances);
        }
        numbers
    }

    #[test]
    fn autoscale_grows_quickly_and_shrinks_slowly() {
        let numbers = follow(&RULES, 1, std::iter::repeat_n(350.0, 30).chain(std::iter::repeat_n(20.0, 300)));
        let peak = *numbers.iter().max().unwrap();
        assert_eq!(peak, 5, "{numbers:?}");
        assert_eq!(numbers[3], 2, "{numbers:?}");
        assert!(numbers.iter().position(|number| *number == peak).unwrap() < 25, "{numbers:?}");
        assert_eq!(numbers.last(), Some(&1));
        assert!(numbers.windows(2).all(|pair| pair[1] + 1 >= pair[0]), "one less at a time: {numbers:?}");
    }

    #[test]
    fn autoscale_ignores_short_peaks() {
        let numbers = follow(&RULES, 2, (0..100).map(|turn| if turn % 3 == 0 { 200.0 } else { 75.0 }));
        assert!(numbers.iter().all(|number| *number == 2), "{numbers:?}");
    }

    #[test]
    fn autoscale_enforces_bounds_immediately() {
        assert_eq!(follow(&AutoscaleSettings { min: 3, ..RULES }, 1, [0.0]), [3]);
        assert_eq!(follow(&AutoscaleSettings { max: 2, ..RULES }, 4, [400.0]), [2]);
    }

    #[test]
    fn autoscale_ignores_readings_from_before_a_manual_change() {
        let mut scaler = Scaler::default();
        let mut decide = |instances, at_s: u64| scaler.decide(&RULES, instances, 10.0, at_s * 1000);
        for at_s in (0..58).step_by(2) {
            assert_eq!(decide(1, at_s), 1);
        }
        for at_s in (58..122).step_by(2) {
            assert_eq!(decide(3, at_s), 3, "after {at_s} s");
        }
        assert_eq!(decide(3, 122), 2, "a minute and the time to settle later its load decides");
    }

    proptest! {
        #[test]
        fn autoscale_settles_under_steady_load(load in 0.0..1000.0_f64, start in 1..9_u32, cpu in 10..100_u32) {
            let numbers = follow(&AutoscaleSettings { cpu, ..RULES }, start, std::iter::repeat_n(load, 600));
            let end = *numbers.last().unwrap();
            prop_assert!(numbers.iter().rev().take(100).all(|number| *number == end), "it swings: {numbers:?}");
            prop_assert!((1..=8).contains(&end));
        }
    }
}
