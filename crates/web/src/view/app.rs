//! One app in full. Values of its environment are not shown to anybody, only their names; what looks like a secret is masked everywhere else.

use std::collections::BTreeSet;

use ostler_client::words;
use ostler_core::app::AppSpec;
use ostler_core::masking::{mask, secrets};
use ostler_proto::control::{Detail, RolloutReport, RolloutState};
use serde::Serialize;
use serde_json::{Map, Value};

use super::App;

/// Most custom metrics and actions of an instance that are shown.
const MOST: usize = 256;

/// One app in full.
#[derive(Debug, Serialize)]
pub(crate) struct AppDetail {
    #[serde(flatten)]
    app: App,
    script: String,
    cwd: String,
    /// True if it can take profiles of itself.
    profiles: bool,
    /// The effective description, masked.
    config: Value,
    /// Names of the variables of its environment.
    env: BTreeSet<String>,
    metrics: Vec<Metric>,
    actions: Vec<Action>,
    /// Ends of its processes, the newest first.
    exits: Vec<Exit>,
    releases: Vec<Release>,
    /// Log files by instance.
    logs: Vec<Logs>,
}

/// A figure that the app reports itself.
#[derive(Debug, Serialize)]
struct Metric {
    instance: u32,
    name: String,
    value: Value,
    unit: Option<String>,
}

/// An action that the app offers.
#[derive(Debug, Serialize)]
struct Action {
    name: String,
    /// Number of parameters, as the app says.
    arity: u64,
    comment: Option<String>,
}

#[derive(Debug, Serialize)]
struct Exit {
    at: u64,
    instance: u32,
    pid: i32,
    /// How it ended and why, in words that follow "it".
    text: String,
    ran_ms: u64,
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

/// The app of these instances, which are all of one name.
pub(crate) fn detail(app: App, details: &[Detail], rollouts: &[RolloutReport]) -> Option<AppDetail> {
    let first = details.first()?;
    let mut config = serde_json::to_value(&first.spec).unwrap_or_default();
    let hidden = secrets(&serde_json::to_value(details.iter().map(|detail| &detail.spec).collect::<Vec<_>>()).unwrap_or_default());
    mask(&mut config, &hidden);
    if let Value::Object(map) = &mut config {
        map.remove("env");
    }
    let env = first.spec.env.layers().flat_map(|layer| layer.keys().cloned()).collect();
    let mut exits: Vec<Exit> = details.iter().flat_map(exits_of).collect();
    exits.sort_by_key(|exit| std::cmp::Reverse(exit.at));
    for line in exits.iter_mut().flat_map(|exit| &mut exit.last_words) {
        *line = ostler_core::masking::masked(line, &hidden);
    }
    Some(AppDetail {
        script: first.spec.script.clone(),
        cwd: first.spec.cwd.clone(),
        profiles: is_profiled(&first.spec),
        app,
        config,
        env,
        metrics: details.iter().flat_map(metrics_of).collect(),
        actions: actions_of(first),
        exits,
        releases: rollouts.iter().rev().map(release).collect(),
        logs: details
            .iter()
            .map(|detail| Logs { instance: detail.id, out: detail.files.out.clone(), error: detail.files.error.clone() })
            .collect(),
    })
}

/// True if an app of this description can take profiles of itself: Node, with our preload.
pub(crate) fn is_profiled(spec: &AppSpec) -> bool {
    spec.runs_in_node() && !spec.no_preload
}

fn exits_of(detail: &Detail) -> impl Iterator<Item = Exit> + use<'_> {
    detail.instance.exits.iter().map(|exit| Exit {
        at: exit.ended.wall_ms,
        instance: detail.id,
        pid: exit.pid,
        text: format!("{}, {}", words::how(exit.ending), words::exit_cause(&exit.cause)),
        ran_ms: exit.ended.mono_ms.saturating_sub(exit.started.mono_ms),
        last_words: exit.last_lines.clone(),
    })
}

fn metrics_of(detail: &Detail) -> impl Iterator<Item = Metric> + use<'_> {
    let text =
        |map: &Map<String, Value>, key: &str| map.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    detail.learned.axm_monitor.iter().take(MOST).filter_map(move |(name, metric)| {
        let metric = metric.as_object()?;
        Some(Metric { instance: detail.id, name: name.clone(), value: metric.get("value")?.clone(), unit: text(metric, "unit") })
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
