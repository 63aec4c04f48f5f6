//! `max_cpu`: mean CPU use above a limit over a window. It is reported after half of the window and
//! acted on after all of it.

use std::collections::VecDeque;

use crate::health::limits::CpuLimit;

/// Readings kept per window.
const STEPS: u64 = 12;

/// Verdict of a reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CpuVerdict {
    /// Too much for half of the window; reported once.
    Warn {
        /// Mean use, percent of one core.
        percent: f64,
    },
    /// Too much for the whole window.
    Exceeded {
        /// Mean use, percent of one core.
        percent: f64,
    },
}

/// The CPU time of one process tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuWatch {
    /// Time and CPU time, the oldest first.
    readings: VecDeque<(u64, u64)>,
    warned: bool,
}

impl CpuWatch {
    /// Returns the useful time between two readings.
    pub fn interval_ms(limit: &CpuLimit) -> u64 {
        (limit.window_ms / STEPS).clamp(100, 5000)
    }

    /// Takes a reading: CPU time used since the start. `allowed` is in percent of one core.
    pub fn take(&mut self, limit: &CpuLimit, allowed: f64, now_ms: u64, cpu_ns: u64) -> Option<CpuVerdict> {
        // A process that exits between two readings takes its CPU time along. That must not look
        // like permanent idleness.
        if self.readings.back().is_some_and(|(_, last)| cpu_ns < *last) {
            self.readings.clear();
        }
        if self.readings.back().is_none_or(|(at, _)| now_ms.saturating_sub(*at) >= Self::interval_ms(limit) / 2) {
            self.readings.push_back((now_ms, cpu_ns));
        }
        // The window begins at the newest reading that is at least a window old.
        while self.readings.get(1).is_some_and(|(at, _)| now_ms.saturating_sub(*at) >= limit.window_ms) {
            self.readings.pop_front();
        }
        if let Some(percent) = self.mean(limit.window_ms, now_ms, cpu_ns).filter(|percent| *percent > allowed) {
            return Some(CpuVerdict::Exceeded { percent });
        }
        let half = self.mean(limit.window_ms / 2, now_ms, cpu_ns);
        let over = half.filter(|percent| *percent > allowed);
        let news = over.is_some() && !self.warned;
        if half.is_some() {
            self.warned = over.is_some();
        }
        over.filter(|_| news).map(|percent| CpuVerdict::Warn { percent })
    }

    /// Returns the mean use over the last `span_ms`; none if the readings do not cover that span.
    fn mean(&self, span_ms: u64, now_ms: u64, cpu_ns: u64) -> Option<f64> {
        let since = |at: u64| now_ms.saturating_sub(at);
        let (at, used) = self.readings.iter().rev().find(|(at, _)| since(*at) >= span_ms.max(1))?;
        Some(cpu_ns.saturating_sub(*used) as f64 / 1e4 / since(*at) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: CpuLimit = CpuLimit { percent: 80, of_machine: false, window_ms: 60_000 };

    /// Plays pairs of a use in percent and a number of seconds, with a reading every second.
    fn play(parts: &[(u64, u64)]) -> Vec<(u64, CpuVerdict)> {
        let mut watch = CpuWatch::default();
        let (mut now, mut used, mut told) = (0, 0, Vec::new());
        for &(seconds, percent) in parts {
            for _ in 0..seconds {
                told.extend(watch.take(&LIMIT, 80.0, now, used).map(|verdict| (now / 1000, verdict)));
                now += 1000;
                used += percent * 10_000_000;
            }
        }
        told
    }

    #[test]
    fn busy_app_is_warned_at_half_window_and_over_at_full_window() {
        let verdicts = play(&[(62, 100)]);
        assert_eq!(verdicts.len(), 3, "{verdicts:?}");
        assert_eq!(verdicts[0], (30, CpuVerdict::Warn { percent: 100.0 }));
        assert_eq!(verdicts[1], (60, CpuVerdict::Exceeded { percent: 100.0 }));
    }

    #[test]
    fn short_cpu_peak_is_ignored() {
        assert_eq!(play(&[(100, 10), (10, 200), (200, 10)]), []);
        assert_eq!(play(&[(300, 79)]), []);
    }

    #[test]
    fn each_long_peak_warns_once() {
        let verdicts = play(&[(60, 0), (44, 90), (90, 0), (44, 90), (90, 0)]);
        assert_eq!(verdicts.len(), 2, "{verdicts:?}");
        assert!(verdicts.iter().all(|(_, verdict)| matches!(verdict, CpuVerdict::Warn { .. })));
    }

    proptest! {
        #[test]
        fn readings_are_bounded_and_never_panic(readings in prop::collection::vec((0..500_000_u64, any::<u64>()), 0..200), window in 0..100_000_u64) {
            let limit = CpuLimit { window_ms: window, ..LIMIT };
            let mut watch = CpuWatch::default();
            let mut now = 0;
            for (step, cpu) in readings {
                now += step;
                let _ = watch.take(&limit, 80.0, now, cpu);
                prop_assert!(watch.readings.len() <= 64 + 2 * STEPS as usize);
            }
        }
    }
}
