//! Conversion of a snapshot into samples of series. Pure.

use std::collections::BTreeMap;

use ostler_history::Scale;
use ostler_proto::control::Figures;

use super::Key;
use super::measured::{Aggregation, Combined, values};
use crate::snapshot::ReportedMetrics;
use crate::snapshot::Snapshot;
use crate::view::App;

/// Percent: steps of 0.1 are exact up to 6.3, then 1.6 %.
const PERCENT: Scale = Scale::new(0.1, 5);
/// Bytes: pages are exact up to 4 MiB, then 0.1 %.
const BYTES: Scale = Scale::new(4096.0, 9);
/// Counts: exact up to 2,047.
const COUNT: Scale = Scale::new(1.0, 10);
/// Requests a second of a route, which may be few.
const RATE: Scale = Scale::new(0.01, 6);
/// Load of the machine.
const LOAD: Scale = Scale::new(0.01, 6);
/// Custom metrics of any kind: thousandths are exact up to 0.255, then 0.4 %.
const ANY: Scale = Scale::new(0.001, 7);

/// Metrics that libraries report under their own names: reported name, name here, factor,
/// combination. They count only if ostler does not measure the same itself. If an instance reports
/// two metrics for one name, the first counts.
const KNOWN: &[(&str, &str, f64, Aggregation)] = &[
    ("HTTP", "requests", 1.0 / 60.0, Aggregation::Sum),
    ("HTTP P95 Latency", "p95", 1.0, Aggregation::Largest),
    ("Event Loop Latency", "loop", 1.0, Aggregation::Largest),
    ("Event Loop Latency p95", "loop-p95", 1.0, Aggregation::Largest),
    ("Used Heap Size", "heap", 1_048_576.0, Aggregation::Sum),
];

/// Prefix of the name of a custom metric.
const OWN: &str = "own:";
/// Prefix of the name of a route.
pub(crate) const ROUTE: &str = "route:";
/// Maximum number of routes of an app that are recorded.
const ROUTES: usize = 20;

/// Value from an app's own page (`scrape`) at one instant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ScrapedValue {
    pub(crate) namespace: String,
    pub(crate) app: String,
    /// None = of the app, or of its only instance.
    pub(crate) instance: Option<u32>,
    pub(crate) metric: String,
    pub(crate) value: f64,
}

/// Passes each value of a snapshot to its series. `reported` has the custom metrics; without them,
/// only usage is recorded.
pub(super) fn of(snapshot: &Snapshot, reported: Option<&ReportedMetrics>, sink: &mut impl FnMut(&str, Scale, f64)) {
    host(snapshot, sink);
    if snapshot.peer.is_none() {
        return;
    }
    let all = crate::view::apps(snapshot, |_| true);
    let measured: BTreeMap<u32, &Figures> = snapshot.figures.iter().map(|one| (one.id, &one.figures)).collect();
    for app in all.apps.iter().chain(&all.modules) {
        usage(app, sink);
        if let Some(reported) = reported {
            figures(app, &measured, reported, sink);
            routes(app, &measured, sink);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures")]
fn host(snapshot: &Snapshot, sink: &mut impl FnMut(&str, Scale, f64)) {
    let host = &snapshot.host;
    let mut give = |metric: &str, scale, value| sink(&Key::host(metric).text(), scale, value);
    if let Some(cpu) = host.cpu {
        give("cpu", PERCENT, cpu * 100.0);
    }
    if host.memory.total > 0 {
        give("memory", BYTES, host.memory.used as f64);
    }
    if let Some([load, ..]) = host.load {
        give("load", LOAD, load);
    }
    if let Some(disk) = host.disk {
        give("disk", BYTES, disk.used as f64);
    }
}

/// Returns the key of a series of an app.
fn key(app: &App, instance: Option<u32>, metric: &str) -> String {
    Key::app(&app.namespace, &app.name, instance, metric).text()
}

#[expect(clippy::cast_precision_loss, reason = "figures")]
fn usage(app: &App, sink: &mut impl FnMut(&str, Scale, f64)) {
    let mut give = |instance, metric: &str, scale, value| sink(&key(app, instance, metric), scale, value);
    give(None, "cpu", PERCENT, app.cpu);
    give(None, "memory", BYTES, app.memory as f64);
    give(None, "restarts", COUNT, app.restarts as f64);
    // The only instance of an app shares the series of the app.
    for instance in app.instances.iter().filter(|_| app.instances.len() > 1) {
        give(Some(instance.id), "cpu", PERCENT, instance.cpu);
        give(Some(instance.id), "memory", BYTES, instance.memory as f64);
        give(Some(instance.id), "restarts", COUNT, instance.restarts.into());
    }
}

/// Passes the measurements and the custom metrics of an app, by instance and combined.
fn figures(app: &App, measured: &BTreeMap<u32, &Figures>, reported: &ReportedMetrics, sink: &mut impl FnMut(&str, Scale, f64)) {
    let is_alone = app.instances.len() == 1;
    let mut joined: BTreeMap<&str, Combined> = BTreeMap::new();
    for instance in &app.instances {
        let own = (!is_alone).then_some(instance.id);
        let figures = measured.get(&instance.id).copied();
        let mut known: Vec<(&str, Aggregation, f64)> = figures.into_iter().flat_map(values).collect();
        for (name, value) in reported.get(instance.id) {
            match KNOWN.iter().find(|(given, ..)| given == name) {
                Some((_, metric, factor, join)) if known.iter().all(|(has, ..)| has != metric) => {
                    known.push((*metric, *join, value * factor))
                }
                Some(_) => {}
                None => sink(&key(app, own, &format!("{OWN}{name}")), ANY, *value),
            }
        }
        let weight = figures.map_or(0.0, |figures| figures.rate);
        for (metric, join, value) in known {
            if !is_alone {
                sink(&key(app, own, metric), scale(metric), value);
            }
            joined.entry(metric).or_default().add(join, value, weight);
        }
    }
    for (metric, combined) in joined {
        sink(&key(app, None, metric), scale(metric), combined.value);
    }
}

/// Passes the requests a second of the busiest routes, over all instances.
fn routes(app: &App, measured: &BTreeMap<u32, &Figures>, sink: &mut impl FnMut(&str, Scale, f64)) {
    let mut all: BTreeMap<&str, (u64, f64)> = BTreeMap::new();
    let of_app = app.instances.iter().filter_map(|instance| measured.get(&instance.id));
    for route in of_app.flat_map(|figures| &figures.routes) {
        let Some(rate) = route.rate else { continue };
        let sum = all.entry(&route.route).or_default();
        *sum = (sum.0.saturating_add(route.requests), sum.1 + rate);
    }
    let mut all: Vec<(&str, (u64, f64))> = all.into_iter().collect();
    // By all requests so far, so that the same routes are recorded each time.
    all.sort_by_key(|(_, (requests, _))| std::cmp::Reverse(*requests));
    for (route, (_, rate)) in all.into_iter().take(ROUTES) {
        sink(&key(app, None, &format!("{ROUTE}{route}")), RATE, rate);
    }
}

/// Passes scraped values to their series.
pub(super) fn scraped(scraped: &[ScrapedValue], sink: &mut impl FnMut(&str, Scale, f64)) {
    for one in scraped {
        sink(&Key::app(&one.namespace, &one.app, one.instance, &format!("{OWN}{}", one.metric)).text(), ANY, one.value);
    }
}

fn scale(metric: &str) -> Scale {
    match metric {
        "heap" | "heap-total" => BYTES,
        "handles" => COUNT,
        _ => PERCENT,
    }
}

#[cfg(test)]
mod tests {
    use ostler_proto::control::{InstanceFigures, RouteFigures};

    use super::*;
    use crate::view::tests_row as row;

    fn taken(snapshot: &Snapshot, reported: Option<&ReportedMetrics>) -> BTreeMap<String, f64> {
        let mut all = BTreeMap::new();
        of(snapshot, reported, &mut |key, _, value| {
            assert!(all.insert(key.replace('\u{1f}', "/"), value).is_none(), "{key} twice");
        });
        all
    }

    fn snapshot(figures: Vec<InstanceFigures>) -> Snapshot {
        let rows = vec![row(0, "api", "default", "online"), row(1, "api", "default", "online"), row(2, "cron", "jobs", "stopped")];
        let peer = Some(ostler_client::Peer { version: String::new(), pid: 1, keeper_pid: 2 });
        Snapshot { rows, figures, peer, ..Snapshot::default() }
    }

    #[test]
    fn samples_cover_apps_instances_and_reported_metrics() {
        let snapshot = snapshot(Vec::new());
        let reported = ReportedMetrics::for_test(1, &[("HTTP", 120.0), ("HTTP P95 Latency", 7.5), ("<b>queue", 3.0)]);
        let all = taken(&snapshot, Some(&reported));
        for (key, value) in [
            ("app/default/api/-/cpu", 2.2),
            ("app/default/api/-/memory", 20.0),
            ("app/default/api/-/restarts", 1.0),
            ("app/default/api/1/cpu", 1.1),
            ("app/default/api/1/requests", 2.0),
            ("app/default/api/-/requests", 2.0),
            ("app/default/api/-/p95", 7.5),
            ("app/default/api/1/own:<b>queue", 3.0),
            ("app/jobs/cron/-/restarts", 2.0),
        ] {
            assert_eq!(all.get(key), Some(&value), "{key} in {all:?}");
        }
        assert!(!all.contains_key("app/jobs/cron/2/cpu"), "an only instance has no figures of its own");
        assert!(taken(&snapshot, None).keys().all(|key| !key.contains("requests") && !key.contains("own:")));
        // Without a daemon nothing is known about apps, which is different from 0.
        assert!(taken(&Snapshot { peer: None, ..snapshot }, Some(&reported)).is_empty());
    }

    #[test]
    fn measurements_are_combined_by_their_kind() {
        let route = |route: &str, requests, rate| RouteFigures { route: route.into(), requests, rate, ..RouteFigures::default() };
        let of = |id, rate, share, p95, routes| {
            let (failed_share, p95) = (Some(share), Some(p95));
            let figures = Figures { requests: 9, rate, failed_share, p95, heap_used: 5, handles: 3, routes, ..Figures::default() };
            InstanceFigures { id, figures }
        };
        let many = (0..50).map(|n| route(&format!("GET /{n:02}"), 1000 - n, Some(2.0))).collect();
        let other = vec![route("GET /49", 5000, Some(1.5)), route("GET /new", 9000, None)];
        let snapshot = snapshot(vec![of(0, 30.0, 0.1, 0.2, many), of(1, 10.0, 0.5, 0.1, other)]);
        // Reported by a library, and measured: the measured value counts.
        let reported = ReportedMetrics::for_test(1, &[("HTTP", 6000.0)]);
        let all = taken(&snapshot, Some(&reported));
        for (key, value) in [
            ("app/default/api/-/requests", 40.0),
            ("app/default/api/1/requests", 10.0),
            ("app/default/api/-/errors", 20.0),
            ("app/default/api/1/errors", 50.0),
            ("app/default/api/-/p95", 200.0),
            ("app/default/api/-/heap", 10.0),
            ("app/default/api/-/handles", 6.0),
            ("app/default/api/-/route:GET /49", 3.5),
            ("app/default/api/-/route:GET /00", 2.0),
        ] {
            assert_eq!(all.get(key), Some(&value), "{key} in {all:?}");
        }
        let routes = all.keys().filter(|key| key.contains("route:")).count();
        assert!(routes == ROUTES && !all.contains_key("app/default/api/-/route:GET /new"), "{all:?}");
    }
}
