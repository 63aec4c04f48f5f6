//! Remedies for a process that is not well or uses too much, and when they are over: decisions only, the daemon acts.

use crate::health::Action;
use crate::lifecycle::{Instance, PolicyName, State as Life};

use super::State;

/// Reason why something has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its checks fail, or its event loop stands still.
    Health,
    /// It uses too much memory.
    Memory,
    /// It uses too much CPU.
    Cpu,
    /// It reports too many errors.
    Errors,
}

impl Cause {
    /// The word for people and records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Errors => "errors",
        }
    }
}

impl From<Cause> for PolicyName {
    /// The policy that acts for this cause.
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Health => Self::Health,
            Cause::Memory => Self::Memory,
            Cause::Cpu => Self::Cpu,
            Cause::Errors => Self::Errors,
        }
    }
}

/// Facts about a process for which something has to be done.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The reason.
    pub cause: Cause,
    /// The action that its app declares for a process that is not well.
    pub action: Action,
    /// Whether its app wants it ended as if it had crashed.
    pub autokill: bool,
    /// Whether the restart policy has a restart left for it.
    pub may_restart: bool,
    /// Whether another process of its app can serve beside it.
    pub overlaps: bool,
    /// Whether one was started beside it and did not become ready.
    pub beside_failed: bool,
    /// The time (`mono_ms`) before which it may not be replaced, because it was a short time ago ([`super::Pace`]).
    pub not_before_ms: u64,
}

/// Remedy for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing before this time.
    Wait(u64),
    /// It ends as if it had crashed, and the restart policy decides.
    Fail,
    /// A new process is started beside it, and takes its place when it is ready.
    Replace,
    /// It is restarted.
    Restart,
    /// It ends now, and the next process starts at this time.
    RestartAt(u64),
}

impl Case {
    /// Decides what is to be done now.
    pub fn remedy(&self, now_ms: u64) -> Remedy {
        let has_to_wait = self.not_before_ms > now_ms;
        let keeps_old = self.cause == Cause::Health && self.action == Action::Reload;
        if has_to_wait && self.cause != Cause::Memory {
            Remedy::Wait(self.not_before_ms)
        } else if self.autokill || !self.may_restart {
            Remedy::Fail
        } else if has_to_wait {
            // What takes too much memory takes more while it waits for its turn.
            Remedy::RestartAt(self.not_before_ms)
        } else if keeps_old || (self.overlaps && !self.beside_failed) {
            Remedy::Replace
        } else {
            Remedy::Restart
        }
    }
}

/// True when nobody has to wait any more for a replacement of this instance: `is_same` while the process that was to be replaced still serves,
/// `health` where that of the present process is known.
pub fn is_over(instance: &Instance, is_same: bool, health: Option<State>) -> bool {
    match instance.state {
        // Its next start waits, nobody else has to.
        Life::Stopped | Life::Errored | Life::Gone | Life::Backoff { .. } => true,
        // The same: it runs on, as nobody came up beside it.
        Life::Running { .. } => is_same || health.is_none_or(|health| health != State::Starting),
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

    const CASE: Case = Case {
        cause: Cause::Health,
        action: Action::Restart,
        autokill: false,
        may_restart: true,
        overlaps: true,
        beside_failed: false,
        not_before_ms: 0,
    };

    #[test]
    fn remedy_depends_on_action_cause_and_pace() {
        let late = 2000;
        for (case, remedy) in [
            (CASE, Remedy::Replace),
            (Case { overlaps: false, ..CASE }, Remedy::Restart),
            (Case { beside_failed: true, ..CASE }, Remedy::Restart),
            // A reload leaves the old one, whatever can be beside it.
            (Case { action: Action::Reload, beside_failed: true, overlaps: false, ..CASE }, Remedy::Replace),
            (Case { action: Action::Reload, beside_failed: true, cause: Cause::Cpu, ..CASE }, Remedy::Restart),
            (Case { autokill: true, ..CASE }, Remedy::Fail),
            (Case { may_restart: false, ..CASE }, Remedy::Fail),
            (Case { not_before_ms: late, ..CASE }, Remedy::Wait(late)),
            (Case { not_before_ms: late, autokill: true, ..CASE }, Remedy::Wait(late)),
            (Case { not_before_ms: late, cause: Cause::Errors, ..CASE }, Remedy::Wait(late)),
            (Case { not_before_ms: late, cause: Cause::Memory, ..CASE }, Remedy::RestartAt(late)),
            (Case { not_before_ms: late, cause: Cause::Memory, may_restart: false, ..CASE }, Remedy::Fail),
            (Case { not_before_ms: 1000, ..CASE }, Remedy::Replace),
        ] {
            assert_eq!(case.remedy(1000), remedy, "{case:?}");
        }
    }

    #[test]
    fn replacement_is_over_when_the_new_process_has_a_verdict() {
        let mut instance = Instance::new(crate::time::Now::at(0));
        assert!(is_over(&instance, false, None), "nothing runs, and nothing is to");
        instance.state = Life::Running { inc: 2, pid: 5, since: crate::time::Now::at(0) };
        for (is_same, health, over) in [
            (true, Some(State::Unhealthy), true),
            (false, Some(State::Starting), false),
            (false, Some(State::Healthy), true),
            (false, Some(State::Unhealthy), true),
            (false, None, true),
        ] {
            assert_eq!(is_over(&instance, is_same, health), over, "{is_same} {health:?}");
        }
    }
}
