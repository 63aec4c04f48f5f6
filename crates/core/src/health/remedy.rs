//! Remedies for a process that is unhealthy or uses too much, and the condition for their end. This
//! module decides; the daemon acts.

use crate::health::Action;
use crate::lifecycle::{Instance, InstanceState as Life, PolicyName};

use super::HealthState;

/// Reason for a remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemedyCause {
    /// Its checks fail, or its event loop hangs.
    Health,
    /// It uses too much memory.
    Memory,
    /// It uses too much CPU.
    Cpu,
    /// It reports too many errors.
    Errors,
}

impl RemedyCause {
    /// Returns the word for users and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Errors => "errors",
        }
    }
}

impl From<RemedyCause> for PolicyName {
    /// Returns the policy that acts for this cause.
    fn from(cause: RemedyCause) -> Self {
        match cause {
            RemedyCause::Health => Self::Health,
            RemedyCause::Memory => Self::Memory,
            RemedyCause::Cpu => Self::Cpu,
            RemedyCause::Errors => Self::Errors,
        }
    }
}

/// Facts about a process that needs a remedy.
#[derive(Clone, Copy, Debug)]
pub struct RemedyInput {
    /// The reason.
    pub cause: RemedyCause,
    /// Action that its app declares for an unhealthy process.
    pub action: Action,
    /// Whether its app wants it stopped as if it had crashed.
    pub autokill: bool,
    /// Whether the restart policy allows another restart.
    pub may_restart: bool,
    /// Whether another process of its app can serve at the same time.
    pub overlaps: bool,
    /// Whether a new process was started beside it and did not become ready.
    pub candidate_failed: bool,
    /// Time (`mono_ms`) before which it may not be replaced, because a recent replacement is too
    /// close ([`super::Pace`]).
    pub not_before_ms: u64,
}

/// Remedy for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// No action before this time.
    Wait(u64),
    /// It is stopped as if it had crashed, and the restart policy decides.
    Fail,
    /// A new process starts beside it, and replaces it when ready.
    Replace,
    /// It is restarted.
    Restart,
    /// It is stopped now, and the next process starts at this time.
    RestartAt(u64),
}

impl RemedyInput {
    /// Returns the remedy to apply now.
    pub fn remedy(&self, now_ms: u64) -> Remedy {
        let has_to_wait = self.not_before_ms > now_ms;
        let keeps_old = self.cause == RemedyCause::Health && self.action == Action::Reload;
        if has_to_wait && self.cause != RemedyCause::Memory {
            Remedy::Wait(self.not_before_ms)
        } else if self.autokill || !self.may_restart {
            Remedy::Fail
        } else if has_to_wait {
            // A process that uses too much memory would use more while it waits.
            Remedy::RestartAt(self.not_before_ms)
        } else if keeps_old || (self.overlaps && !self.candidate_failed) {
            Remedy::Replace
        } else {
            Remedy::Restart
        }
    }
}

/// Returns true if other instances need not wait for a replacement of this instance any more.
/// `is_same` is true while the old process still serves; `health` is set if the health of the
/// present process is known.
pub fn is_complete(instance: &Instance, is_same: bool, health: Option<HealthState>) -> bool {
    match instance.state {
        // Its next start waits; other instances need not.
        Life::Stopped | Life::Errored | Life::Gone | Life::Backoff { .. } => true,
        // The same process keeps running, because no new process became ready beside it.
        Life::Running { .. } => is_same || health.is_none_or(|health| health != HealthState::Starting),
        Life::Waiting { .. }
        | Life::Preparing { .. }
        | Life::Spawning { .. }
        | Life::Starting { .. }
        | Life::Completing { .. }
        | Life::Leaving { .. }
        | Life::Draining { .. }
        | Life::Stopping { .. }
        | Life::Clearing { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: RemedyInput = RemedyInput {
        cause: RemedyCause::Health,
        action: Action::Restart,
        autokill: false,
        may_restart: true,
        overlaps: true,
        candidate_failed: false,
        not_before_ms: 0,
    };

    #[test]
    fn remedy_depends_on_action_cause_and_pace() {
        let late = 2000;
        for (case, remedy) in [
            (CASE, Remedy::Replace),
            (RemedyInput { overlaps: false, ..CASE }, Remedy::Restart),
            (RemedyInput { candidate_failed: true, ..CASE }, Remedy::Restart),
            // A reload keeps the old process, even if the two cannot serve at the same time.
            (RemedyInput { action: Action::Reload, candidate_failed: true, overlaps: false, ..CASE }, Remedy::Replace),
            (RemedyInput { action: Action::Reload, candidate_failed: true, cause: RemedyCause::Cpu, ..CASE }, Remedy::Restart),
            (RemedyInput { autokill: true, ..CASE }, Remedy::Fail),
            (RemedyInput { may_restart: false, ..CASE }, Remedy::Fail),
            (RemedyInput { not_before_ms: late, ..CASE }, Remedy::Wait(late)),
            (RemedyInput { not_before_ms: late, autokill: true, ..CASE }, Remedy::Wait(late)),
            (RemedyInput { not_before_ms: late, cause: RemedyCause::Errors, ..CASE }, Remedy::Wait(late)),
            (RemedyInput { not_before_ms: late, cause: RemedyCause::Memory, ..CASE }, Remedy::RestartAt(late)),
            (RemedyInput { not_before_ms: late, cause: RemedyCause::Memory, may_restart: false, ..CASE }, Remedy::Fail),
            (RemedyInput { not_before_ms: 1000, ..CASE }, Remedy::Replace),
        ] {
            assert_eq!(case.remedy(1000), remedy, "{case:?}");
        }
    }

    #[test]
    fn replacement_is_over_when_the_new_process_has_a_verdict() {
        let mut instance = Instance::new(crate::time::Now::at(0));
        assert!(is_complete(&instance, false, None), "nothing runs, and nothing is to");
        instance.state = Life::Running { inc: 2, pid: 5, since: crate::time::Now::at(0) };
        for (is_same, health, over) in [
            (true, Some(HealthState::Unhealthy), true),
            (false, Some(HealthState::Starting), false),
            (false, Some(HealthState::Healthy), true),
            (false, Some(HealthState::Unhealthy), true),
            (false, None, true),
        ] {
            assert_eq!(is_complete(&instance, is_same, health), over, "{is_same} {health:?}");
        }
    }
}
