//! Data from the descriptions of apps: their rules, secrets, limits, and custom metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use ostler_alerts::input::{InstanceState, MetricSample};
use ostler_alerts::rule::{Rule, rule};
use ostler_core::health::HealthState;
use ostler_core::logs::masking::secrets;
use ostler_core::message;
use ostler_proto::control::Detail;
use serde_json::Value;

/// Maximum number of rules of all apps together.
const MOST_RULES: usize = 1000;
/// Maximum number of secrets.
const MOST_SECRETS: usize = 2000;
/// Maximum number of custom metrics per app.
const MOST_FIGURES: usize = 256;

/// Collected data of all apps.
#[derive(Clone, Debug, Default)]
pub(super) struct AppDescriptions {
    /// All apps, with the states of their instances.
    pub(super) apps: BTreeMap<String, BTreeMap<u32, InstanceState>>,
    /// Valid rules in descriptions of apps.
    pub(super) rules: Vec<Rule>,
    /// Problems of invalid rules.
    pub(super) problems: Vec<String>,
    /// Apps that are jobs.
    pub(super) jobs: BTreeSet<String>,
    /// Values that are masked in messages.
    pub(super) secrets: Vec<String>,
    /// Memory limits by app.
    pub(super) memory: BTreeMap<String, f64>,
    /// Custom metrics of apps.
    pub(super) figures: Vec<MetricSample>,
}

/// Collects the data of all instances.
#[expect(clippy::cast_precision_loss, reason = "an amount to compare with")]
pub(super) fn descriptions(details: &[Detail], total_memory: u64) -> AppDescriptions {
    let mut all = AppDescriptions::default();
    for detail in details {
        let spec = &detail.spec;
        let is_first = !details.iter().take_while(|other| other.id != detail.id).any(|other| other.spec.name == spec.name);
        figures(detail, &mut all.figures);
        all.apps.entry(spec.name.clone()).or_default().insert(detail.id, standing(detail));
        if !is_first {
            continue;
        }
        if spec.cron.as_ref().is_some_and(|cron| cron.job.is_some()) {
            all.jobs.insert(spec.name.clone());
        }
        if let Some(amount) = spec.safeguards.as_ref().and_then(|safeguards| safeguards.memory) {
            all.memory.insert(spec.name.clone(), amount.bytes(total_memory) as f64);
        }
        own_rules(&spec.name, spec.given.open().get("alerts"), &mut all);
        let found = secrets(&serde_json::to_value(spec).unwrap_or_default());
        all.secrets.extend(found.into_iter().take(MOST_SECRETS - all.secrets.len().min(MOST_SECRETS)));
    }
    // The longest first, because a secret may be a part of another.
    all.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    all.secrets.dedup();
    all
}

fn standing(detail: &Detail) -> InstanceState {
    match (detail.instance.status(), detail.health.as_ref().map(|health| health.state)) {
        ("stopped", _) => InstanceState::Stopped,
        ("online", Some(HealthState::Healthy)) => InstanceState::Healthy,
        ("online", _) => InstanceState::Online,
        _ => InstanceState::Other,
    }
}

fn own_rules(app: &str, given: Option<&Value>, all: &mut AppDescriptions) {
    let list = match given {
        Some(Value::Array(list)) => list.as_slice(),
        Some(Value::Null) | None => &[],
        Some(one) => std::slice::from_ref(one),
    };
    for (at, value) in list.iter().enumerate().take(100) {
        match rule(value, Some(app)) {
            Ok(made) if all.rules.len() < MOST_RULES && all.rules.iter().all(|other| other.name != made.name) => all.rules.push(made),
            Ok(made) => {
                let name = format!("{:?}", made.name);
                all.problems.push(message!("{app}: alerts[{at}]: another rule is named {name}; set another `name`", app, at, name));
            }
            Err(problems) => all.problems.extend(problems.iter().map(|problem| format!("{app}: alerts[{at}].{problem}"))),
        }
    }
    all.problems.truncate(100);
}

/// Adds the custom metrics of an instance, and the age of its last log line.
fn figures(detail: &Detail, figures: &mut Vec<MetricSample>) {
    if detail.monit.processes == 0 {
        return;
    }
    let app = &detail.spec.name;
    let mut add = |metric: &str, value: f64| {
        let found = figures.iter_mut().find(|sample| sample.app == *app && sample.metric == metric);
        match found {
            Some(sample) => sample.values.push((Some(detail.id), value)),
            None => {
                let (app, metric) = (app.clone(), metric.to_owned());
                figures.push(MetricSample { app, metric, values: vec![(Some(detail.id), value)], limit: None });
            }
        }
    };
    let files = [&detail.files.out, &detail.files.error, &detail.files.combined];
    let written = files.into_iter().flatten().filter_map(|file| std::fs::metadata(file).ok()?.modified().ok()).max();
    if let Some(age) = written.and_then(|at| SystemTime::now().duration_since(at).ok()) {
        add("log_age", age.as_secs_f64());
    }
    for (name, metric) in detail.learned.axm_monitor.iter().take(MOST_FIGURES) {
        let value = metric.get("value").and_then(|value| match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.split(' ').next()?.parse().ok(),
            _ => None,
        });
        let Some(value) = value.filter(|value| value.is_finite()) else { continue };
        add(name, value);
        // Names used by PM2's library (requests per minute) and by ostler's preload (requests per
        // second).
        match name.as_str() {
            "HTTP" | "Requests" => add("requests", value),
            "HTTP errors" | "HTTP error rate" | "Responses 5xx" => add("error_rate", value),
            _ => {}
        }
    }
}
