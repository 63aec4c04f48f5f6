//! Measurements that Node apps report about themselves, by worker.

use ostler_proto::control::{Figures, RouteFigures, TableRow};

use super::exposition::{Exposition, FamilyKind};
use crate::snapshot::Snapshot;

/// Function that returns a value of a worker.
type Value = fn(&Figures) -> Option<f64>;

/// Adds the families for which there are measurements.
#[expect(clippy::cast_precision_loss, reason = "the format knows floats alone")]
pub(super) fn add(out: &mut Exposition, snapshot: &Snapshot) {
    let of = |row: &TableRow| snapshot.figures.iter().find(|one| one.id == row.id).map(|one| &one.figures);
    let workers: Vec<(Worker, &Figures)> = snapshot.rows.iter().filter_map(|row| Some((Worker::from_row(row), of(row)?))).collect();
    if workers.is_empty() {
        return;
    }
    let seconds = Some("seconds");
    let plain: [(&str, FamilyKind, Option<&str>, &str, Value); 8] = [
        ("ostler_node_http_requests", FamilyKind::Counter, None, "Requests since measuring started.", |one| Some(one.requests as f64)),
        ("ostler_node_http_failed_requests", FamilyKind::Counter, None, "Responses 5xx since measuring started.", |one| {
            Some(one.failed as f64)
        }),
        (
            "ostler_node_event_loop_usage_ratio",
            FamilyKind::Gauge,
            Some("ratio"),
            "Event loop use: share of the last 2 s in which it was busy.",
            |one| Some(one.loop_use),
        ),
        ("ostler_node_heap_used_bytes", FamilyKind::Gauge, Some("bytes"), "Heap used, of V8.", |one| Some(one.heap_used as f64)),
        ("ostler_node_heap_size_bytes", FamilyKind::Gauge, Some("bytes"), "Heap total, of V8.", |one| Some(one.heap_total as f64)),
        ("ostler_node_gc_seconds", FamilyKind::Counter, seconds, "GC time: time in garbage collection since measuring started.", |one| {
            Some(one.gc_seconds)
        }),
        ("ostler_node_handles", FamilyKind::Gauge, None, "Handles and requests that keep the process alive.", |one| {
            Some(one.handles as f64)
        }),
        (
            "ostler_node_measured_seconds",
            FamilyKind::Gauge,
            seconds,
            "Time since measuring started; the app measures while its metrics are read.",
            |one| Some(one.seconds),
        ),
    ];
    for (name, kind, unit, help, value) in plain {
        out.family(name, kind, unit, help);
        for (worker, figures) in &workers {
            value(figures).into_iter().for_each(|value| out.sample(&worker.labels(), value));
        }
    }
    out.family("ostler_node_http_response_seconds", FamilyKind::Gauge, seconds, "Response time over the last 10 to 20 s.");
    percentiles(out, &workers, &[("50", |one| one.p50), ("95", |one| one.p95), ("99", |one| one.p99)]);
    out.family("ostler_node_event_loop_delay_seconds", FamilyKind::Gauge, seconds, "Event loop delay over the last 2 to 10 s.");
    percentiles(out, &workers, &[("50", |one| Some(one.loop_delay_p50)), ("99", |one| Some(one.loop_delay_p99))]);
    let mut routes = |name: &str, kind: FamilyKind, unit: Option<&str>, help: &str, value: fn(&RouteFigures) -> Option<f64>| {
        out.family(name, kind, unit, help);
        for (worker, figures) in &workers {
            for (route, value) in figures.routes.iter().filter_map(|route| Some((route, value(route)?))) {
                let [app, namespace, worker] = worker.labels();
                out.sample(&[app, namespace, worker, ("route", &route.route)], value);
            }
        }
    };
    routes("ostler_node_http_route_requests", FamilyKind::Counter, None, "Requests by route since measuring started.", |route| {
        Some(route.requests as f64)
    });
    routes(
        "ostler_node_http_route_failed_requests",
        FamilyKind::Counter,
        None,
        "Responses 5xx by route since measuring started.",
        |route| Some(route.failed as f64),
    );
    routes(
        "ostler_node_http_route_response_seconds",
        FamilyKind::Gauge,
        seconds,
        "Response time by route: 95th percentile of the last 10 to 20 s.",
        |route| route.p95,
    );
}

/// Labels of a worker.
struct Worker<'a> {
    app: &'a str,
    namespace: &'a str,
    id: String,
}

impl<'a> Worker<'a> {
    fn from_row(row: &'a TableRow) -> Self {
        Self { app: &row.name, namespace: &row.namespace, id: row.id.to_string() }
    }

    fn labels(&self) -> [(&str, &str); 3] {
        [("app", self.app), ("namespace", self.namespace), ("worker", &self.id)]
    }
}

fn percentiles(out: &mut Exposition, workers: &[(Worker<'_>, &Figures)], values: &[(&str, Value)]) {
    for (worker, figures) in workers {
        for (percentile, value) in values.iter().filter_map(|(name, value)| Some((name, value(figures)?))) {
            let [app, namespace, worker] = worker.labels();
            out.sample(&[app, namespace, worker, ("percentile", percentile)], value);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use ostler_proto::control::InstanceFigures;

    use super::*;
    use crate::metrics::exposition::Format;
    use crate::view::tests_row as row;

    /// Returns a snapshot with two workers, one of which has measurements.
    pub(in crate::metrics) fn measured() -> Snapshot {
        let route = |route: &str| RouteFigures { route: route.into(), requests: 12, failed: 1, p95: Some(0.25), ..RouteFigures::default() };
        let figures = Figures {
            seconds: 20.0,
            requests: 12,
            failed: 1,
            p95: Some(0.25),
            heap_used: 1000,
            routes: vec![route("GET /a\"b"), route("GET /")],
            ..Figures::default()
        };
        let rows = vec![row(0, "api", "default", "online"), row(1, "api", "default", "online")];
        Snapshot { rows, figures: vec![InstanceFigures { id: 1, figures }], ..Snapshot::default() }
    }

    #[test]
    fn node_metrics_are_labelled_by_worker_and_route() {
        let mut out = Exposition::new(Format::OpenMetrics);
        add(&mut out, &measured());
        let text = out.end();
        for line in [
            "ostler_node_http_requests_total{app=\"api\",namespace=\"default\",worker=\"1\"} 12",
            "ostler_node_http_response_seconds{app=\"api\",namespace=\"default\",worker=\"1\",percentile=\"95\"} 0.25",
            "ostler_node_http_route_requests_total{app=\"api\",namespace=\"default\",worker=\"1\",route=\"GET /a\\\"b\"} 12",
            "# UNIT ostler_node_gc_seconds seconds",
        ] {
            assert!(text.lines().any(|has| has == line), "{line}\n{text}");
        }
        assert!(!text.contains("percentile=\"50\"} 0\nostler_node_http_route") && !text.contains("worker=\"0\""), "{text}");
        let mut none = Exposition::new(Format::Text);
        add(&mut none, &Snapshot::default());
        assert_eq!(none.end(), "");
    }
}
