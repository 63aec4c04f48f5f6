//! Trouble of an instance that its state does not show.

use serde::{Deserialize, Serialize};

use super::{ExitCause, ExitRecord, Instance, InstanceState, Origin, PolicyName, ProcessEnding};
use crate::time::Now;

/// Time in which the exits of an instance are counted.
const WITHIN_MS: u64 = 5 * 60_000;
/// Number of exits within that time from which on the instance keeps restarting.
const OFTEN: usize = 3;

/// Trouble that needs attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Its process failed, and the restart policy does not start another one.
    Crashed,
    /// It runs or waits for its next start, and has exited several times in the last minutes.
    KeepsRestarting,
}

impl Instance {
    /// Returns the trouble of this instance, if its state does not show it. A job is expected to
    /// exit: only a failure counts. `stop_codes` are the exit codes after which it stays stopped on
    /// purpose.
    pub fn trouble(&self, stop_codes: &[i32], is_job: bool, now: Now) -> Option<Trouble> {
        match self.state {
            InstanceState::Gone | InstanceState::Errored => None,
            InstanceState::Stopped => self.exits.last().is_some_and(|exit| is_crash(exit, stop_codes)).then_some(Trouble::Crashed),
            _ if is_job => None,
            _ => (self.unrequested_exits(WITHIN_MS, now) >= OFTEN).then_some(Trouble::KeepsRestarting),
        }
    }

    /// Returns the last failed exit. If the instance was stopped on request since then, it does not
    /// matter any more.
    pub fn last_failure(&self) -> Option<&ExitRecord> {
        let last = match self.pid() {
            Some(_) => self.exits.iter().rev().find(|exit| !exit.is_requested()),
            None => self.exits.last().filter(|exit| !exit.is_requested()),
        };
        last.filter(|exit| exit.ending != ProcessEnding::Code(0))
    }

    /// Returns the number of unrequested exits within this time, as far as they are kept.
    pub fn unrequested_exits(&self, within_ms: u64, now: Now) -> usize {
        let is_recent = |exit: &&ExitRecord| now.mono_ms.saturating_sub(exit.ended.mono_ms) < within_ms;
        self.exits.iter().filter(|exit| !exit.is_requested()).filter(is_recent).count()
    }
}

impl ExitRecord {
    /// Returns true if a user, a schedule or a reload requested the exit. A process that exits by
    /// itself, or that the daemon stops because of a limit or a health check, was not asked to.
    pub fn is_requested(&self) -> bool {
        match &self.cause {
            ExitCause::Requested(origin) | ExitCause::KilledAfterTimeout(origin) => match origin {
                Origin::Policy(finding) => {
                    !matches!(finding.name, PolicyName::Memory | PolicyName::Cpu | PolicyName::Errors | PolicyName::Health)
                }
                _ => true,
            },
            _ => false,
        }
    }
}

fn is_crash(exit: &ExitRecord, stop_codes: &[i32]) -> bool {
    let has_failed = match exit.ending {
        ProcessEnding::Code(code) => code != 0 && !stop_codes.contains(&code),
        ProcessEnding::Signal { .. } | ProcessEnding::SpawnFailed { .. } => true,
        ProcessEnding::Unknown => false,
    };
    has_failed && !exit.is_requested()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_000_000;

    fn exit(ago_ms: u64, ending: ProcessEnding, cause: ExitCause) -> ExitRecord {
        let ended = Now::at(NOW_MS - ago_ms);
        ExitRecord { inc: 1, pid: 7, started: Now::at(1), ended, ending, cause, last_lines: Vec::new() }
    }

    fn trouble(state: InstanceState, is_job: bool, exits: Vec<ExitRecord>) -> Option<Trouble> {
        let mut instance = Instance::new(Now::at(1));
        (instance.state, instance.exits) = (state, exits);
        instance.trouble(&[9], is_job, Now::at(NOW_MS))
    }

    fn online() -> InstanceState {
        InstanceState::Running { inc: 1, pid: 7, since: Now::at(NOW_MS) }
    }

    #[test]
    fn failed_exit_without_a_restart_is_a_crash() {
        let by = |name| ExitCause::Requested(Origin::policy(name));
        let signal = ProcessEnding::Signal { signal: 11, core: false };
        for (ending, cause, crashed) in [
            (ProcessEnding::Code(3), ExitCause::Itself, true),
            (signal, ExitCause::Itself, true),
            (signal, ExitCause::OutOfMemory, true),
            (ProcessEnding::Code(1), by(PolicyName::Memory), true),
            (ProcessEnding::Code(0), ExitCause::Itself, false),
            (ProcessEnding::Code(9), ExitCause::Itself, false),
            (signal, ExitCause::Requested(Origin::Shutdown), false),
            (ProcessEnding::Code(1), by(PolicyName::Cron), false),
            (ProcessEnding::Unknown, ExitCause::Itself, false),
        ] {
            let found = trouble(InstanceState::Stopped, false, vec![exit(1, ending, cause.clone())]);
            assert_eq!(found.is_some(), crashed, "{ending:?} {cause:?}");
        }
        assert_eq!(trouble(InstanceState::Stopped, false, Vec::new()), None);
        let old = exit(900_000, ProcessEnding::Code(1), ExitCause::Itself);
        assert_eq!(trouble(InstanceState::Stopped, true, vec![old.clone()]), Some(Trouble::Crashed), "a failed job, too");
        assert_eq!(trouble(InstanceState::Errored, false, vec![old]), None, "its state says that");
    }

    #[test]
    fn failure_before_a_requested_stop_does_not_matter() {
        let failed = || exit(20, ProcessEnding::Code(3), ExitCause::Itself);
        let stopped = || exit(10, ProcessEnding::Code(1), ExitCause::Requested(Origin::Shutdown));
        let done = || exit(10, ProcessEnding::Code(0), ExitCause::Itself);
        for (state, exits, ago_ms) in [
            (InstanceState::Stopped, vec![failed()], Some(20)),
            (InstanceState::Stopped, vec![failed(), stopped()], None),
            (InstanceState::Errored, vec![failed(), done()], None),
            (online(), vec![failed(), stopped()], Some(20)),
            (online(), vec![stopped()], None),
        ] {
            let mut instance = Instance::new(Now::at(1));
            (instance.state, instance.exits) = (state, exits);
            assert_eq!(instance.last_failure().map(|exit| NOW_MS - exit.ended.mono_ms), ago_ms, "{:?}", instance.exits);
        }
    }

    #[test]
    fn three_exits_in_five_minutes_keep_restarting() {
        let ends = |agos: &[u64]| agos.iter().map(|ago| exit(*ago, ProcessEnding::Code(0), ExitCause::Itself)).collect::<Vec<_>>();
        assert_eq!(trouble(online(), false, ends(&[299_000, 9, 1])), Some(Trouble::KeepsRestarting));
        assert_eq!(trouble(online(), false, ends(&[300_000, 9, 1])), None);
        assert_eq!(trouble(online(), true, ends(&[3, 2, 1])), None, "a job");
        let requested = (1..5).map(|ago| exit(ago, ProcessEnding::Code(0), ExitCause::Requested(Origin::Resurrect))).collect();
        assert_eq!(trouble(online(), false, requested), None);
    }
}
