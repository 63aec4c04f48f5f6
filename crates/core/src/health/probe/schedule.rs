//! Schedule of the attempts of a probe.

use super::ProbeRequest;

/// State of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Waiting until this time (`mono_ms`).
    Waiting {
        /// The time.
        until_ms: u64,
    },
    /// An attempt is in progress, and its answer is read at this time.
    Patient {
        /// The time.
        read_ms: u64,
        /// It has failed when this time passes.
        deadline_ms: u64,
    },
    /// An attempt is in progress, and its socket is watched.
    Trying {
        /// It has failed when this time (`mono_ms`) passes.
        deadline_ms: u64,
    },
}

/// Action that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeAction {
    /// Nothing yet.
    Nothing,
    /// Begin an attempt.
    Begin,
    /// Read the bytes that have arrived, and watch the socket for the rest.
    Read,
    /// The attempt took too long: end it.
    Abort,
}

impl Schedule {
    /// Returns a schedule whose first attempt is at this time.
    pub fn new(first_ms: u64) -> Self {
        Self::Waiting { until_ms: first_ms }
    }

    /// Returns the time at which [`Schedule::tick`] has something to do.
    pub fn due_ms(&self) -> u64 {
        match *self {
            Self::Waiting { until_ms } => until_ms,
            Self::Patient { read_ms: look_ms, .. } => look_ms,
            Self::Trying { deadline_ms } => deadline_ms,
        }
    }

    /// Returns true while the socket need not be watched, because the answer is read later.
    pub fn is_patient(&self) -> bool {
        matches!(self, Self::Patient { .. })
    }

    /// Returns the action that is due at `now_ms`.
    pub fn tick(&mut self, question: &ProbeRequest, now_ms: u64) -> ProbeAction {
        match *self {
            _ if now_ms < self.due_ms() => ProbeAction::Nothing,
            Self::Waiting { .. } => {
                let deadline_ms = now_ms.saturating_add(question.timeout_ms);
                let look_ms = now_ms.saturating_add(question.patience_ms);
                let is_patient = look_ms > now_ms && look_ms < deadline_ms;
                *self = if is_patient { Self::Patient { read_ms: look_ms, deadline_ms } } else { Self::Trying { deadline_ms } };
                ProbeAction::Begin
            }
            // This also applies if the tick comes after the deadline: an answer that has already
            // arrived counts as on time.
            Self::Patient { deadline_ms, .. } => {
                *self = Self::Trying { deadline_ms };
                ProbeAction::Read
            }
            Self::Trying { .. } => {
                self.failed(question, now_ms);
                ProbeAction::Abort
            }
        }
    }

    /// Records that the attempt failed.
    pub fn failed(&mut self, question: &ProbeRequest, now_ms: u64) {
        *self = Self::Waiting { until_ms: now_ms.saturating_add(question.interval_ms) };
    }
}

/// Steps to which times are rounded; each is a multiple of those below.
const STEPS_MS: [u64; 5] = [1000, 500, 100, 50, 10];
/// Part of the interval that a step may be; a time may be moved by half a step.
const STEPS_IN_INTERVAL: u64 = 10;

/// Rounds a time so that checks with a similar interval run at the same time, with one wake-up for
/// all.
pub fn together(at_ms: u64, interval_ms: u64) -> u64 {
    let step = STEPS_MS.into_iter().find(|step| step * STEPS_IN_INTERVAL <= interval_ms).unwrap_or(1);
    at_ms.saturating_add(step / 2) / step * step
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn question(patience_ms: u64) -> ProbeRequest {
        ProbeRequest { host: "localhost".into(), port: 1, http: None, interval_ms: 100, timeout_ms: 50, patience_ms }
    }

    #[test]
    fn attempts_time_out_and_repeat_at_the_interval() {
        let question = question(0);
        let mut schedule = Schedule::new(1000);
        assert_eq!(schedule.tick(&question, 999), ProbeAction::Nothing);
        assert_eq!(schedule.tick(&question, 1000), ProbeAction::Begin);
        assert_eq!(schedule.due_ms(), 1050);
        assert_eq!(schedule.tick(&question, 1049), ProbeAction::Nothing);
        assert_eq!(schedule.tick(&question, 1050), ProbeAction::Abort);
        assert_eq!(schedule.due_ms(), 1150);
        assert_eq!(schedule.tick(&question, 1150), ProbeAction::Begin);
        schedule.failed(&question, 1160);
        assert_eq!(schedule.tick(&question, 1259), ProbeAction::Nothing);
        assert_eq!(schedule.tick(&question, 1260), ProbeAction::Begin);
    }

    #[test]
    fn patient_probe_polls_once_before_its_timeout() {
        let patient = question(10);
        let mut schedule = Schedule::new(1000);
        assert_eq!(schedule.tick(&patient, 1000), ProbeAction::Begin);
        assert!(schedule.is_patient());
        assert_eq!(schedule.tick(&patient, 1009), ProbeAction::Nothing);
        assert_eq!(schedule.tick(&patient, 1010), ProbeAction::Read);
        assert!(!schedule.is_patient());
        assert_eq!(schedule.tick(&patient, 1049), ProbeAction::Nothing);
        assert_eq!(schedule.tick(&patient, 1050), ProbeAction::Abort);
        // The daemon was suspended.
        assert_eq!(schedule.tick(&patient, 1150), ProbeAction::Begin);
        assert_eq!(schedule.tick(&patient, 9000), ProbeAction::Read);
        assert_eq!(schedule.tick(&patient, 9000), ProbeAction::Abort);
        // Not longer than an answer may take.
        let mut schedule = Schedule::new(0);
        assert_eq!(schedule.tick(&question(50), 0), ProbeAction::Begin);
        assert_eq!(schedule, Schedule::Trying { deadline_ms: 50 });
    }

    #[test]
    fn probes_with_similar_intervals_are_aligned() {
        for (at, interval, expected) in [
            (12_345, 5000, 12_500),
            (12_249, 5000, 12_000),
            (12_345, 30_000, 12_000),
            (12_345, 1000, 12_300),
            (12_345, 500, 12_350),
            (12_345, 100, 12_350),
            (12_345, 99, 12_345),
            (0, 5000, 0),
            (u64::MAX, 5000, u64::MAX / 500 * 500),
        ] {
            assert_eq!(together(at, interval), expected, "{at} {interval}");
        }
    }

    proptest! {
        /// A slow answer does not lengthen the interval, and no check runs much too early or too
        /// late.
        #[test]
        fn alignment_keeps_the_interval(first in 0_u64..1_000_000, interval in 10_u64..100_000, took in 0_u64..3) {
            let mut at = together(first, interval);
            for _ in 0..20 {
                let next = together(at + took + interval, interval);
                prop_assert!((at + took + interval).abs_diff(next) <= interval / 20);
                at = next;
            }
            if interval % 1000 == 0 {
                prop_assert_eq!(at, together(first, interval) + 20 * interval);
            }
        }
    }
}
