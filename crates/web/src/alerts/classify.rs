//! Conversion of daemon events into alert occurrences. Pure.

use ostler_alerts::input::{Occurrence, OccurrenceKind};
use ostler_client::words;
use ostler_core::lifecycle::ProcessEnding;
use ostler_core::logs::masking::masked;
use ostler_proto::event::{Event, EventCause, EventKind, Health};

/// Returns the occurrence for an event; none = the event is irrelevant for alerts. `is_job` returns
/// true for jobs; `secrets` are masked.
pub(super) fn occurrence(event: &Event, is_job: impl Fn(&str) -> bool, secrets: &[String]) -> Option<Occurrence> {
    let app = event.app.clone().unwrap_or_default();
    // The dashboard itself: its next process evaluates the missed events.
    if app == crate::settings::names::APP {
        return None;
    }
    let kind = kind(event, is_job(&app))?;
    let text = masked(&words::event_phrase(&event.kind), secrets);
    Some(Occurrence { kind, app, instance: event.id, text })
}

fn kind(event: &Event, is_job: bool) -> Option<OccurrenceKind> {
    Some(match &event.kind {
        EventKind::Exit { ending, .. } => match (&event.cause, ending) {
            (EventCause::System, _) => OccurrenceKind::OutOfMemory,
            (EventCause::App, ProcessEnding::Code(0)) if is_job => OccurrenceKind::JobDone,
            (EventCause::App, ProcessEnding::Code(0)) => return None,
            (EventCause::App, _) if is_job => OccurrenceKind::JobFailed,
            (EventCause::App, _) => OccurrenceKind::Crash,
            _ => return None,
        },
        EventKind::CouldNotStart { .. } => {
            if is_job {
                OccurrenceKind::JobFailed
            } else {
                OccurrenceKind::Crash
            }
        }
        EventKind::Errored { .. } => {
            if is_job {
                OccurrenceKind::JobFailed
            } else {
                OccurrenceKind::Errored
            }
        }
        EventKind::Health { state: Health::Unhealthy } => OccurrenceKind::Unhealthy,
        EventKind::Health { state: Health::Healthy } => OccurrenceKind::Healthy,
        EventKind::Health { state: Health::Broken } => OccurrenceKind::CheckBroken,
        EventKind::LimitExceeded { .. } => OccurrenceKind::Limit,
        EventKind::ReloadBegun { .. } => OccurrenceKind::ReloadBegun,
        EventKind::ReloadDone { .. } | EventKind::ReloadOverruled { .. } => OccurrenceKind::ReloadEnded,
        EventKind::ReloadFailed { .. } => OccurrenceKind::ReloadRefused,
        EventKind::RunMissed { .. } if is_job => OccurrenceKind::JobMissed,
        EventKind::Online { .. } => OccurrenceKind::Online,
        EventKind::Stopped if matches!(event.cause, EventCause::App | EventCause::System) => OccurrenceKind::Finished,
        EventKind::Stopped => OccurrenceKind::Stopped,
        EventKind::Deleted => OccurrenceKind::Deleted,
        EventKind::SetAside { .. } => OccurrenceKind::SetAside,
        EventKind::Recovered { .. } => OccurrenceKind::DaemonReplaced,
        EventKind::UpdateFailed { .. } => OccurrenceKind::UpdateFailed,
        EventKind::Waiting
        | EventKind::Launched { .. }
        | EventKind::NotReady { .. }
        | EventKind::Draining
        | EventKind::Stopping
        | EventKind::KillTimeout
        | EventKind::Restarting { .. }
        | EventKind::HookFailed { .. }
        | EventKind::Replaced { .. }
        | EventKind::Health { state: Health::Unready }
        | EventKind::RunMissed { .. }
        | EventKind::LogRotated { .. }
        | EventKind::Scaled { .. }
        | EventKind::UpdateBegun
        | EventKind::Updated { .. }
        | EventKind::ClockMoved { .. }
        | EventKind::ListSaved { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::lifecycle::PolicyName;
    use ostler_proto::event::LostProcesses;

    fn kind_of(what: EventKind, cause: EventCause, is_job: bool) -> Option<OccurrenceKind> {
        let event =
            Event { epoch: 1, seq: 2, at_ms: 3, app: Some("api".into()), id: Some(0), kind: what, cause, before: None, after: None };
        occurrence(&event, |_| is_job, &[]).map(|occurrence| occurrence.kind)
    }

    #[test]
    fn events_map_to_alert_kinds() {
        let exit = |code| EventKind::Exit { pid: 1, ending: ProcessEnding::Code(code), uptime_ms: 5 };
        let user = || EventCause::User { command: "stop".into(), uid: 0, pid: 1, on_behalf_of: None };
        for (what, cause, is_job, kind) in [
            (exit(1), EventCause::App, false, Some(OccurrenceKind::Crash)),
            (exit(0), EventCause::App, false, None),
            (exit(1), user(), false, None),
            (exit(1), EventCause::Shutdown, false, None),
            (exit(1), EventCause::policy(PolicyName::Memory, None), false, None),
            (exit(137), EventCause::System, false, Some(OccurrenceKind::OutOfMemory)),
            (exit(1), EventCause::App, true, Some(OccurrenceKind::JobFailed)),
            (exit(0), EventCause::App, true, Some(OccurrenceKind::JobDone)),
            (EventKind::RunMissed { due_ms: 1 }, EventCause::policy(PolicyName::Cron, None), true, Some(OccurrenceKind::JobMissed)),
            (EventKind::RunMissed { due_ms: 1 }, EventCause::policy(PolicyName::Cron, None), false, None),
            (EventKind::Errored { unstable: 16 }, EventCause::App, false, Some(OccurrenceKind::Errored)),
            (EventKind::Health { state: Health::Unhealthy }, EventCause::App, false, Some(OccurrenceKind::Unhealthy)),
            (EventKind::Health { state: Health::Unready }, EventCause::App, false, None),
            (EventKind::Health { state: Health::Broken }, EventCause::App, false, Some(OccurrenceKind::CheckBroken)),
            (EventKind::ReloadFailed { release: 2, why: "x".into() }, user(), false, Some(OccurrenceKind::ReloadRefused)),
            (
                EventKind::Recovered { lost: LostProcesses::Daemon, running: 1, ended: 0 },
                EventCause::System,
                false,
                Some(OccurrenceKind::DaemonReplaced),
            ),
            (EventKind::Stopping, user(), false, None),
            (EventKind::Stopped, user(), false, Some(OccurrenceKind::Stopped)),
            (EventKind::Stopped, EventCause::App, false, Some(OccurrenceKind::Finished)),
        ] {
            assert_eq!(kind_of(what.clone(), cause, is_job), kind, "{what:?}");
        }
    }

    #[test]
    fn secrets_are_masked_in_alert_text() {
        let what = EventKind::ReloadFailed { release: 2, why: "no t0k3n at https://u:p@h".into() };
        let event = Event {
            epoch: 1,
            seq: 2,
            at_ms: 3,
            app: Some("api".into()),
            id: None,
            kind: what,
            cause: EventCause::App,
            before: None,
            after: None,
        };
        let text = occurrence(&event, |_| false, &["t0k3n".into()]).unwrap().text;
        assert!(text.contains("no ****** at https://******@h"), "{text}");
    }
}
