//! `alerts`: rules of an app. They are checked here and stored as given; the process that evaluates
//! them reads them from there.

use ostler_alerts::input::OccurrenceKind;
use ostler_alerts::rule::{Condition, rule};
use ostler_core::app::AppSpec;
use ostler_core::health::HealthSpec;
use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use serde_json::Value;

use crate::fault::{Fault, KeyFault, below};

/// Largest number of rules of an app.
const MOST: usize = 100;

/// Checks the rules. Returns all faults at once.
pub(super) fn check(app: &str, value: &Value) -> Result<(), Fault> {
    let list = list(value);
    if list.len() > MOST {
        return Err(message!("expected at most {most} rules, found {count}", most = MOST, count = list.len()).into());
    }
    let mut faults = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (at, value) in list.iter().enumerate() {
        match rule(value, Some(app)) {
            Ok(rule) if names.contains(&rule.name) => faults.push((at, message!("another rule has this name; set another `name`"))),
            Ok(rule) => names.push(rule.name),
            Err(problems) => faults.extend(problems.iter().map(|problem| (at, problem.to_string()))),
        }
    }
    joined(value, &faults)
}

/// Returns all faults as one, at the first of the rules that have them.
fn joined(value: &Value, faults: &[(usize, String)]) -> Result<(), Fault> {
    let Some((first, _)) = faults.first() else { return Ok(()) };
    let message = faults.iter().map(|(at, fault)| format!("[{at}]: {fault}")).collect::<Vec<_>>().join("; ");
    if value.is_array() { Err(below(*first)(message)) } else { Err(message.into()) }
}

fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    }
}

/// Rejects rules that can never fire for this app. Invalid rules are left to [`check`].
pub(super) fn finish(spec: &AppSpec) -> Result<(), KeyFault> {
    let given = spec.given.open();
    let Some(value) = given.get("alerts") else { return Ok(()) };
    let faults = list(value).iter().enumerate().filter_map(|(at, value)| {
        let why = never(spec, &rule(value, Some(&spec.name)).ok()?.condition)?;
        Some((at, message!("can never fire: {why}", why = translated(why))))
    });
    joined(value, &faults.collect::<Vec<_>>()).map_err(|fault| ("alerts", fault))
}

/// Returns the reason why a condition can never hold for this app.
fn never(spec: &AppSpec, condition: &Condition) -> Option<&'static str> {
    match condition {
        Condition::Forecast { .. } if spec.safeguards.as_ref().is_none_or(|safeguards| safeguards.memory.is_none()) => {
            Some(marked!("the app has no `max_memory_restart`"))
        }
        Condition::Events(kinds) => {
            let mut reasons = kinds.iter().map(|kind| never_happens(spec, *kind));
            let first = reasons.next()??;
            reasons.all(|reason| reason.is_some()).then_some(first)
        }
        _ => None,
    }
}

fn never_happens(spec: &AppSpec, kind: OccurrenceKind) -> Option<&'static str> {
    match kind {
        OccurrenceKind::Crash | OccurrenceKind::Errored if spec.is_job() => Some(marked!("the app is a job, which reports `job_failed`")),
        OccurrenceKind::JobFailed | OccurrenceKind::JobMissed if !spec.is_job() => Some(marked!("the app is not a job")),
        OccurrenceKind::Unhealthy | OccurrenceKind::CheckBroken if !spec.health().is_some_and(HealthSpec::is_watched) => {
            Some(marked!("the app has no `health`"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_that_can_never_fire_for_the_app_are_rejected() {
        let spec = |alerts: Value| {
            let given = serde_json::from_value::<std::collections::BTreeMap<String, Value>>(json!({ "alerts": alerts })).unwrap();
            AppSpec { name: "api".into(), given: given.into_iter().collect::<serde_json::Map<_, _>>().into(), ..AppSpec::default() }
        };
        for (alerts, why) in [
            (json!({ "forecast": "memory" }), "max_memory_restart"),
            (json!(["crash", "unhealthy"]), "[1]: can never fire: the app has no `health`"),
            (json!({ "on": ["job_failed", "job_missed"] }), "not a job"),
        ] {
            let (key, text) = finish(&spec(alerts.clone())).unwrap_err();
            assert!(key == "alerts" && text.message.contains(why), "{alerts}: {text:?}");
        }
        assert_eq!(finish(&spec(json!([{ "on": ["unhealthy", "crash"] }, "errored"]))), Ok(()));
    }

    #[test]
    fn all_rule_errors_are_reported_at_once() {
        assert_eq!(check("api", &json!(["crash", { "metric": "cpu", "above": 90 }])), Ok(()));
        assert_eq!(check("api", &json!("crash")), Ok(()));
        let faults = check("api", &json!(["crahs", { "on": "crash", "severty": "info" }, "crash", "crash"])).unwrap_err().message;
        for text in
            ["[0]: on: expected one of", "did you mean crash?", "[1]: severty: unknown key; did you mean severity?", "[3]: another rule"]
        {
            assert!(faults.contains(text), "{faults}");
        }
    }
}
