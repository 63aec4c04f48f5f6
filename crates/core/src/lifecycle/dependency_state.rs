//! Judgement of a dependency: whether an instance is in the condition that another app waits for.

use crate::lifecycle::order::Condition;
use crate::lifecycle::{DesiredState, ExitCause, Instance, InstanceState, ProcessEnding};

/// State of a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DependencyState {
    /// It has reached the condition.
    Met,
    /// It may still reach the condition.
    Pending,
    /// It will not reach the condition by itself, for this reason: words that follow its name.
    Unreachable(&'static str),
}

/// Judges one instance of a dependency. `healthy` is the result of the health checks of an online
/// process (true without checks).
pub fn standing(condition: Condition, instance: &Instance, healthy: bool) -> DependencyState {
    let state = &instance.state;
    let met = match condition {
        Condition::Started => {
            matches!(state, InstanceState::Starting { .. } | InstanceState::Completing { .. } | InstanceState::Running { .. })
        }
        Condition::Ready => matches!(state, InstanceState::Running { .. }),
        Condition::Healthy => matches!(state, InstanceState::Running { .. }) && healthy,
        Condition::Completed => has_completed(instance),
    };
    if met {
        return DependencyState::Met;
    }
    match (instance.wanted, state) {
        (DesiredState::Up, _) => DependencyState::Pending,
        // Its exit is already recorded while it is stopping.
        (_, InstanceState::Stopping { .. } | InstanceState::Clearing { .. }) if condition == Condition::Completed => {
            DependencyState::Pending
        }
        (_, InstanceState::Errored) => DependencyState::Unreachable("is errored"),
        (DesiredState::Down, _) if condition == Condition::Completed && has_failed(instance) => DependencyState::Unreachable("has failed"),
        (DesiredState::Down, _) => DependencyState::Unreachable("is stopped"),
        (DesiredState::Gone, _) => DependencyState::Unreachable("is being deleted"),
    }
}

/// Returns true if it is at rest after a run that succeeded by itself.
fn has_completed(instance: &Instance) -> bool {
    let last = instance.exits.last().filter(|exit| exit.inc == instance.inc);
    let well = last.is_some_and(|exit| exit.ending == ProcessEnding::Code(0) && exit.cause == ExitCause::Itself);
    well && instance.state == InstanceState::Stopped
}

/// Returns true if it is at rest after a run that failed by itself.
fn has_failed(instance: &Instance) -> bool {
    instance.exits.last().is_some_and(|exit| exit.inc == instance.inc && !matches!(exit.cause, ExitCause::Requested(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::ExitRecord;
    use crate::time::Now;

    #[test]
    fn dependency_condition_is_judged_by_instance_state() {
        let now = Now::at(5);
        let (inc, pid, since) = (1, 7, now);
        let exit = |ending, cause| vec![ExitRecord { inc, pid, started: now, ended: now, ending, cause, last_lines: vec![] }];
        let up = |state| Instance { wanted: DesiredState::Up, state, inc, ..Instance::new(now) };
        let down = |state, exits| Instance { wanted: DesiredState::Down, state, inc, exits, ..Instance::new(now) };
        let starting = up(InstanceState::Starting { inc, pid, since, ready_deadline_ms: Some(9), late: false, adopted: false });
        let running = up(InstanceState::Running { inc, pid, since });
        let done = down(InstanceState::Stopped, exit(ProcessEnding::Code(0), ExitCause::Itself));
        let failed = down(InstanceState::Stopped, exit(ProcessEnding::Code(3), ExitCause::Itself));
        let stopped = down(InstanceState::Stopped, exit(ProcessEnding::Code(0), ExitCause::Requested(crate::lifecycle::Origin::Resurrect)));
        let errored = down(InstanceState::Errored, vec![]);
        use Condition::{Completed, Healthy, Ready, Started};
        use DependencyState::{Met, Pending, Unreachable};
        for (condition, instance, healthy, expected) in [
            (Started, &starting, true, Met),
            (Ready, &starting, true, Pending),
            (Ready, &running, false, Met),
            (Healthy, &running, false, Pending),
            (Healthy, &running, true, Met),
            (Completed, &running, true, Pending),
            (Completed, &done, true, Met),
            (Completed, &failed, true, Unreachable("has failed")),
            (Completed, &stopped, true, Unreachable("is stopped")),
            (Ready, &done, true, Unreachable("is stopped")),
            (Ready, &errored, true, Unreachable("is errored")),
        ] {
            assert_eq!(standing(condition, instance, healthy), expected, "{condition:?} {instance:?}");
        }
    }
}
