//! One app in full. Only the names of its environment variables are shown, never their values.
//! Everywhere else, values that look like secrets are masked.

use std::collections::{BTreeMap, BTreeSet};

use ostler_client::words;
use ostler_core::app::AppSpec;
use ostler_core::logs::masking::{mask, secrets};
use ostler_proto::control::{Detail, Figures, RolloutReport, RolloutState};
use serde::Serialize;
use serde_json::{Map, Value};

use super::App;

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
    /// Effective configuration, masked.
    config: Value,
    /// Names of its environment variables.
    env: BTreeSet<String>,
    metrics: Vec<Metric>,
    /// Routes of a Node app, sorted by number of requests, the largest first.
    routes: Vec<Route>,
    actions: Vec<Action>,
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
}

/// Metrics of a route over all Node processes of an app, of the last 10 to 20 s.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Route {
    route: String,
    /// Requests per second, total.
    rate: f64,
    /// Share of the requests with 5xx, 0 to 1; none without a request.
    failed_share: Option<f64>,
    /// 95th percentile of the response time in seconds, of the slowest instance.
    p95: Option<f64>,
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

/// Returns the app of these instances, which all have one name.
pub(crate) fn detail(app: App, details: &[Detail], rollouts: &[RolloutReport], figures: &[&Figures]) -> Option<AppDetail> {
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
        *line = ostler_core::logs::masking::masked(line, &hidden);
    }
    Some(AppDetail {
        script: first.spec.script.clone(),
        cwd: first.spec.cwd.clone(),
        profiles: is_profiled(&first.spec),
        app,
        config,
        env,
        metrics: details.iter().flat_map(metrics_of).collect(),
        routes: routes_of(figures),
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
        last_words: exit.last_lines.clone(),
    })
}

fn metrics_of(detail: &Detail) -> impl Iterator<Item = Metric> + use<'_> {
    let text =
        |map: &Map<String, Value>, key: &str| map.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    detail.learned.axm_monitor.iter().take(MOST).filter_map(move |(name, metric)| {
        let metric = metric.as_object()?;
        // The metrics of routes have a table of their own.
        if text(metric, "type").as_deref() == Some("ostler") && text(metric, "unit").as_deref() == Some("req/min") {
            return None;
        }
        Some(Metric { instance: detail.id, name: name.clone(), value: metric.get("value")?.clone(), unit: text(metric, "unit") })
    })
}

fn routes_of(figures: &[&Figures]) -> Vec<Route> {
    let mut all: BTreeMap<&str, (Route, f64)> = BTreeMap::new();
    for route in figures.iter().flat_map(|figures| &figures.routes) {
        let (sum, failed) = all.entry(&route.route).or_default();
        let rate = route.rate.unwrap_or(0.0);
        sum.rate += rate;
        *failed += rate * route.failed_share.unwrap_or(0.0);
        sum.p95 = sum.p95.into_iter().chain(route.p95).reduce(f64::max);
    }
    let whole = |(name, (sum, failed)): (&str, (Route, f64))| Route {
        route: name.to_owned(),
        failed_share: (sum.rate > 0.0).then(|| failed / sum.rate),
        ..sum
    };
    let mut routes: Vec<Route> = all.into_iter().map(whole).collect();
    routes.sort_by(|one, other| other.rate.total_cmp(&one.rate));
    routes.truncate(MOST);
    routes
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
mod tests {
    use ostler_proto::control::RouteFigures;

    use super::*;

    #[test]
    fn routes_of_instances_are_summed() {
        let of = |route: &str, rate, failed_share, p95| RouteFigures {
            route: route.into(),
            rate: Some(rate),
            failed_share,
            p95,
            ..RouteFigures::default()
        };
        let figures = |routes| Figures { routes, ..Figures::default() };
        let one = figures(vec![of("GET /", 30.0, Some(0.1), Some(0.2)), of("GET /idle", 0.0, None, None)]);
        let other = figures(vec![of("GET /", 10.0, Some(0.5), Some(0.1)), of("GET /x", 1.0, Some(0.0), None)]);
        let routes = routes_of(&[&one, &other]);
        let names: Vec<&str> = routes.iter().map(|route| route.route.as_str()).collect();
        assert_eq!(names, ["GET /", "GET /x", "GET /idle"]);
        assert_eq!((routes[0].rate, routes[0].failed_share, routes[0].p95), (40.0, Some(0.2), Some(0.2)));
        assert_eq!((routes[2].rate, routes[2].failed_share, routes[2].p95), (0.0, None, None));
    }
}
