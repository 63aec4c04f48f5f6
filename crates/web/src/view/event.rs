//! Events as text.

use ostler_client::words;
use ostler_proto::event::{Cause, Event, Health, Limit, What};
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
        kind: kind(&event.what),
        app: event.app.clone(),
        instance: event.id,
        text: words::event_phrase(&event.what),
        who: words::cause_text(&event.cause),
        severity: severity(event),
    }
}

/// Returns the name of the kind, as in the protocol.
fn kind(what: &What) -> String {
    match serde_json::to_value(what) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(serde_json::Value::Object(map)) => map.into_iter().next().map_or_else(String::new, |(name, _)| name),
        _ => String::new(),
    }
}

fn severity(event: &Event) -> &'static str {
    let by_user = matches!(event.cause, Cause::User { .. } | Cause::Shutdown);
    match &event.what {
        What::Errored { .. } | What::CouldNotStart { .. } | What::ReloadFailed { .. } | What::SetAside { .. } => "critical",
        What::Health { state: Health::Unhealthy } => "critical",
        What::LimitExceeded { warning: false, limit: Limit::Memory | Limit::Cpu | Limit::Errors } => "critical",
        What::Exit { ending, .. } if !by_user && !matches!(event.cause, Cause::Policy { .. }) => {
            if matches!(ending, ostler_core::lifecycle::Ending::Code(0)) { "info" } else { "warning" }
        }
        What::NotReady { .. }
        | What::KillTimeout
        | What::RunMissed { .. }
        | What::HookFailed { .. }
        | What::Health { state: Health::Unready | Health::Broken }
        | What::LimitExceeded { warning: true, .. }
        | What::Recovered { .. }
        | What::ReloadOverruled { .. }
        | What::UpdateFailed { .. } => "warning",
        _ => "info",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::lifecycle::{Ending, PolicyName};

    fn severity_of(what: What, cause: Cause) -> (&'static str, String) {
        let view = event(&Event { epoch: 1, seq: 2, at_ms: 3, app: None, id: None, what, cause, before: None, after: None });
        (view.severity, view.kind)
    }

    #[test]
    fn severity_distinguishes_crash_from_stop() {
        let exit = |code| What::Exit { pid: 1, ending: Ending::Code(code), uptime_ms: 5 };
        let user = Cause::User { command: "stop".into(), uid: 0, pid: 1, on_behalf_of: None };
        assert_eq!(severity_of(exit(1), Cause::App), ("warning", "exit".into()));
        assert_eq!(severity_of(exit(0), Cause::App), ("info", "exit".into()));
        assert_eq!(severity_of(exit(1), user), ("info", "exit".into()));
        assert_eq!(severity_of(exit(1), Cause::policy(PolicyName::Cron, None)), ("info", "exit".into()));
        assert_eq!(severity_of(What::Errored { unstable: 16 }, Cause::App), ("critical", "errored".into()));
        assert_eq!(severity_of(What::Stopped, Cause::App), ("info", "stopped".into()));
    }
}
