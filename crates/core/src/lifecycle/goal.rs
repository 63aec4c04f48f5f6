//! Goals of requests: the state that an instance must reach, and its progress, read from its state
//! after each step.

use crate::lifecycle::{DesiredState, ExitCause, ExitRecord, Instance, InstanceState, LateAction, Transition};

/// State that an instance must reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A process newer than this number is online.
    Up {
        /// The newest process when the request came.
        after: u32,
    },
    /// None of its processes runs.
    Down,
    /// The daemon has forgotten it.
    Gone,
}

/// Progress of an instance towards a goal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Progress<'a> {
    /// Not reached yet.
    Waiting,
    /// The goal is reached.
    Reached,
    /// It takes longer than its time and keeps starting; the caller no longer waits for it.
    Late,
    /// It cannot reach the goal.
    Failed(Failure<'a>),
}

/// Reason why a goal cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Failure<'a> {
    /// Another command deleted it.
    Deleted,
    /// Another command started it again.
    StartedAgain,
    /// Another command stopped it before it had a process.
    Stopped,
    /// It was not ready in time and is stopped for that.
    NotReady,
    /// It exited, or could not be started.
    Ended(&'a ExitRecord),
    /// It exited before it was ready.
    EndedEarly(&'a ExitRecord),
    /// The policy gave up, and no exit is known.
    GaveUp,
}

impl Goal {
    /// Returns the goal of a process newer than those of this instance. A spawn that is already
    /// requested does not count as newer.
    pub fn newer_than(instance: &Instance) -> Self {
        let coming = if let InstanceState::Spawning { inc, .. } = instance.state { inc } else { 0 };
        Self::Up { after: instance.inc.max(coming) }
    }

    /// Judges the instance (none = forgotten) after a step, with the transition of that step, if
    /// any.
    pub fn judge<'a>(self, instance: Option<&'a Instance>, transition: Option<&'a Transition>) -> Progress<'a> {
        match (self, instance) {
            (Self::Up { .. }, None) => Progress::Failed(Failure::Deleted),
            (Self::Down | Self::Gone, None) => Progress::Reached,
            (Self::Gone, Some(_)) => Progress::Waiting,
            (Self::Down, Some(instance)) => down(instance),
            (Self::Up { after }, Some(instance)) => by_transition(after, instance, transition).unwrap_or_else(|| up(after, instance)),
        }
    }
}

fn down(instance: &Instance) -> Progress<'_> {
    match (&instance.state, instance.wanted) {
        (InstanceState::Stopped | InstanceState::Errored | InstanceState::Gone, DesiredState::Down | DesiredState::Gone) => {
            Progress::Reached
        }
        (_, DesiredState::Up) => Progress::Failed(Failure::StartedAgain),
        (_, DesiredState::Down | DesiredState::Gone) => Progress::Waiting,
    }
}

/// Judges by the transition alone: it can show more than the state, because the next process may
/// already be starting.
fn by_transition<'a>(after: u32, instance: &Instance, transition: Option<&'a Transition>) -> Option<Progress<'a>> {
    match transition? {
        Transition::CouldNotStart(record) if record.inc > after => Some(Progress::Failed(Failure::Ended(record))),
        Transition::ReadyTimeout(LateAction::Stopped) => Some(Progress::Failed(Failure::NotReady)),
        Transition::ReadyTimeout(LateAction::KeepsRunning) if instance.inc > after => Some(Progress::Late),
        Transition::Exit(record) if record.inc > after => match record.cause {
            ExitCause::NotStarted { .. } => Some(Progress::Failed(Failure::Ended(record))),
            // The timeout itself was already reported.
            ExitCause::NotReady => None,
            _ => Some(Progress::Failed(Failure::EndedEarly(record))),
        },
        _ => None,
    }
}

fn up(after: u32, instance: &Instance) -> Progress<'_> {
    let last = instance.exits.last();
    match (&instance.state, instance.wanted) {
        (InstanceState::Running { inc, .. }, _) if *inc > after => Progress::Reached,
        (_, wanted @ (DesiredState::Down | DesiredState::Gone)) => {
            let meanwhile = if wanted == DesiredState::Gone { Failure::Deleted } else { Failure::Stopped };
            Progress::Failed(last.filter(|record| record.inc > after).map_or(meanwhile, Failure::Ended))
        }
        (InstanceState::Errored, DesiredState::Up) => Progress::Failed(last.map_or(Failure::GaveUp, Failure::Ended)),
        _ => Progress::Waiting,
    }
}

/// Longest time that a new process is watched, even if its `min_uptime` is longer.
pub const LONGEST_WATCH_MS: u64 = 10_000;

/// Returns the time until which a process that started at `since_ms` must run before its start
/// counts as proved.
pub fn watched_until_ms(since_ms: u64, min_uptime_ms: u64) -> u64 {
    since_ms.saturating_add(min_uptime_ms.min(LONGEST_WATCH_MS))
}

/// Returns how many instances of an app may restart at the same time while the daemon watches the
/// new processes. It is one until a first new process has proved that it stays up.
pub fn at_a_time_watched(instances: usize, proved: usize) -> usize {
    if proved == 0 { 1.min(instances) } else { at_a_time(instances) }
}

/// Returns how many instances of an app restart at the same time; the others keep serving.
pub fn at_a_time(instances: usize) -> usize {
    instances.div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{Origin, ProcessEnding};
    use crate::time::Now;

    fn exit(inc: u32, cause: ExitCause) -> ExitRecord {
        let (started, ended) = (Now::at(1), Now::at(2));
        ExitRecord { inc, pid: 9, started, ended, ending: ProcessEnding::Code(1), cause, last_lines: Vec::new() }
    }

    fn instance(state: InstanceState, wanted: DesiredState, exits: &[ExitRecord]) -> Instance {
        let inc = exits.last().map_or(1, |exit| exit.inc);
        Instance { state, wanted, inc, exits: exits.to_vec(), ..Instance::new(Now::at(0)) }
    }

    fn running(inc: u32) -> InstanceState {
        InstanceState::Running { inc, pid: 9, since: Now::at(1) }
    }

    #[test]
    fn up_is_reached_by_a_newer_process() {
        use Failure::{Deleted, Ended, GaveUp, Stopped};
        let crashed = exit(2, ExitCause::Itself);
        let before = exit(1, ExitCause::Itself);
        for (state, wanted, exits, expected) in [
            (running(1), DesiredState::Up, &[][..], Progress::Waiting),
            (running(2), DesiredState::Up, &[], Progress::Reached),
            // A stop at this point comes after the process was up.
            (running(2), DesiredState::Down, &[], Progress::Reached),
            (InstanceState::Stopped, DesiredState::Up, &[], Progress::Waiting),
            (InstanceState::Stopped, DesiredState::Down, &[], Progress::Failed(Stopped)),
            (InstanceState::Stopped, DesiredState::Down, std::slice::from_ref(&before), Progress::Failed(Stopped)),
            (InstanceState::Stopped, DesiredState::Gone, std::slice::from_ref(&crashed), Progress::Failed(Ended(&crashed))),
            (InstanceState::Stopped, DesiredState::Gone, std::slice::from_ref(&before), Progress::Failed(Deleted)),
            (InstanceState::Errored, DesiredState::Up, std::slice::from_ref(&crashed), Progress::Failed(Ended(&crashed))),
            (InstanceState::Errored, DesiredState::Up, &[], Progress::Failed(GaveUp)),
        ] {
            let instance = instance(state.clone(), wanted, exits);
            assert_eq!(Goal::Up { after: 1 }.judge(Some(&instance), None), expected, "{state:?} {wanted:?}");
        }
        assert_eq!(Goal::Up { after: 1 }.judge(None, None), Progress::Failed(Failure::Deleted));
    }

    #[test]
    fn transition_takes_precedence_over_the_state_after_it() {
        use Failure::{Ended, EndedEarly, NotReady};
        let of = |inc, cause| Transition::Exit(exit(inc, cause));
        let not_started = || ExitCause::NotStarted { why: "post_start".into() };
        for (transition, expected) in [
            (of(2, ExitCause::Itself), Progress::Failed(EndedEarly(&exit(2, ExitCause::Itself)))),
            (of(1, ExitCause::Itself), Progress::Waiting),
            (of(2, ExitCause::NotReady), Progress::Waiting),
            (of(2, not_started()), Progress::Failed(Ended(&exit(2, not_started())))),
            (Transition::CouldNotStart(exit(2, ExitCause::Itself)), Progress::Failed(Ended(&exit(2, ExitCause::Itself)))),
            (Transition::CouldNotStart(exit(1, ExitCause::Itself)), Progress::Waiting),
            (Transition::ReadyTimeout(LateAction::Stopped), Progress::Failed(NotReady)),
            (Transition::ReadyTimeout(LateAction::KeepsRunning), Progress::Late),
            (Transition::ReadyTimeout(LateAction::Accepted), Progress::Waiting),
            (Transition::Stopping, Progress::Waiting),
        ] {
            let instance = Instance { inc: 2, ..instance(InstanceState::Stopped, DesiredState::Up, &[]) };
            assert_eq!(Goal::Up { after: 1 }.judge(Some(&instance), Some(&transition)), expected, "{transition:?}");
        }
    }

    #[test]
    fn down_is_reached_at_rest_and_gone_after_removal() {
        for (state, wanted, expected) in [
            (InstanceState::Stopped, DesiredState::Down, Progress::Reached),
            (InstanceState::Errored, DesiredState::Gone, Progress::Reached),
            (running(1), DesiredState::Down, Progress::Waiting),
            (running(1), DesiredState::Up, Progress::Failed(Failure::StartedAgain)),
            (InstanceState::Stopped, DesiredState::Up, Progress::Failed(Failure::StartedAgain)),
        ] {
            let instance = instance(state.clone(), wanted, &[]);
            assert_eq!(Goal::Down.judge(Some(&instance), None), expected, "{state:?} {wanted:?}");
            assert_eq!(Goal::Gone.judge(Some(&instance), None), Progress::Waiting);
        }
        assert_eq!((Goal::Down.judge(None, None), Goal::Gone.judge(None, None)), (Progress::Reached, Progress::Reached));
    }

    #[test]
    fn goal_is_newer_than_a_start_already_requested() {
        let mut coming = instance(InstanceState::Stopped, DesiredState::Up, &[exit(3, ExitCause::Requested(Origin::Resurrect))]);
        assert_eq!(Goal::newer_than(&coming), Goal::Up { after: 3 });
        coming.state = InstanceState::Spawning { inc: 4, since: Now::at(1), automatic: false, ready: false, superseded: None };
        assert_eq!(Goal::newer_than(&coming), Goal::Up { after: 4 });
    }

    #[test]
    fn process_is_watched_for_its_min_uptime() {
        for (since_ms, min_uptime_ms, until_ms) in [(500, 1000, 1500), (500, 0, 500), (500, 3_600_000, 10_500), (u64::MAX, 1000, u64::MAX)]
        {
            assert_eq!(watched_until_ms(since_ms, min_uptime_ms), until_ms);
        }
        assert_eq!([(0, 0), (1, 0), (4, 0), (4, 1), (5, 3)].map(|(all, proved)| at_a_time_watched(all, proved)), [0, 1, 1, 2, 3]);
    }

    #[test]
    fn at_most_half_of_an_app_restarts_at_a_time() {
        assert_eq!([0, 1, 2, 3, 4].map(at_a_time), [0, 1, 1, 2, 2]);
    }
}
