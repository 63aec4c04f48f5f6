//! Transitions as events.

use ostler_core::lifecycle::{Ending, ExitCause, ExitRecord, Instance, Late, PolicyName, Transition};
use ostler_proto::event::{Cause, What};

/// Returns the event of a transition, and its cause. `cause` is the cause of the instance's present
/// state; `None` if that state is from an older daemon.
pub(super) fn of(transition: &Transition, instance: &Instance, cause: Option<&Cause>) -> Option<(What, Cause)> {
    let known = || cause.cloned().unwrap_or(Cause::App);
    let pid = instance.pid().unwrap_or(0);
    Some(match transition {
        Transition::Waiting => (What::Waiting, known()),
        Transition::Launched => (What::Launched { pid }, known()),
        Transition::Online => (What::Online { pid }, known()),
        Transition::ReadyTimeout(late) => (What::NotReady { stopped: *late == Late::Stopped }, Cause::policy(PolicyName::WaitReady, None)),
        Transition::Draining => (What::Draining, known()),
        Transition::Stopping => (What::Stopping, known()),
        Transition::KillTimeout => (What::KillTimeout, known()),
        Transition::Exit(record) => {
            let uptime_ms = record.ended.mono_ms.saturating_sub(record.started.mono_ms);
            (What::Exit { pid: record.pid, ending: record.ending, uptime_ms }, of_exit(record))
        }
        Transition::CouldNotStart(record) => {
            let errno = if let Ending::SpawnFailed { errno } = record.ending { errno } else { 0 };
            let why = match &record.cause {
                ExitCause::CouldNotStart { step } => step.clone(),
                ExitCause::NotStarted { why } => why.clone(),
                _ => "exec".into(),
            };
            (What::CouldNotStart { why, errno }, of_exit(record))
        }
        Transition::RestartScheduled { delay_ms } => {
            let detail = instance.exits.last().map(|exit| in_words(exit.ending));
            let cause = match cause {
                // The restart was requested; only its time was decided now.
                Some(cause @ (Cause::User { .. } | Cause::Policy { .. })) if instance.exits.last().is_some_and(was_asked) => cause.clone(),
                _ => Cause::policy(PolicyName::Autorestart, detail),
            };
            (What::Restarting { delay_ms: *delay_ms }, cause)
        }
        Transition::Stopped => (What::Stopped, known()),
        Transition::Overlimit { unstable } => {
            (What::Errored { unstable: *unstable }, Cause::policy(PolicyName::MaxRestarts, format!("{unstable} unstable restarts")))
        }
        Transition::HookFailed { hook, outcome } => (What::HookFailed { why: format!("{hook} {outcome}") }, known()),
        Transition::Deleted => (What::Deleted, known()),
        Transition::DrainTimeout => return None,
    })
}

/// Returns true for an event whose cause is also the cause of its consequences.
pub(super) fn decides(what: &What) -> bool {
    matches!(what, What::Exit { .. } | What::CouldNotStart { .. } | What::Restarting { .. } | What::Errored { .. })
}

fn was_asked(exit: &ExitRecord) -> bool {
    matches!(exit.cause, ExitCause::Asked(_) | ExitCause::KilledAfterTimeout(_))
}

fn of_exit(record: &ExitRecord) -> Cause {
    match &record.cause {
        ExitCause::Itself => Cause::App,
        ExitCause::Asked(origin) | ExitCause::KilledAfterTimeout(origin) => origin.into(),
        ExitCause::OutOfMemory | ExitCause::CouldNotStart { .. } => Cause::System,
        ExitCause::NotReady => Cause::policy(PolicyName::WaitReady, None),
        ExitCause::NotStarted { why } => Cause::policy(PolicyName::Start, why.clone()),
    }
}

fn in_words(ending: Ending) -> String {
    match ending {
        Ending::Code(code) => format!("exited with code {code}"),
        Ending::Signal { signal, .. } => format!("killed by {}", ostler_sys::process::signal::name(signal)),
        Ending::Unknown => "exited while it had no supervising parent".into(),
        Ending::SpawnFailed { errno } => format!("not started: {}", std::io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::lifecycle::{Origin, State};
    use ostler_core::time::Now;

    fn exit(ending: Ending, cause: ExitCause) -> ExitRecord {
        ExitRecord { inc: 1, pid: 9, started: Now::at(1_000), ended: Now::at(1_850), ending, cause, last_lines: vec![] }
    }

    #[test]
    fn transitions_map_to_events() {
        let user = Origin::User { command: "stop".into(), uid: 7, pid: 8, on_behalf_of: None };
        let asked = Cause::from(&user);
        let crashed = exit(Ending::Code(3), ExitCause::Itself);
        let stopped = exit(Ending::Signal { signal: 2, core: false }, ExitCause::Asked(user));
        let unlucky = exit(Ending::SpawnFailed { errno: 2 }, ExitCause::CouldNotStart { step: "exec".into() });
        let late = exit(Ending::Signal { signal: 9, core: false }, ExitCause::NotReady);
        let autorestart = Cause::policy(PolicyName::Autorestart, "exited with code 3".to_owned());
        for (transition, last, cause, told) in [
            (Transition::Launched, None, Some(&asked), Some((What::Launched { pid: 9 }, asked.clone()))),
            (Transition::Online, None, None, Some((What::Online { pid: 9 }, Cause::App))),
            (
                Transition::Exit(crashed.clone()),
                None,
                Some(&asked),
                Some((What::Exit { pid: 9, ending: Ending::Code(3), uptime_ms: 850 }, Cause::App)),
            ),
            (
                Transition::Exit(stopped.clone()),
                None,
                None,
                Some((What::Exit { pid: 9, ending: stopped.ending, uptime_ms: 850 }, asked.clone())),
            ),
            (
                Transition::Exit(late.clone()),
                None,
                None,
                Some((What::Exit { pid: 9, ending: late.ending, uptime_ms: 850 }, Cause::policy(PolicyName::WaitReady, None))),
            ),
            (Transition::CouldNotStart(unlucky), None, None, Some((What::CouldNotStart { why: "exec".into(), errno: 2 }, Cause::System))),
            (
                Transition::RestartScheduled { delay_ms: 5 },
                Some(crashed),
                Some(&Cause::App),
                Some((What::Restarting { delay_ms: 5 }, autorestart)),
            ),
            (
                Transition::RestartScheduled { delay_ms: 5 },
                Some(stopped),
                Some(&asked),
                Some((What::Restarting { delay_ms: 5 }, asked.clone())),
            ),
            (Transition::Stopped, None, Some(&asked), Some((What::Stopped, asked.clone()))),
            (
                Transition::Overlimit { unstable: 16 },
                None,
                Some(&Cause::App),
                Some((What::Errored { unstable: 16 }, Cause::policy(PolicyName::MaxRestarts, "16 unstable restarts".to_owned()))),
            ),
            (
                Transition::ReadyTimeout(Late::Stopped),
                None,
                None,
                Some((What::NotReady { stopped: true }, Cause::policy(PolicyName::WaitReady, None))),
            ),
            (Transition::DrainTimeout, None, None, None),
            (Transition::Deleted, None, Some(&Cause::Shutdown), Some((What::Deleted, Cause::Shutdown))),
        ] {
            let mut instance = Instance::new(Now::at(0));
            instance.state = State::Running { inc: 1, pid: 9, since: Now::at(1_000) };
            instance.exits.extend(last);
            assert_eq!(of(&transition, &instance, cause), told, "{transition:?}");
        }
    }
}
