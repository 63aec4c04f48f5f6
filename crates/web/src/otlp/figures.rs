//! Metrics of the history in the terms of OpenTelemetry. Pure.

use std::collections::BTreeMap;

use ostler_otlp::encode::{Figure, MetricKind, Origin};

use crate::history::{Key, ROUTE, SeriesSubject, figures_of};
use crate::snapshot::RecordedSnapshot;

/// Prefix of the name of a custom metric.
const OWN: &str = "own:";

/// Metric in the history, name, unit (UCUM), factor, kind.
const APPS: &[(&str, &str, &str, f64, MetricKind)] = &[
    ("cpu", "ostler.app.cpu.usage", "1", 0.01, MetricKind::Gauge),
    ("memory", "ostler.app.memory.usage", "By", 1.0, MetricKind::Gauge),
    ("restarts", "ostler.app.restarts", "{restart}", 1.0, MetricKind::Total),
    ("requests", "ostler.app.http.requests", "{request}/s", 1.0, MetricKind::Gauge),
    ("p50", "ostler.app.http.response.p50", "s", 0.001, MetricKind::Gauge),
    ("p95", "ostler.app.http.response.p95", "s", 0.001, MetricKind::Gauge),
    ("p99", "ostler.app.http.response.p99", "s", 0.001, MetricKind::Gauge),
    ("errors", "ostler.app.http.failed", "1", 0.01, MetricKind::Gauge),
    ("loop", "ostler.app.event_loop.delay", "s", 0.001, MetricKind::Gauge),
    ("loop-p95", "ostler.app.event_loop.delay.p95", "s", 0.001, MetricKind::Gauge),
    ("loop-p99", "ostler.app.event_loop.delay.p99", "s", 0.001, MetricKind::Gauge),
    ("loop-use", "ostler.app.event_loop.usage", "1", 0.01, MetricKind::Gauge),
    ("heap", "ostler.app.heap.usage", "By", 1.0, MetricKind::Gauge),
    ("heap-total", "ostler.app.heap.size", "By", 1.0, MetricKind::Gauge),
    ("gc", "ostler.app.gc.usage", "1", 0.01, MetricKind::Gauge),
    ("handles", "ostler.app.handles", "{handle}", 1.0, MetricKind::Gauge),
];

/// Same for the machine.
const HOST: &[(&str, &str, &str, f64, MetricKind)] = &[
    ("cpu", "ostler.host.cpu.usage", "1", 0.01, MetricKind::Gauge),
    ("memory", "ostler.host.memory.usage", "By", 1.0, MetricKind::Gauge),
    ("load", "ostler.host.load", "1", 1.0, MetricKind::Gauge),
    ("disk", "ostler.host.disk.usage", "By", 1.0, MetricKind::Gauge),
];

/// Returns the metrics of a moment by source. Each is of one instance: an app with several has no
/// separate metrics, because the receiver can sum them. Only routes are of the app. `origin` returns the source for an
/// instance.
pub(super) fn figures(moment: &RecordedSnapshot, origin: impl Fn(u32) -> Option<Origin>) -> Vec<(Origin, Vec<Figure>)> {
    let mut all: BTreeMap<Origin, Vec<Figure>> = BTreeMap::new();
    let rows = &moment.snapshot.rows;
    let only = |namespace: &str, name: &str| {
        let mut ids = rows.iter().filter(|row| row.name == name && row.namespace == namespace).map(|row| row.id);
        ids.next().filter(|_| ids.next().is_none())
    };
    figures_of(&moment.snapshot, &moment.reported, |key, value| {
        let Some(Key { subject, metric }) = Key::parse(key) else { return };
        match subject {
            SeriesSubject::Host => {
                let host = || Origin { service: "ostler".into(), ..Origin::default() };
                all.entry(host()).or_default().extend(known(HOST, &metric, value));
            }
            SeriesSubject::App { namespace, name, instance } => {
                let route = metric.strip_prefix(ROUTE);
                let number = instance.or_else(|| only(&namespace, &name));
                if number.is_none() && route.is_none() {
                    return;
                }
                let unknown = || Origin { service: name, namespace: Some(namespace), instance: None, number };
                let origin = number.and_then(&origin).unwrap_or_else(unknown);
                let own = || metric.strip_prefix(OWN).map(|name| own(name, value));
                let of_route = || route.map(|route| of_route(route, value));
                all.entry(origin).or_default().extend(known(APPS, &metric, value).or_else(own).or_else(of_route));
            }
        }
    });
    all.into_iter().filter(|(_, figures)| !figures.is_empty()).collect()
}

fn known(table: &[(&str, &str, &'static str, f64, MetricKind)], metric: &str, value: f64) -> Option<Figure> {
    let (_, name, unit, factor, kind) = table.iter().find(|(known, ..)| *known == metric)?;
    Some(Figure { name: (*name).to_owned(), unit, kind: *kind, value: value * factor, attributes: Vec::new() })
}

/// Returns a custom metric. Its name may be anything, so it becomes an attribute instead of the
/// metric's name.
fn own(name: &str, value: f64) -> Figure {
    Figure { name: "ostler.app.own".into(), unit: "", kind: MetricKind::Gauge, value, attributes: vec![("name", name.to_owned())] }
}

/// Returns the requests of a route, whose name is an attribute.
fn of_route(route: &str, value: f64) -> Figure {
    let attributes = vec![("http.route", route.to_owned())];
    Figure { name: "ostler.app.http.route.requests".into(), unit: "{request}/s", kind: MetricKind::Gauge, value, attributes }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ostler_proto::control::{Figures, InstanceFigures, RouteFigures};

    use super::*;
    use crate::snapshot::ReportedMetrics;
    use crate::snapshot::Snapshot;
    use crate::view::tests_row as row;

    #[test]
    fn metrics_appear_once_per_instance() {
        let rows = vec![row(0, "api", "default", "online"), row(1, "api", "default", "online"), row(2, "cron", "jobs", "stopped")];
        let peer = Some(ostler_client::Peer { version: String::new(), pid: 1, keeper_pid: 2 });
        let route = RouteFigures { route: "GET /".into(), requests: 1, rate: Some(4.0), ..RouteFigures::default() };
        let figures_of = |id| InstanceFigures { id, figures: Figures { routes: vec![route.clone()], ..Figures::default() } };
        let snapshot = Arc::new(Snapshot { rows, figures: vec![figures_of(0), figures_of(1)], peer, ..Snapshot::default() });
        let reported = ReportedMetrics::for_test(1, &[("HTTP P95 Latency", 7.5), ("queue <b>", 3.0)]);
        let origin = |id| (id != 2).then(|| Origin { service: "api".into(), number: Some(id), ..Origin::default() });
        let all = figures(&RecordedSnapshot { snapshot, reported }, origin);
        let find = |number: u32, name: &str| {
            let (_, figures) = all.iter().find(|(origin, _)| origin.number == Some(number)).unwrap();
            figures.iter().filter(|figure| figure.name == name).map(|figure| figure.value).collect::<Vec<_>>()
        };
        assert_eq!(all.len(), 4, "{all:?}");
        let of_app = all.iter().find(|(origin, _)| origin.service == "api" && origin.number.is_none()).map(|(_, figures)| &figures[..]);
        let Some([routes]) = of_app else { panic!("{all:?}") };
        assert_eq!((routes.name.as_str(), routes.value, &routes.attributes[0].1[..]), ("ostler.app.http.route.requests", 8.0, "GET /"));
        assert_eq!((find(0, "ostler.app.memory.usage"), find(0, "ostler.app.restarts")), (vec![10.0], vec![0.0]));
        assert_eq!(find(1, "ostler.app.http.response.p95"), [0.0075]);
        assert_eq!(find(2, "ostler.app.restarts").len(), 1, "of an only instance the app's are its own");
        let (_, figures) = all.iter().find(|(origin, _)| origin.number == Some(1)).unwrap();
        assert!(figures.iter().any(|figure| figure.name == "ostler.app.own" && figure.attributes == [("name", "queue <b>".to_owned())]));
    }
}
