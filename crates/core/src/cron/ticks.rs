//! Ticks of a schedule: the next tick, and the action when it is due (or overdue).

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::{CronSpec, Overlap, Schedule};
use crate::lifecycle::{DesiredState, Instance, InstanceState};

/// Largest delay of a tick that still runs. It covers a busy machine, a replaced daemon and a small
/// clock correction.
pub const LATE_MS: u64 = 60_000;

/// The ticks of one instance; part of its record in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Ticks {
    /// Whether ticks count. A stop by a user disarms them; a start arms them.
    pub armed: bool,
    /// Time of the next tick, by the wall clock; `None` = not known yet, or no tick will come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<u64>,
    /// Time of the last tick that was due.
    #[serde(skip_serializing_if = "is_zero")]
    pub last_ms: u64,
    /// Whether a run waits for the end of the present run.
    #[serde(skip_serializing_if = "is_false")]
    pub queued: bool,
}

/// A tick that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Its time.
    pub due_ms: u64,
    /// Whether it is too late, so it is skipped.
    pub missed: bool,
}

/// Action at a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTick {
    /// Start: no process runs.
    Start,
    /// Restart: stop the running process, then start.
    Restart,
    /// Queue: start after the running process has exited.
    Queue,
    /// Skip: a process runs.
    Skip,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Ticks {
    /// Reads the wall clock: at start, when a tick is due, and whenever the clock was set. Returns
    /// the tick that was due, at most one even if several have passed, and schedules the next one.
    pub fn advance(&mut self, schedule: &Schedule, zone: &TimeZone, now_ms: u64, catch_up: bool) -> Option<Tick> {
        if !self.armed {
            return None;
        }
        let due = self.next_ms.filter(|next| *next <= now_ms);
        if let Some(due_ms) = due {
            self.last_ms = due_ms;
        }
        self.next_ms = schedule.next_after(now_ms, zone);
        // A clock that was set back a little shows the same second twice. A pattern that runs all
        // the time continues.
        if (now_ms..=now_ms.saturating_add(LATE_MS)).contains(&self.last_ms) {
            let after_last = schedule.next_after(self.last_ms, zone);
            if after_last.is_none_or(|next| next - self.last_ms > LATE_MS) {
                self.next_ms = after_last;
            }
        }
        due.map(|due_ms| Tick { due_ms, missed: !catch_up && now_ms - due_ms > LATE_MS })
    }

    /// Returns true if there is nothing to store: the app has no schedule, or the schedule never
    /// began.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// Arms the ticks. Returns false if they were armed already.
    pub fn arm(&mut self) -> bool {
        !std::mem::replace(&mut self.armed, true)
    }

    /// Disarms the ticks. Returns false if they were not armed.
    pub fn disarm(&mut self) -> bool {
        let was_armed = self.armed;
        *self = Self { last_ms: self.last_ms, ..Self::default() };
        was_armed
    }

    /// Returns the part to keep over a reboot. It includes the time of the next tick only if missed
    /// runs are started late.
    #[must_use]
    pub fn saved(self, catch_up: bool) -> Self {
        Self { armed: self.armed, next_ms: self.next_ms.filter(|_| catch_up), last_ms: 0, queued: false }
    }
}

impl CronSpec {
    /// Decides the action of a tick on an instance.
    pub fn on_tick(&self, instance: &Instance) -> OnTick {
        let waits = matches!(instance.state, InstanceState::Backoff { .. });
        let rests = match instance.state {
            InstanceState::Stopped | InstanceState::Errored | InstanceState::Gone => true,
            // It is stopping, and no start is planned.
            InstanceState::Leaving { .. }
            | InstanceState::Draining { .. }
            | InstanceState::Stopping { .. }
            | InstanceState::Clearing { .. } => instance.wanted != DesiredState::Up,
            InstanceState::Waiting { .. }
            | InstanceState::Preparing { .. }
            | InstanceState::Spawning { .. }
            | InstanceState::Starting { .. }
            | InstanceState::Completing { .. }
            | InstanceState::Running { .. }
            | InstanceState::Backoff { .. } => false,
        };
        match self.overlap {
            _ if rests => OnTick::Start,
            // An app that is kept running waits for its next start, and this tick is that start.
            // The retry of a job is part of its run.
            _ if waits && self.job.is_none() => OnTick::Restart,
            Overlap::Kill => OnTick::Restart,
            Overlap::Queue => OnTick::Queue,
            Overlap::Skip => OnTick::Skip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cron::RunOn;
    use crate::lifecycle::AfterStop;
    use crate::time::Now;

    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;

    fn hourly() -> Schedule {
        Schedule::parse("0 * * * *").unwrap()
    }

    fn look(ticks: &mut Ticks, now_ms: u64) -> Option<Tick> {
        ticks.advance(&hourly(), &TimeZone::UTC, now_ms, false)
    }

    fn armed_at(now_ms: u64) -> Ticks {
        let mut ticks = Ticks::default();
        assert!(ticks.arm() && !ticks.arm());
        assert_eq!(look(&mut ticks, now_ms), None);
        ticks
    }

    #[test]
    fn ticks_follow_the_schedule() {
        let mut ticks = armed_at(1);
        for hour in 1..5 {
            assert_eq!(ticks.next_ms, Some(hour * HOUR));
            assert_eq!(look(&mut ticks, hour * HOUR - 1), None);
            assert_eq!(look(&mut ticks, hour * HOUR + 5), Some(Tick { due_ms: hour * HOUR, missed: false }));
            assert_eq!(look(&mut ticks, hour * HOUR + 5), None);
        }
    }

    #[test]
    fn late_tick_runs_very_late_tick_is_missed_and_ticks_merge() {
        for (now_ms, missed) in [(HOUR + LATE_MS, false), (HOUR + LATE_MS + 1, true), (1000 * HOUR + 5, true)] {
            let mut ticks = armed_at(1);
            let mut patient = ticks;
            assert_eq!(look(&mut ticks, now_ms), Some(Tick { due_ms: HOUR, missed }));
            assert_eq!(ticks.next_ms, Some((now_ms / HOUR + 1) * HOUR));
            assert_eq!(patient.advance(&hourly(), &TimeZone::UTC, now_ms, true), Some(Tick { due_ms: HOUR, missed: false }));
            assert_eq!(patient, ticks);
        }
    }

    #[test]
    fn clock_set_back_does_not_repeat_recent_ticks() {
        let mut ticks = armed_at(9 * HOUR + 1);
        assert!(look(&mut ticks, 10 * HOUR + 7).is_some());
        // The clock goes back a little: the same tick does not repeat.
        let mut little = ticks;
        assert_eq!(look(&mut little, 10 * HOUR - LATE_MS), None);
        assert_eq!(little.next_ms, Some(11 * HOUR));
        // The clock goes back a lot: the schedule continues from the new time.
        assert_eq!(look(&mut ticks, 2 * HOUR + 1), None);
        assert_eq!(ticks.next_ms, Some(3 * HOUR));
        // Every ten seconds: it continues immediately.
        let often = Schedule::parse("*/10 * * * * *").unwrap();
        let mut ticks = Ticks { armed: true, ..Ticks::default() };
        ticks.advance(&often, &TimeZone::UTC, HOUR - 1, false);
        assert!(ticks.advance(&often, &TimeZone::UTC, HOUR, false).is_some());
        ticks.advance(&often, &TimeZone::UTC, HOUR - 40_000, false);
        assert_eq!(ticks.next_ms, Some(HOUR - 30_000));
    }

    #[test]
    fn disarm_cancels_due_and_queued_ticks() {
        let mut ticks = armed_at(1);
        ticks.queued = true;
        assert!(ticks.disarm() && !ticks.disarm());
        assert_eq!(look(&mut ticks, 5 * HOUR), None);
        assert_eq!((ticks.next_ms, ticks.queued), (None, false));
        // A tick that was due while the ticks were disarmed is not started late.
        ticks.arm();
        assert_eq!(look(&mut ticks, 5 * HOUR), None);
        assert_eq!(ticks.next_ms, Some(6 * HOUR));
    }

    #[test]
    fn overlap_policy_decides_the_action_of_a_tick() {
        let now = Now::at(1);
        let spec = |overlap, job| CronSpec { pattern: "* * * * *".into(), zone: None, overlap, catch_up: false, run_on: RunOn::All, job };
        let in_state = |state, wanted| Instance { state, wanted, ..Instance::new(now) };
        let running = in_state(InstanceState::Running { inc: 1, pid: 1, since: now }, DesiredState::Up);
        let stopping = |wanted| {
            let next = AfterStop::default();
            let (cause, inc, pid) = (crate::lifecycle::Origin::Shutdown, 1, 1);
            in_state(
                InstanceState::Stopping { inc, pid, since: now, deadline_ms: 5, killed: false, leader_gone: false, cause, next },
                wanted,
            )
        };
        let retrying = in_state(InstanceState::Backoff { until_ms: 5 }, DesiredState::Up);
        for (overlap, busy) in [(Overlap::Kill, OnTick::Restart), (Overlap::Queue, OnTick::Queue), (Overlap::Skip, OnTick::Skip)] {
            for job in [None, Some(super::super::JobSpec::default())] {
                let spec = spec(overlap, job.clone());
                assert_eq!(spec.on_tick(&running), busy);
                assert_eq!(spec.on_tick(&stopping(DesiredState::Up)), busy);
                for rests in [
                    in_state(InstanceState::Stopped, DesiredState::Down),
                    in_state(InstanceState::Errored, DesiredState::Down),
                    stopping(DesiredState::Down),
                ] {
                    assert_eq!(spec.on_tick(&rests), OnTick::Start);
                }
                assert_eq!(spec.on_tick(&retrying), if job.is_some() { busy } else { OnTick::Restart });
            }
        }
    }
}
