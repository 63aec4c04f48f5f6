//! The health of one process.
//!
//! ```text
//! Starting ──first good answers──► Healthy ◄──► Unready      (readiness)
//!     │ grace is over,                │
//!     └─ too many bad answers ──► Unhealthy                  (startup, liveness)
//! ```
//!
//! While a check cannot run ([`ProbeVerdict::Broken`]), its former verdict does not apply. The
//! state is then Broken unless another check fails.
//!
//! Bad answers within the grace period do not count. During that period, a process without a good
//! answer is checked more often: soon at first, then after twice as long each time. A fast app is
//! therefore soon known as healthy, and a slow app is not restarted.

use serde::{Deserialize, Serialize};

use crate::health::{Check, CheckPhase, HealthSpec, ProbeVerdict};

/// Time until the first check of a process.
const FIRST_MS: u64 = 100;

/// Health of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// Not known yet.
    #[default]
    Starting,
    /// All checks pass.
    Healthy,
    /// Alive, but it must get no new connections.
    Unready,
    /// It must be restarted.
    Unhealthy,
    /// A check cannot run, so the health is unknown. No action follows.
    Broken,
}

impl HealthState {
    /// Returns the word for users and scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unready => "unready",
            Self::Unhealthy => "unhealthy",
            Self::Broken => "broken",
        }
    }
}

/// Answers of one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Answers {
    /// Good answers in a row.
    good: u32,
    /// Bad answers in a row.
    bad: u32,
    /// Latest verdict.
    passed: Option<bool>,
    /// Whether the last attempt failed on the daemon's side. Until the next answer, the verdict
    /// does not apply.
    broken: bool,
}

impl Answers {
    fn take(&mut self, check: &Check, good: bool) {
        self.broken = false;
        if good {
            (self.good, self.bad) = (self.good.saturating_add(1), 0);
            if self.good >= check.successes {
                self.passed = Some(true);
            }
        } else {
            (self.good, self.bad) = (0, self.bad.saturating_add(1));
            if self.bad >= check.failures {
                self.passed = Some(false);
            }
        }
    }
}

/// Judge of one process from its start to its exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Monitor {
    grace_until_ms: u64,
    /// Start of the current checks: the start of the process, or the time at which its startup
    /// check passed.
    since_ms: u64,
    answers: [Answers; 3],
    heart_stopped: bool,
}

impl Monitor {
    /// Returns a monitor for a process that started at `started_ms`.
    pub fn new(health: &HealthSpec, started_ms: u64) -> Self {
        let usual = || health.startup.as_ref().or(health.liveness.as_ref()).map_or(0, |check| check.interval_ms);
        let grace_until_ms = started_ms.saturating_add(health.grace_ms.unwrap_or_else(usual));
        Self { grace_until_ms, since_ms: started_ms, answers: [Answers::default(); 3], heart_stopped: false }
    }

    /// Returns true if this check has to run now.
    pub fn is_active(&self, health: &HealthSpec, phase: CheckPhase) -> bool {
        let started = health.startup.is_none() || self.of(CheckPhase::Startup).passed == Some(true);
        health.check(phase).is_some() && started != (phase == CheckPhase::Startup)
    }

    /// Returns the time until the next check of this phase; at first it doubles each time.
    pub fn pause_ms(&self, health: &HealthSpec, phase: CheckPhase, now_ms: u64) -> u64 {
        let (interval_ms, delay_ms) = health.check(phase).map_or((FIRST_MS, 0), |check| (check.interval_ms.max(1), check.delay_ms));
        if self.is_eager(phase, now_ms) {
            // A pause as long as the time since the first check doubles that time.
            let asked_for_ms = now_ms.saturating_sub(self.since_ms.saturating_add(delay_ms));
            asked_for_ms.max(FIRST_MS).min(interval_ms)
        } else {
            interval_ms
        }
    }

    /// Returns true while the health is unknown and extra checks do no harm: no bad answer counts,
    /// or the process has just passed its startup check.
    pub fn is_eager(&self, phase: CheckPhase, now_ms: u64) -> bool {
        let Answers { bad, passed, .. } = *self.of(phase);
        let has_just_started = now_ms <= self.since_ms && self.of(CheckPhase::Startup).passed == Some(true);
        passed.is_none() && bad == 0 && (now_ms < self.grace_until_ms || has_just_started)
    }

    /// Takes the verdict on the running attempt, if any. Returns the new state if it changes.
    pub fn answered(&mut self, health: &HealthSpec, phase: CheckPhase, verdict: ProbeVerdict, now_ms: u64) -> Option<HealthState> {
        let check = health.check(phase).filter(|_| self.is_active(health, phase))?;
        let before = self.state(health);
        let forgiven = now_ms < self.grace_until_ms && self.of(phase).passed.is_none();
        let answers = &mut self.answers[phase as usize];
        match verdict {
            ProbeVerdict::Broken => answers.broken = true,
            ProbeVerdict::Bad if forgiven => (answers.good, answers.broken) = (0, false),
            verdict => answers.take(check, verdict == ProbeVerdict::Good),
        }
        if phase == CheckPhase::Startup && self.of(phase).passed == Some(true) {
            self.since_ms = now_ms;
        }
        self.news(health, before)
    }

    /// Takes a report of the heartbeat: the event loop hangs, or runs again. Returns the new state
    /// if it changes.
    pub fn heartbeat(&mut self, health: &HealthSpec, beats: bool) -> Option<HealthState> {
        let before = self.state(health);
        self.heart_stopped = !beats;
        self.news(health, before)
    }

    fn news(&self, health: &HealthSpec, before: HealthState) -> Option<HealthState> {
        let after = self.state(health);
        (after != before).then_some(after)
    }

    /// Returns the state.
    pub fn state(&self, health: &HealthSpec) -> HealthState {
        let failed = |phase| self.of(phase).passed == Some(false) && !self.of(phase).broken;
        if self.heart_stopped || failed(CheckPhase::Startup) || failed(CheckPhase::Liveness) {
            return HealthState::Unhealthy;
        }
        if failed(CheckPhase::Readiness) {
            return HealthState::Unready;
        }
        if self.answers.iter().any(|answers| answers.broken) {
            return HealthState::Broken;
        }
        let known = |phase: CheckPhase| health.check(phase).is_none() || self.of(phase).passed == Some(true);
        if CheckPhase::ALL.into_iter().all(known) { HealthState::Healthy } else { HealthState::Starting }
    }

    /// Returns the bad answers in a row of the phase with the most of them.
    pub fn failures(&self) -> u32 {
        self.answers.iter().map(|answers| answers.bad).max().unwrap_or(0)
    }

    fn of(&self, phase: CheckPhase) -> &Answers {
        &self.answers[phase as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::CheckMethod;
    use proptest::prelude::*;

    fn check(interval_ms: u64, failures: u32, successes: u32) -> Check {
        let ask = CheckMethod::Tcp { host: "localhost".into(), port: 1 };
        Check { method: ask, interval_ms, timeout_ms: 100, failures, successes, delay_ms: 0 }
    }

    fn verdict(good: bool) -> ProbeVerdict {
        if good { ProbeVerdict::Good } else { ProbeVerdict::Bad }
    }

    /// Returns `http: {interval: 30000}`: readiness after one bad answer, liveness after three.
    fn http() -> HealthSpec {
        HealthSpec { readiness: Some(check(30_000, 1, 1)), liveness: Some(check(30_000, 3, 1)), ..HealthSpec::default() }
    }

    /// Answers every check that runs at these times.
    fn play(health: &HealthSpec, answers: &[(u64, bool)]) -> Vec<HealthState> {
        let mut monitor = Monitor::new(health, 0);
        let mut states = Vec::new();
        for &(at, good) in answers {
            for phase in CheckPhase::ALL {
                monitor.answered(health, phase, verdict(good), at);
            }
            states.push(monitor.state(health));
        }
        states
    }

    #[test]
    fn answering_app_is_healthy_immediately() {
        assert_eq!(play(&http(), &[(100, true), (30_100, true)]), [HealthState::Healthy; 2]);
    }

    #[test]
    fn failures_within_the_grace_period_are_ignored() {
        use HealthState::{Healthy, Starting, Unhealthy, Unready};
        assert_eq!(play(&http(), &[(0, false), (1000, false), (29_999, false), (29_999, true)]), [Starting, Starting, Starting, Healthy]);
        assert_eq!(
            play(&http(), &[(29_999, false), (30_000, false), (60_000, false), (90_000, false)]),
            [Starting, Unready, Unready, Unhealthy]
        );
        let none = HealthSpec { grace_ms: Some(0), ..http() };
        assert_eq!(play(&none, &[(0, false), (1, false), (2, false)]), [Unready, Unready, Unhealthy]);
    }

    #[test]
    fn one_success_resets_the_failure_count() {
        use HealthState::{Healthy, Unhealthy, Unready};
        let answers = [(1, true), (2, false), (3, false), (4, true), (5, false), (6, false), (7, false), (8, true)];
        let states = play(&http(), &answers);
        // After the first good answer, the grace period is over.
        assert_eq!(states, [Healthy, Unready, Unready, Healthy, Unready, Unready, Unhealthy, Healthy]);
    }

    #[test]
    fn other_checks_wait_for_the_startup_check() {
        let health = HealthSpec { startup: Some(check(1000, 3, 2)), ..http() };
        let mut monitor = Monitor::new(&health, 0);
        let active = |monitor: &Monitor| CheckPhase::ALL.map(|phase| monitor.is_active(&health, phase));
        assert_eq!(active(&monitor), [true, false, false]);
        assert_eq!(monitor.answered(&health, CheckPhase::Liveness, ProbeVerdict::Bad, 1), None);
        assert_eq!(monitor.answered(&health, CheckPhase::Startup, ProbeVerdict::Good, 1), None);
        assert_eq!(active(&monitor), [true, false, false]);
        monitor.answered(&health, CheckPhase::Startup, ProbeVerdict::Good, 2);
        assert_eq!(active(&monitor), [false, true, true]);
        let mut never = Monitor::new(&health, 0);
        // For one interval, checks run more often, and their answers do not count.
        assert_eq!(never.answered(&health, CheckPhase::Startup, ProbeVerdict::Bad, 999), None);
        let states: Vec<_> = (1000..1003).map(|at| never.answered(&health, CheckPhase::Startup, ProbeVerdict::Bad, at)).collect();
        assert_eq!(states, [None, None, Some(HealthState::Unhealthy)]);
    }

    #[test]
    fn young_process_is_checked_with_growing_intervals() {
        let health = http();
        let monitor = Monitor::new(&health, 5000);
        let (mut at, mut asked) = (5000, Vec::new());
        while asked.len() < 11 {
            at += monitor.pause_ms(&health, CheckPhase::Liveness, at);
            asked.push(at - 5000);
        }
        assert_eq!(asked, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 81_200]);
        let mut monitor = Monitor::new(&health, 0);
        monitor.answered(&health, CheckPhase::Liveness, ProbeVerdict::Good, 120);
        assert_eq!(monitor.pause_ms(&health, CheckPhase::Liveness, 120), 30_000);
        // Checks do not run more often than the app sets, or before their delay.
        let quick = HealthSpec { liveness: Some(check(50, 3, 1)), ..HealthSpec::default() };
        assert_eq!(Monitor::new(&quick, 0).pause_ms(&quick, CheckPhase::Liveness, 10), 50);
        let delayed = Check { delay_ms: 10_000, ..check(5000, 3, 1) };
        let delayed = HealthSpec { liveness: Some(delayed), grace_ms: Some(60_000), ..HealthSpec::default() };
        assert_eq!(Monitor::new(&delayed, 0).pause_ms(&delayed, CheckPhase::Liveness, 10_000), 100);
        assert_eq!(Monitor::new(&delayed, 0).pause_ms(&delayed, CheckPhase::Liveness, 10_400), 400);
        // If bad answers count, checks run no faster.
        let strict = HealthSpec { grace_ms: Some(0), ..http() };
        assert_eq!(Monitor::new(&strict, 0).pause_ms(&strict, CheckPhase::Readiness, 0), 30_000);
        // The checks after the startup check start from their first interval.
        let health = HealthSpec { startup: Some(check(1000, 3, 1)), ..http() };
        let mut monitor = Monitor::new(&health, 0);
        assert_eq!(monitor.pause_ms(&health, CheckPhase::Startup, 600), 600);
        monitor.answered(&health, CheckPhase::Startup, ProbeVerdict::Good, 70_000);
        assert_eq!(monitor.pause_ms(&health, CheckPhase::Liveness, 70_000), 100);
        monitor.answered(&health, CheckPhase::Readiness, ProbeVerdict::Bad, 70_100);
        assert_eq!(monitor.pause_ms(&health, CheckPhase::Readiness, 70_100), 30_000);
    }

    #[test]
    fn broken_check_never_makes_an_app_unhealthy() {
        use ProbeVerdict::{Bad, Broken, Good};
        let health = HealthSpec { grace_ms: Some(0), ..http() };
        for (verdicts, expected) in [
            // After any number of them, the process stays and keeps its connections.
            (&[Broken, Broken, Broken, Broken][..], HealthState::Broken),
            (&[Good, Broken, Broken, Broken, Broken], HealthState::Broken),
            (&[Broken, Good], HealthState::Healthy),
            // It is no bad answer, and it does not interrupt a series of them.
            (&[Bad, Bad, Broken], HealthState::Broken),
            (&[Bad, Bad, Broken, Bad], HealthState::Unhealthy),
            (&[Bad, Bad, Broken, Good], HealthState::Healthy),
            // The earlier verdict cannot be verified any more.
            (&[Bad, Bad, Bad, Broken], HealthState::Broken),
        ] {
            let mut monitor = Monitor::new(&health, 0);
            for (at, verdict) in verdicts.iter().enumerate() {
                for phase in CheckPhase::ALL {
                    monitor.answered(&health, phase, *verdict, at as u64);
                }
            }
            assert_eq!(monitor.state(&health), expected, "{verdicts:?}");
        }
        // A failed check counts even if another check is broken.
        let mut monitor = Monitor::new(&health, 0);
        monitor.answered(&health, CheckPhase::Readiness, Broken, 1);
        for at in 1..4 {
            monitor.answered(&health, CheckPhase::Liveness, Bad, at);
        }
        assert_eq!(monitor.state(&health), HealthState::Unhealthy);
        // Within the grace period, too.
        let mut young = Monitor::new(&http(), 0);
        assert_eq!(young.answered(&http(), CheckPhase::Liveness, Broken, 1), Some(HealthState::Broken));
        assert_eq!(young.answered(&http(), CheckPhase::Liveness, Bad, 2), Some(HealthState::Starting));
    }

    #[test]
    fn missed_heartbeat_makes_an_app_unhealthy() {
        let health = HealthSpec { heartbeat_ms: Some(1000), ..HealthSpec::default() };
        let mut monitor = Monitor::new(&health, 0);
        assert_eq!(monitor.state(&health), HealthState::Healthy);
        assert_eq!(monitor.heartbeat(&health, false), Some(HealthState::Unhealthy));
        assert_eq!(monitor.heartbeat(&health, false), None);
        assert_eq!(monitor.heartbeat(&health, true), Some(HealthState::Healthy));
    }

    proptest! {
        /// Unhealthy needs this many bad answers in a row, the last of them after the grace period.
        /// One good answer always ends it.
        #[test]
        fn unhealthy_needs_enough_consecutive_failures(
            failures in 1..5_u32, successes in 1..4_u32, grace in 0..50_u64,
            answers in prop::collection::vec(any::<bool>(), 1..80),
        ) {
            let health = HealthSpec { liveness: Some(check(1, failures, successes)), grace_ms: Some(grace), ..HealthSpec::default() };
            let mut monitor = Monitor::new(&health, 0);
            let (mut bad, mut good) = (0, 0);
            for (at, answer) in answers.into_iter().enumerate() {
                let before = monitor.state(&health);
                let change = monitor.answered(&health, CheckPhase::Liveness, verdict(answer), at as u64);
                (bad, good) = if answer { (0, good + 1) } else { (bad + 1, 0) };
                let after = monitor.state(&health);
                prop_assert_eq!(change, (after != before).then_some(after));
                if after == HealthState::Unhealthy && before != HealthState::Unhealthy {
                    prop_assert!(bad >= failures);
                    prop_assert!(at as u64 >= grace || before == HealthState::Healthy);
                }
                if after == HealthState::Healthy && before != HealthState::Healthy {
                    prop_assert!(good >= successes);
                }
                prop_assert!(bad < failures || (at as u64) < grace + u64::from(failures) || after == HealthState::Unhealthy);
            }
        }
    }
}
