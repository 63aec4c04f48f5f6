//! One app in full. Only the names of its environment variables are shown, never their values.
//! Everywhere else, values that look like secrets are masked.

use std::collections::{BTreeMap, BTreeSet};

use ostler_client::source_line::SourceLine;
use ostler_client::words;
use ostler_core::app::AppSpec;
use ostler_core::lifecycle::ProcessEnding;
use ostler_core::logs::masking::{mask, secrets};
use ostler_proto::control::{Detail, InstanceFigures, RolloutReport, RolloutState};
use serde::Serialize;
use serde_json::{Map, Value};

use super::App;
use super::config::settings;
use super::failure::{Failure, failed, failure};
use super::routes::{Route, routes};
use crate::snapshot::is_measured;

/// Maximum number of custom metrics and actions that are shown per instance.
const MOST: usize = 256;

/// One app in full.
#[derive(Debug, Serialize)]
pub(crate) struct AppDetail {
    #[serde(flatten)]
    app: App,
    script: String,
    cwd: String,
    /// True if the app can take profiles of itself.
    profiles: bool,
    /// Configuration by the keys of its ecosystem file, masked.
    config: Map<String, Value>,
    /// Source of each key of `config`: `file`, `option`, `default`.
    config_from: BTreeMap<String, &'static str>,
    /// Its ecosystem file.
    config_file: Option<String>,
    /// Names of its environment variables.
    env: BTreeSet<String>,
    metrics: Vec<Metric>,
    /// Routes of a Node app, sorted by number of requests, the largest first.
    routes: Vec<Route>,
    actions: Vec<Action>,
    /// Last failure, if the app is down because of it or restarts often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<Failure>,
    /// Exits of its processes, the newest first.
    exits: Vec<Exit>,
    releases: Vec<Release>,
    /// Log files by instance.
    logs: Vec<Logs>,
}

/// Custom metric of the app.
#[derive(Debug, Serialize)]
struct Metric {
    instance: u32,
    name: String,
    value: Value,
    unit: Option<String>,
    /// True if ostler has measured it; false if the app reports it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    measured: bool,
}

/// An action that the app offers.
#[derive(Debug, Serialize)]
struct Action {
    name: String,
    /// Number of parameters, as reported by the app.
    arity: u64,
    comment: Option<String>,
}

#[derive(Debug, Serialize)]
struct Exit {
    at: u64,
    instance: u32,
    pid: i32,
    /// Text about the exit and its reason, which follows "it".
    text: String,
    ran_ms: u64,
    /// `failed`, `requested`, or `exited` (by itself, without an error).
    kind: &'static str,
    last_words: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Release {
    release: u32,
    version: Option<String>,
    at: u64,
    state: RolloutState,
    current: bool,
    fault: Option<String>,
}

#[derive(Debug, Serialize)]
struct Logs {
    instance: u32,
    out: Option<String>,
    error: Option<String>,
}

/// Returns the app of these instances, which all have one name. `source` is the source line of its
/// last failure.
pub(crate) fn detail(
    app: App,
    details: &[Detail],
    rollouts: &[RolloutReport],
    figures: &[&InstanceFigures],
    source: Option<SourceLine>,
) -> Option<AppDetail> {
    let first = details.first()?;
    let hidden = secrets(&serde_json::to_value(details.iter().map(|detail| &detail.spec).collect::<Vec<_>>()).unwrap_or_default());
    let (mut config, mut config_from) = (Map::new(), BTreeMap::new());
    for setting in settings(&first.spec, &first.files) {
        config_from.insert(setting.key.clone(), setting.from);
        config.insert(setting.key, setting.value);
    }
    let mut config = Value::Object(config);
    mask(&mut config, &hidden);
    let Value::Object(config) = config else { return None };
    let env = first.spec.env.layers().flat_map(|layer| layer.keys().cloned()).collect();
    let mut exits: Vec<Exit> = details.iter().flat_map(exits_of).collect();
    exits.sort_by_key(|exit| std::cmp::Reverse(exit.at));
    for line in exits.iter_mut().flat_map(|exit| &mut exit.last_words) {
        *line = ostler_core::logs::masking::masked(line, &hidden);
    }
    let masked = |text: &str| ostler_core::logs::masking::masked(text, &hidden);
    let failure = failed(&app, details).and_then(|detail| failure(detail, source, masked));
    Some(AppDetail {
        failure,
        script: first.spec.script.clone(),
        cwd: first.spec.cwd.clone(),
        profiles: is_profiled(&first.spec),
        app,
        config,
        config_from,
        config_file: first.spec.config_file.clone(),
        env,
        metrics: details.iter().flat_map(metrics_of).collect(),
        routes: routes(figures),
        actions: actions_of(first),
        exits,
        releases: rollouts.iter().rev().map(release).collect(),
        logs: details
            .iter()
            .map(|detail| Logs { instance: detail.id, out: detail.files.out.clone(), error: detail.files.error.clone() })
            .collect(),
    })
}

/// Returns true if an app with this configuration can take profiles of itself: a Node app with
/// ostler's preload.
pub(crate) fn is_profiled(spec: &AppSpec) -> bool {
    spec.runs_in_node() && !spec.no_preload
}

fn exits_of(detail: &Detail) -> impl Iterator<Item = Exit> + use<'_> {
    detail.instance.exits.iter().map(|exit| Exit {
        at: exit.ended.wall_ms,
        instance: detail.id,
        pid: exit.pid,
        text: format!("{}, {}", words::exit_text(exit.ending), words::exit_cause_text(&exit.cause)),
        ran_ms: exit.ended.mono_ms.saturating_sub(exit.started.mono_ms),
        kind: match exit.ending {
            _ if exit.is_requested() => "requested",
            ProcessEnding::Code(0) => "exited",
            _ => "failed",
        },
        last_words: exit.last_lines.clone(),
    })
}

fn metrics_of(detail: &Detail) -> impl Iterator<Item = Metric> + use<'_> {
    let text =
        |map: &Map<String, Value>, key: &str| map.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    detail.learned.axm_monitor.iter().take(MOST).filter_map(move |(name, metric)| {
        let measured = is_measured(metric);
        let metric = metric.as_object()?;
        // The metrics of routes have a table of their own.
        if measured && text(metric, "unit").as_deref() == Some("req/min") {
            return None;
        }
        Some(Metric { instance: detail.id, name: name.clone(), value: metric.get("value")?.clone(), unit: text(metric, "unit"), measured })
    })
}

fn actions_of(detail: &Detail) -> Vec<Action> {
    let action = |action: &Value| {
        let name = action.get("action_name")?.as_str()?.to_owned();
        let comment = action.get("opts").and_then(|opts| opts.get("comment")).and_then(Value::as_str).map(str::to_owned);
        Some(Action { name, arity: action.get("arity").and_then(Value::as_u64).unwrap_or(0), comment })
    };
    detail.learned.axm_actions.iter().take(MOST).filter_map(action).collect()
}

fn release(report: &RolloutReport) -> Release {
    Release {
        release: report.release,
        version: report.version.clone(),
        at: report.started_ms,
        state: report.state,
        current: report.current,
        fault: report.fault.as_ref().map(|fault| fault.reason.clone()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use ostler_core::lifecycle::{ExitRecord, Instance, InstanceState};
    use ostler_core::time::Now;

    use super::*;

    pub(crate) fn detail(id: u32, spec: AppSpec, state: InstanceState, exits: Vec<ExitRecord>) -> Detail {
        let value = serde_json::json!({
            "id": id, "index": 0, "unique_id": "", "spec": spec, "instance": Instance { state, exits, ..Instance::new(Now::at(1)) },
            "learned": {}, "monit": { "cpu_pct": 0.0, "memory_bytes": 0, "processes": 0 }, "files": {}, "user": "", "home": "",
        });
        serde_json::from_value(value).unwrap()
    }
}
