//! Default rules.

use super::{Condition, Rule, Severity, Threshold};
use crate::input::OccurrenceKind;

/// Returns the rules that are active unless the user turns them off.
pub fn defaults() -> Vec<Rule> {
    let events = |name: &str, kinds: &[OccurrenceKind]| Rule::new(name, Condition::Events(kinds.to_vec()));
    let host = |metric: &str, limit: f64, clear: f64, severity, minutes: u64| {
        let metric = format!("host.{metric}");
        let condition = Threshold { metric: metric.clone(), above: true, limit, clear, window_ms: 0 };
        Rule { severity: Some(severity), for_ms: minutes * 60_000, ..Rule::new(&metric, Condition::Threshold(condition)) }
    };
    vec![
        events("crash", &[OccurrenceKind::Crash]),
        events("errored", &[OccurrenceKind::Errored]),
        events("out_of_memory", &[OccurrenceKind::OutOfMemory]),
        events("unhealthy", &[OccurrenceKind::Unhealthy]),
        events("check_broken", &[OccurrenceKind::CheckBroken]),
        events("limit", &[OccurrenceKind::Limit]),
        events("reload_refused", &[OccurrenceKind::ReloadRefused]),
        events("job", &[OccurrenceKind::JobFailed, OccurrenceKind::JobMissed]),
        events("host_rebooted", &[OccurrenceKind::HostRebooted]),
        events("daemon_replaced", &[OccurrenceKind::DaemonReplaced, OccurrenceKind::UpdateFailed, OccurrenceKind::SetAside]),
        Rule { severity: Some(Severity::Warning), ..Rule::new("exception", Condition::Exception { new: true, returned: true }) },
        host("disk", 90.0, 85.0, Severity::Critical, 1),
        host("memory", 95.0, 90.0, Severity::Warning, 5),
        Rule { severity: Some(Severity::Warning), ..Rule::new("memory_forecast", Condition::Forecast { within_ms: 3_600_000 }) },
    ]
}
