//! Conversion of daemon events into alert occurrences. Pure.

use ostler_alerts::input::{EventKind, Occurrence};
use ostler_client::words;
use ostler_core::lifecycle::Ending;
use ostler_core::logs::masking::masked;
use ostler_proto::event::{Cause, Event, Health, What};

/// Returns the occurrence for an event; none = the event is irrelevant for alerts. `is_job` returns
/// true for jobs; `secrets` are masked.
pub(super) fn occurrence(event: &Event, is_job: impl Fn(&str) -> bool, secrets: &[String]) -> Option<Occurrence> {
    let app = event.app.clone().unwrap_or_default();
    // The dashboard itself: its next process evaluates the missed events.
    if app == crate::settings::names::APP {
        return None;
    }
    let kind = kind(event, is_job(&app))?;
    let text = masked(&words::event_phrase(&event.what), secrets);
    Some(Occurrence { kind, app, instance: event.id, text })
}

fn kind(event: &Event, is_job: bool) -> Option<EventKind> {
    Some(match &event.what {
        What::Exit { ending, .. } => match (&event.cause, ending) {
            (Cause::System, _) => EventKind::OutOfMemory,
            (Cause::App, Ending::Code(0)) if is_job => EventKind::JobDone,
            (Cause::App, Ending::Code(0)) => return None,
            (Cause::App, _) if is_job => EventKind::JobFailed,
            (Cause::App, _) => EventKind::Crash,
            _ => return None,
        },
        What::CouldNotStart { .. } => {
            if is_job {
                EventKind::JobFailed
            } else {
                EventKind::Crash
            }
        }
        What::Errored { .. } => {
            if is_job {
                EventKind::JobFailed
            } else {
                EventKind::Errored
            }
        }
        What::Health { state: Health::Unhealthy } => EventKind::Unhealthy,
        What::Health { state: Health::Healthy } => EventKind::Healthy,
        What::Health { state: Health::Broken } => EventKind::CheckBroken,
        What::LimitExceeded { .. } => EventKind::Limit,
        What::ReloadBegun { .. } => EventKind::ReloadBegun,
        What::ReloadDone { .. } | What::ReloadOverruled { .. } => EventKind::ReloadEnded,
        What::ReloadFailed { .. } => EventKind::ReloadRefused,
        What::RunMissed { .. } if is_job => EventKind::JobMissed,
        What::Online { .. } => EventKind::Online,
        What::Stopped if matches!(event.cause, Cause::App | Cause::System) => EventKind::Finished,
        What::Stopped => EventKind::Stopped,
        What::Deleted => EventKind::Deleted,
        What::SetAside { .. } => EventKind::SetAside,
        What::Recovered { .. } => EventKind::DaemonReplaced,
        What::UpdateFailed { .. } => EventKind::UpdateFailed,
        What::Waiting
        | What::Launched { .. }
        | What::NotReady { .. }
        | What::Draining
        | What::Stopping
        | What::KillTimeout
        | What::Restarting { .. }
        | What::HookFailed { .. }
        | What::Replaced { .. }
        | What::Health { state: Health::Unready }
        | What::RunMissed { .. }
        | What::LogRotated { .. }
        | What::Scaled { .. }
        | What::UpdateBegun
        | What::Updated { .. }
        | What::ListSaved { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::lifecycle::PolicyName;
    use ostler_proto::event::Lost;

    fn kind_of(what: What, cause: Cause, is_job: bool) -> Option<EventKind> {
        let event = Event { epoch: 1, seq: 2, at_ms: 3, app: Some("api".into()), id: Some(0), what, cause, before: None, after: None };
        occurrence(&event, |_| is_job, &[]).map(|occurrence| occurrence.kind)
    }

    #[test]
    fn events_map_to_alert_kinds() {
        let exit = |code| What::Exit { pid: 1, ending: Ending::Code(code), uptime_ms: 5 };
        let user = || Cause::User { command: "stop".into(), uid: 0, pid: 1, on_behalf_of: None };
        for (what, cause, is_job, kind) in [
            (exit(1), Cause::App, false, Some(EventKind::Crash)),
            (exit(0), Cause::App, false, None),
            (exit(1), user(), false, None),
            (exit(1), Cause::Shutdown, false, None),
            (exit(1), Cause::policy(PolicyName::Memory, None), false, None),
            (exit(137), Cause::System, false, Some(EventKind::OutOfMemory)),
            (exit(1), Cause::App, true, Some(EventKind::JobFailed)),
            (exit(0), Cause::App, true, Some(EventKind::JobDone)),
            (What::RunMissed { due_ms: 1 }, Cause::policy(PolicyName::Cron, None), true, Some(EventKind::JobMissed)),
            (What::RunMissed { due_ms: 1 }, Cause::policy(PolicyName::Cron, None), false, None),
            (What::Errored { unstable: 16 }, Cause::App, false, Some(EventKind::Errored)),
            (What::Health { state: Health::Unhealthy }, Cause::App, false, Some(EventKind::Unhealthy)),
            (What::Health { state: Health::Unready }, Cause::App, false, None),
            (What::Health { state: Health::Broken }, Cause::App, false, Some(EventKind::CheckBroken)),
            (What::ReloadFailed { release: 2, why: "x".into() }, user(), false, Some(EventKind::ReloadRefused)),
            (What::Recovered { lost: Lost::Daemon, running: 1, ended: 0 }, Cause::System, false, Some(EventKind::DaemonReplaced)),
            (What::Stopping, user(), false, None),
            (What::Stopped, user(), false, Some(EventKind::Stopped)),
            (What::Stopped, Cause::App, false, Some(EventKind::Finished)),
        ] {
            assert_eq!(kind_of(what.clone(), cause, is_job), kind, "{what:?}");
        }
    }

    #[test]
    fn secrets_are_masked_in_alert_text() {
        let what = What::ReloadFailed { release: 2, why: "no t0k3n at https://u:p@h".into() };
        let event =
            Event { epoch: 1, seq: 2, at_ms: 3, app: Some("api".into()), id: None, what, cause: Cause::App, before: None, after: None };
        let text = occurrence(&event, |_| false, &["t0k3n".into()]).unwrap().text;
        assert!(text.contains("no ****** at https://******@h"), "{text}");
    }
}
