//! Transitions as events.

use ostler_core::lifecycle::{ExitCause, ExitRecord, Instance, LateAction, PolicyName, ProcessEnding, Transition};
use ostler_proto::event::{EventCause, EventKind};

/// Returns the event of a transition, and its cause. `cause` is the cause of the instance's present
/// state; `None` if that state is from an older daemon.
pub(super) fn of(transition: &Transition, instance: &Instance, cause: Option<&EventCause>) -> Option<(EventKind, EventCause)> {
    let known = || cause.cloned().unwrap_or(EventCause::App);
    let pid = instance.pid().unwrap_or(0);
    Some(match transition {
        Transition::Waiting => (EventKind::Waiting, known()),
        Transition::Launched => (EventKind::Launched { pid }, known()),
        Transition::Online => (EventKind::Online { pid }, known()),
        Transition::ReadyTimeout(late) => {
            (EventKind::NotReady { stopped: *late == LateAction::Stopped }, EventCause::policy(PolicyName::WaitReady, None))
        }
        Transition::Draining => (EventKind::Draining, known()),
        Transition::Stopping => (EventKind::Stopping, known()),
        Transition::KillTimeout => (EventKind::KillTimeout, known()),
        Transition::Exit(record) => {
            let uptime_ms = record.ended.mono_ms.saturating_sub(record.started.mono_ms);
            (EventKind::Exit { pid: record.pid, ending: record.ending, uptime_ms }, of_exit(record))
        }
        Transition::CouldNotStart(record) => {
            let errno = if let ProcessEnding::SpawnFailed { errno } = record.ending { errno } else { 0 };
            let why = match &record.cause {
                ExitCause::CouldNotStart { step } => step.clone(),
                ExitCause::NotStarted { why } => why.clone(),
                _ => "exec".into(),
            };
            (EventKind::CouldNotStart { why, errno }, of_exit(record))
        }
        Transition::RestartScheduled { delay_ms } => {
            let detail = instance.exits.last().map(|exit| describe(exit.ending));
            let cause = match cause {
                // The restart was requested; only its time was decided now.
                Some(cause @ (EventCause::User { .. } | EventCause::Policy { .. })) if instance.exits.last().is_some_and(was_requested) => {
                    cause.clone()
                }
                _ => EventCause::policy(PolicyName::Autorestart, detail),
            };
            (EventKind::Restarting { delay_ms: *delay_ms }, cause)
        }
        Transition::Stopped => (EventKind::Stopped, known()),
        Transition::Overlimit { unstable } => (
            EventKind::Errored { unstable: *unstable },
            EventCause::policy(PolicyName::MaxRestarts, format!("{unstable} unstable restart{}", if *unstable == 1 { "" } else { "s" })),
        ),
        Transition::HookFailed { hook, outcome } => (EventKind::HookFailed { why: format!("{hook} {outcome}") }, known()),
        Transition::Deleted => (EventKind::Deleted, known()),
        Transition::DrainTimeout => return None,
    })
}

/// Returns true for an event whose cause is also the cause of its consequences.
pub(super) fn decides(what: &EventKind) -> bool {
    matches!(what, EventKind::Exit { .. } | EventKind::CouldNotStart { .. } | EventKind::Restarting { .. } | EventKind::Errored { .. })
}

fn was_requested(exit: &ExitRecord) -> bool {
    matches!(exit.cause, ExitCause::Requested(_) | ExitCause::KilledAfterTimeout(_))
}

fn of_exit(record: &ExitRecord) -> EventCause {
    match &record.cause {
        ExitCause::Itself => EventCause::App,
        ExitCause::Requested(origin) | ExitCause::KilledAfterTimeout(origin) => origin.into(),
        ExitCause::OutOfMemory | ExitCause::CouldNotStart { .. } => EventCause::System,
        ExitCause::NotReady => EventCause::policy(PolicyName::WaitReady, None),
        ExitCause::NotStarted { why } => EventCause::policy(PolicyName::Start, why.clone()),
    }
}

fn describe(ending: ProcessEnding) -> String {
    match ending {
        ProcessEnding::Code(code) => format!("exited with code {code}"),
        ProcessEnding::Signal { signal, .. } => format!("killed by {}", ostler_sys::process::signal::name(signal)),
        ProcessEnding::Unknown => "exited while it had no supervising parent".into(),
        ProcessEnding::SpawnFailed { errno } => format!("not started: {}", std::io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::lifecycle::{InstanceState, Origin};
    use ostler_core::time::Now;

    fn exit(ending: ProcessEnding, cause: ExitCause) -> ExitRecord {
        ExitRecord { inc: 1, pid: 9, started: Now::at(1_000), ended: Now::at(1_850), ending, cause, last_lines: vec![] }
    }

    #[test]
    fn transitions_map_to_events() {
        let user = Origin::User { command: "stop".into(), uid: 7, pid: 8, on_behalf_of: None };
        let command_cause = EventCause::from(&user);
        let crashed = exit(ProcessEnding::Code(3), ExitCause::Itself);
        let stopped = exit(ProcessEnding::Signal { signal: 2, core: false }, ExitCause::Requested(user));
        let unlucky = exit(ProcessEnding::SpawnFailed { errno: 2 }, ExitCause::CouldNotStart { step: "exec".into() });
        let late = exit(ProcessEnding::Signal { signal: 9, core: false }, ExitCause::NotReady);
        let autorestart = EventCause::policy(PolicyName::Autorestart, "exited with code 3".to_owned());
        for (transition, last, cause, told) in [
            (Transition::Launched, None, Some(&command_cause), Some((EventKind::Launched { pid: 9 }, command_cause.clone()))),
            (Transition::Online, None, None, Some((EventKind::Online { pid: 9 }, EventCause::App))),
            (
                Transition::Exit(crashed.clone()),
                None,
                Some(&command_cause),
                Some((EventKind::Exit { pid: 9, ending: ProcessEnding::Code(3), uptime_ms: 850 }, EventCause::App)),
            ),
            (
                Transition::Exit(stopped.clone()),
                None,
                None,
                Some((EventKind::Exit { pid: 9, ending: stopped.ending, uptime_ms: 850 }, command_cause.clone())),
            ),
            (
                Transition::Exit(late.clone()),
                None,
                None,
                Some((EventKind::Exit { pid: 9, ending: late.ending, uptime_ms: 850 }, EventCause::policy(PolicyName::WaitReady, None))),
            ),
            (
                Transition::CouldNotStart(unlucky),
                None,
                None,
                Some((EventKind::CouldNotStart { why: "exec".into(), errno: 2 }, EventCause::System)),
            ),
            (
                Transition::RestartScheduled { delay_ms: 5 },
                Some(crashed),
                Some(&EventCause::App),
                Some((EventKind::Restarting { delay_ms: 5 }, autorestart)),
            ),
            (
                Transition::RestartScheduled { delay_ms: 5 },
                Some(stopped),
                Some(&command_cause),
                Some((EventKind::Restarting { delay_ms: 5 }, command_cause.clone())),
            ),
            (Transition::Stopped, None, Some(&command_cause), Some((EventKind::Stopped, command_cause.clone()))),
            (
                Transition::Overlimit { unstable: 16 },
                None,
                Some(&EventCause::App),
                Some((EventKind::Errored { unstable: 16 }, EventCause::policy(PolicyName::MaxRestarts, "16 unstable restarts".to_owned()))),
            ),
            (
                Transition::ReadyTimeout(LateAction::Stopped),
                None,
                None,
                Some((EventKind::NotReady { stopped: true }, EventCause::policy(PolicyName::WaitReady, None))),
            ),
            (Transition::DrainTimeout, None, None, None),
            (Transition::Deleted, None, Some(&EventCause::Shutdown), Some((EventKind::Deleted, EventCause::Shutdown))),
        ] {
            let mut instance = Instance::new(Now::at(0));
            instance.state = InstanceState::Running { inc: 1, pid: 9, since: Now::at(1_000) };
            instance.exits.extend(last);
            assert_eq!(of(&transition, &instance, cause), told, "{transition:?}");
        }
    }
}
