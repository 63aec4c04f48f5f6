//! Conversion of a snapshot into samples of series. Pure.

use std::collections::BTreeMap;

use ostler_history::Scale;

use super::Key;
use crate::snapshot::ReportedMetrics;
use crate::snapshot::Snapshot;
use crate::view::App;

/// Percent: steps of 0.1 are exact up to 6.3, then 1.6 %.
const PERCENT: Scale = Scale::new(0.1, 5);
/// Bytes: pages are exact up to 4 MiB, then 0.1 %.
const BYTES: Scale = Scale::new(4096.0, 9);
/// Counts: exact up to 2,047.
const COUNT: Scale = Scale::new(1.0, 10);
/// Load of the machine.
const LOAD: Scale = Scale::new(0.01, 6);
/// Custom metrics of any kind: thousandths are exact up to 0.255, then 0.4 %.
const ANY: Scale = Scale::new(0.001, 7);

/// How the values of instances are combined into one value of their app.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aggregation {
    Sum,
    Largest,
}

/// Metrics that libraries and ostler's preload report under their own names: reported name, name
/// here, factor, combination. If an instance reports two metrics for one name, the first counts.
const KNOWN: &[(&str, &str, f64, Aggregation)] = &[
    ("HTTP", "requests", 1.0 / 60.0, Aggregation::Sum),
    ("HTTP P95 Latency", "p95", 1.0, Aggregation::Largest),
    ("Event Loop Latency", "loop", 1.0, Aggregation::Largest),
    ("Event Loop Latency p95", "loop-p95", 1.0, Aggregation::Largest),
    ("Used Heap Size", "heap", 1_048_576.0, Aggregation::Sum),
    ("Requests", "requests", 1.0, Aggregation::Sum),
    ("Response time p95", "p95", 1.0, Aggregation::Largest),
    ("Responses 5xx", "errors", 1.0, Aggregation::Largest),
    ("Event loop delay p50", "loop", 1.0, Aggregation::Largest),
    ("Event loop use", "loop-use", 1.0, Aggregation::Largest),
    ("Heap used", "heap", 1_048_576.0, Aggregation::Sum),
];

/// Prefix of the name of a custom metric.
const OWN: &str = "own:";

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

/// Passes each value of a snapshot to its series.
pub(super) fn of(snapshot: &Snapshot, reported: &ReportedMetrics, sink: &mut impl FnMut(&str, Scale, f64)) {
    host(snapshot, sink);
    if snapshot.peer.is_none() {
        return;
    }
    let all = crate::view::apps(snapshot, |_| true);
    for app in all.apps.iter().chain(&all.modules) {
        one(app, reported, sink);
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

#[expect(clippy::cast_precision_loss, reason = "figures")]
fn one(app: &App, reported: &ReportedMetrics, sink: &mut impl FnMut(&str, Scale, f64)) {
    let mut give = |instance, metric: &str, scale, value| sink(&Key::app(&app.namespace, &app.name, instance, metric).text(), scale, value);
    give(None, "cpu", PERCENT, app.cpu);
    give(None, "memory", BYTES, app.memory as f64);
    give(None, "restarts", COUNT, app.restarts as f64);
    let is_alone = app.instances.len() == 1;
    let mut joined: BTreeMap<&str, (f64, Aggregation)> = BTreeMap::new();
    for instance in &app.instances {
        // The only instance of an app shares the series of the app.
        let own = (!is_alone).then_some(instance.id);
        if !is_alone {
            give(own, "cpu", PERCENT, instance.cpu);
            give(own, "memory", BYTES, instance.memory as f64);
            give(own, "restarts", COUNT, instance.restarts.into());
        }
        let mut taken: Vec<&str> = Vec::new();
        for (name, value) in reported.get(instance.id) {
            let Some((_, metric, factor, join)) = KNOWN.iter().find(|(known, ..)| known == name) else {
                give(own, &format!("{OWN}{name}"), ANY, *value);
                continue;
            };
            if taken.contains(metric) {
                continue;
            }
            taken.push(metric);
            let value = value * factor;
            if !is_alone {
                give(own, metric, scale(metric), value);
            }
            let all = joined.entry(metric).or_insert((0.0, *join));
            all.0 = if *join == Aggregation::Sum { all.0 + value } else { all.0.max(value) };
        }
    }
    for (metric, (value, _)) in joined {
        give(None, metric, scale(metric), value);
    }
}

/// Passes scraped values to their series.
pub(super) fn scraped(scraped: &[ScrapedValue], sink: &mut impl FnMut(&str, Scale, f64)) {
    for one in scraped {
        sink(&Key::app(&one.namespace, &one.app, one.instance, &format!("{OWN}{}", one.metric)).text(), ANY, one.value);
    }
}

fn scale(metric: &str) -> Scale {
    if metric == "heap" { BYTES } else { PERCENT }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests_row as row;

    fn taken(snapshot: &Snapshot, reported: &ReportedMetrics) -> BTreeMap<String, f64> {
        let mut all = BTreeMap::new();
        of(snapshot, reported, &mut |key, _, value| {
            assert!(all.insert(key.replace('\u{1f}', "/"), value).is_none(), "{key} twice");
        });
        all
    }

    #[test]
    fn samples_cover_apps_instances_and_reported_metrics() {
        let rows = vec![row(0, "api", "default", "online"), row(1, "api", "default", "online"), row(2, "cron", "jobs", "stopped")];
        let peer = Some(ostler_client::Peer { version: String::new(), pid: 1, keeper_pid: 2 });
        let snapshot = Snapshot { rows, peer, ..Snapshot::default() };
        let reported = ReportedMetrics::for_test(1, &[("HTTP", 120.0), ("HTTP P95 Latency", 7.5), ("<b>queue", 3.0), ("Requests", 2.1)]);
        let all = taken(&snapshot, &reported);
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
        // Without a daemon nothing is known about apps, which is different from 0.
        assert!(taken(&Snapshot { peer: None, ..snapshot }, &reported).is_empty());
    }
}
