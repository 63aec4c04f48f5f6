//! Events as text.

use ostler_client::words;
use ostler_proto::event::{Event, EventCause, EventKind, Health, LimitKind};
use serde::Serialize;

/// Event in display form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct EventView {
    /// Its number in the daemon's ring; see `epoch`.
    pub(crate) sequence: u64,
    /// The ring; it changes if earlier events are lost.
    pub(crate) epoch: u64,
    /// Wall clock, ms.
    pub(crate) at: u64,
    /// `online`, `exit`, `reload_failed`, …
    pub(crate) kind: String,
    pub(crate) app: Option<String>,
    pub(crate) instance: Option<u32>,
    /// Description that follows the app's name.
    pub(crate) text: String,
    /// Text with the cause.
    pub(crate) who: String,
    /// `info`, `warning` or `critical`.
    pub(crate) severity: &'static str,
}

/// Returns the display form of an event.
pub(crate) fn event(event: &Event) -> EventView {
    EventView {
        sequence: event.seq,
        epoch: event.epoch,
        at: event.at_ms,
        kind: kind(&event.kind),
        app: event.app.clone(),
        instance: event.id,
        text: words::event_phrase(&event.kind),
        who: words::cause_text(&event.cause),
        severity: severity(event),
    }
}

/// Returns the name of the kind, as in the protocol.
fn kind(what: &EventKind) -> String {
    match serde_json::to_value(what) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(serde_json::Value::Object(map)) => map.into_iter().next().map_or_else(String::new, |(name, _)| name),
        _ => String::new(),
    }
}

fn severity(event: &Event) -> &'static str {
    let by_user = matches!(event.cause, EventCause::User { .. } | EventCause::Shutdown);
    match &event.kind {
        EventKind::Errored { .. } | EventKind::CouldNotStart { .. } | EventKind::ReloadFailed { .. } | EventKind::SetAside { .. } => {
            "critical"
        }
        EventKind::Health { state: Health::Unhealthy } => "critical",
        EventKind::LimitExceeded { warning: false, limit: LimitKind::Memory | LimitKind::Cpu | LimitKind::Errors } => "critical",
        EventKind::Exit { ending, .. } if !by_user && !matches!(event.cause, EventCause::Policy { .. }) => {
            if matches!(ending, ostler_core::lifecycle::ProcessEnding::Code(0)) { "info" } else { "warning" }
        }
        EventKind::NotReady { .. }
        | EventKind::KillTimeout
        | EventKind::RunMissed { .. }
        | EventKind::HookFailed { .. }
        | EventKind::Health { state: Health::Unready | Health::Broken }
        | EventKind::LimitExceeded { warning: true, .. }
        | EventKind::Recovered { .. }
        | EventKind::ClockMoved { .. }
        | EventKind::ReloadOverruled { .. }
        | EventKind::UpdateFailed { .. } => "warning",
        _ => "info",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::lifecycle::{PolicyName, ProcessEnding};

    fn severity_of(what: EventKind, cause: EventCause) -> (&'static str, String) {
        let view = event(&Event { epoch: 1, seq: 2, at_ms: 3, app: None, id: None, kind: what, cause, before: None, after: None });
        (view.severity, view.kind)
    }

    #[test]
    fn severity_distinguishes_crash_from_stop() {
        let exit = |code| EventKind::Exit { pid: 1, ending: ProcessEnding::Code(code), uptime_ms: 5 };
        let user = EventCause::User { command: "stop".into(), uid: 0, pid: 1, on_behalf_of: None };
        assert_eq!(severity_of(exit(1), EventCause::App), ("warning", "exit".into()));
        assert_eq!(severity_of(exit(0), EventCause::App), ("info", "exit".into()));
        assert_eq!(severity_of(exit(1), user), ("info", "exit".into()));
        assert_eq!(severity_of(exit(1), EventCause::policy(PolicyName::Cron, None)), ("info", "exit".into()));
        assert_eq!(severity_of(EventKind::Errored { unstable: 16 }, EventCause::App), ("critical", "errored".into()));
        assert_eq!(severity_of(EventKind::Stopped, EventCause::App), ("info", "stopped".into()));
        assert_eq!(severity_of(EventKind::ClockMoved { by_ms: 5_000 }, EventCause::System), ("warning", "clock_moved".into()));
    }
}
