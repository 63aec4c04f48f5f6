//! Default rules.

use super::{Condition, Rule, Severity, Threshold};
use crate::input::Kind;

/// Returns the rules that are active unless the user turns them off.
pub fn defaults() -> Vec<Rule> {
    let events = |name: &str, kinds: &[Kind]| Rule::new(name, Condition::Events(kinds.to_vec()));
    let host = |metric: &str, limit: f64, clear: f64, severity, minutes: u64| {
        let metric = format!("host.{metric}");
        let condition = Threshold { metric: metric.clone(), above: true, limit, clear, window_ms: 0 };
        Rule { severity: Some(severity), for_ms: minutes * 60_000, ..Rule::new(&metric, Condition::Threshold(condition)) }
    };
    vec![
        events("crash", &[Kind::Crash]),
        events("errored", &[Kind::Errored]),
        events("out_of_memory", &[Kind::OutOfMemory]),
        events("unhealthy", &[Kind::Unhealthy]),
        events("check_broken", &[Kind::CheckBroken]),
        events("limit", &[Kind::Limit]),
        events("reload_refused", &[Kind::ReloadRefused]),
        events("job", &[Kind::JobFailed, Kind::JobMissed]),
        events("host_rebooted", &[Kind::HostRebooted]),
        events("daemon_replaced", &[Kind::DaemonReplaced, Kind::UpdateFailed, Kind::SetAside]),
        Rule { severity: Some(Severity::Warning), ..Rule::new("exception", Condition::Exception { new: true, returned: true }) },
        host("disk", 90.0, 85.0, Severity::Critical, 1),
        host("memory", 95.0, 90.0, Severity::Warning, 5),
        Rule { severity: Some(Severity::Warning), ..Rule::new("memory_forecast", Condition::Forecast { within_ms: 3_600_000 }) },
    ]
}
