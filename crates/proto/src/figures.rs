//! Measurements of Node apps, which the preload takes while a client requests them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Maximum number of routes of an instance.
const ROUTES: usize = 100;
/// Interval at which the window of recent figures advances, s.
const WINDOW_S: f64 = 10.0;
/// Maximum length of a route's name, in characters.
const ROUTE: usize = 120;

/// Figures of one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceFigures {
    /// `pm_id`.
    pub id: u32,
    /// The figures.
    pub figures: Figures,
}

/// Figures of a Node process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Duration of the measurement, s.
    pub seconds: f64,
    /// Requests answered in that time.
    pub requests: u64,
    /// Requests answered with 5xx.
    pub failed: u64,
    /// Requests a second, over the last 10 to 20 s.
    pub rate: f64,
    /// Share of 5xx answers, 0 to 1; none without a request.
    pub failed_share: Option<f64>,
    /// Median response time, s.
    pub p50: Option<f64>,
    /// 95th percentile of the response time, s.
    pub p95: Option<f64>,
    /// 99th percentile of the response time, s.
    pub p99: Option<f64>,
    /// Share of time in which the event loop was busy, 0 to 1, over the last 2 s.
    pub loop_use: f64,
    /// Median delay of the event loop, s.
    pub loop_delay_p50: f64,
    /// 99th percentile of the event loop's delay, s.
    pub loop_delay_p99: f64,
    /// Bytes of V8's heap in use.
    pub heap_used: u64,
    /// Bytes of V8's heap.
    pub heap_total: u64,
    /// Time spent in garbage collection, s.
    pub gc_seconds: f64,
    /// Share of time spent in garbage collection, 0 to 1, over the last 10 to 20 s. The daemon
    /// computes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gc_share: Option<f64>,
    /// Handles and requests that keep the process alive.
    pub handles: u64,
    /// Figures by route.
    pub routes: Vec<RouteFigures>,
}

/// Figures of one route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteFigures {
    /// Method and path, without ids.
    pub route: String,
    /// Requests answered; with many requests, estimated from every sixteenth.
    pub requests: u64,
    /// Requests answered with 5xx.
    pub failed: u64,
    /// Median response time over the last 10 to 20 s, s; none without a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    /// 95th percentile of the response time over the last 10 to 20 s, s.
    pub p95: Option<f64>,
    /// 99th percentile of the response time over the last 10 to 20 s, s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    /// Requests a second, over the last 10 to 20 s. The daemon computes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Share of 5xx answers, 0 to 1, over the last 10 to 20 s; none without a request. The daemon
    /// computes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_share: Option<f64>,
}

/// Counters of a process at the start of a window of recent figures.
#[derive(Clone, Debug, Default, PartialEq)]
struct Mark {
    seconds: f64,
    gc_seconds: f64,
    /// Requests of each route, and the failed ones.
    routes: BTreeMap<Box<str>, (u64, u64)>,
}

/// Start of a process's recent figures: 10 to 20 s ago.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// None = no report yet.
    before: Option<Mark>,
    newest: Mark,
}

impl Mark {
    fn of(figures: &Figures) -> Self {
        let routes = figures.routes.iter().map(|route| (route.route.as_str().into(), (route.requests, route.failed))).collect();
        Self { seconds: figures.seconds, gc_seconds: figures.gc_seconds, routes }
    }
}

impl Window {
    /// Computes the figures of the last 10 to 20 s from the counters. If a counter fell, the
    /// process has restarted its measurement. If the first report is of a long measurement, which
    /// a former daemon began, the figures are unknown until the next report: a mean since the
    /// start does not describe the last seconds.
    pub fn fill(&mut self, figures: &mut Figures) {
        if figures.seconds < self.newest.seconds {
            *self = Self::default();
        }
        let newest = &mut self.newest;
        let before = self.before.get_or_insert_with(|| {
            if figures.seconds > 2.0 * WINDOW_S {
                *newest = Mark::of(figures);
            }
            newest.clone()
        });
        let seconds = figures.seconds - before.seconds;
        if seconds > 0.0 {
            figures.gc_share = Some(((figures.gc_seconds - before.gc_seconds) / seconds).clamp(0.0, 1.0));
            for route in &mut figures.routes {
                let (requests, failed) = before.routes.get(route.route.as_str()).copied().unwrap_or_default();
                let (requests, failed) = (route.requests.saturating_sub(requests), route.failed.saturating_sub(failed));
                #[expect(clippy::cast_precision_loss, reason = "a count of seconds")]
                let (all, bad) = (requests as f64, failed as f64);
                route.rate = Some(all / seconds);
                route.failed_share = (requests > 0).then(|| (bad / all).min(1.0));
            }
        }
        if figures.seconds - self.newest.seconds >= WINDOW_S {
            self.before = Some(std::mem::replace(&mut self.newest, Mark::of(figures)));
        }
    }
}

impl Figures {
    /// Returns the figures in a message, or `None` if they are invalid. Any app may send such a
    /// message, so the stored data is bounded.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        let mut figures: Self = Self::deserialize(value).ok()?;
        figures.routes.sort_by(|one, other| other.requests.cmp(&one.requests).then_with(|| one.route.cmp(&other.route)));
        figures.routes.truncate(ROUTES);
        for route in &mut figures.routes {
            route.route = route.route.chars().filter(|c| !c.is_control()).take(ROUTE).collect();
        }
        figures.routes.dedup_by(|one, other| one.route == other.route);
        Some(figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Figures of a process that has measured for `seconds`: one route, and its garbage collection.
    fn counted(seconds: f64, requests: u64, failed: u64, gc_seconds: f64) -> Figures {
        let route = RouteFigures { route: "GET /".into(), requests, failed, ..RouteFigures::default() };
        Figures { seconds, gc_seconds, routes: vec![route], ..Figures::default() }
    }

    #[test]
    fn rates_cover_only_the_last_seconds() {
        let mut window = Window::default();
        let mut filled = |mut figures: Figures| {
            window.fill(&mut figures);
            let route = figures.routes[0].clone();
            (route.rate.unwrap(), route.failed_share, figures.gc_share.unwrap())
        };
        assert_eq!(filled(counted(2.0, 20, 0, 1.0)), (10.0, Some(0.0), 0.5));
        assert_eq!(filled(counted(10.0, 1000, 10, 2.0)).0, 100.0);
        assert_eq!(filled(counted(20.0, 2000, 510, 2.0)), (100.0, Some(0.255), 0.1));
        // No more requests arrive.
        assert_eq!(filled(counted(30.0, 2000, 510, 2.0)), (50.0, Some(0.5), 0.0));
        assert_eq!(filled(counted(40.0, 2000, 510, 2.0)), (0.0, None, 0.0));
        // The process has restarted its measurement.
        assert_eq!(filled(counted(2.0, 4, 4, 0.0)), (2.0, Some(1.0), 0.0));
        assert_eq!(filled(counted(2.0, 4, 4, 0.0)).0, 2.0, "told twice");
    }

    #[test]
    fn counters_of_a_long_measurement_give_no_rates_at_first() {
        let mut window = Window::default();
        let mut filled = |mut figures: Figures| {
            window.fill(&mut figures);
            (figures.routes[0].rate, figures.routes[0].failed_share, figures.gc_share)
        };
        assert_eq!(filled(counted(100_000.0, 500_000, 1000, 900.0)), (None, None, None));
        assert_eq!(filled(counted(100_002.0, 500_020, 1005, 900.5)), (Some(10.0), Some(0.25), Some(0.25)));
        assert_eq!(filled(counted(100_010.0, 500_020, 1005, 900.5)).0, Some(2.0));
        assert_eq!(filled(counted(100_020.0, 500_020, 1005, 900.5)).0, Some(1.0));
        assert_eq!(filled(counted(100_030.0, 500_020, 1005, 900.5)), (Some(0.0), None, Some(0.0)));
    }

    #[test]
    fn invalid_figures_are_dropped_and_the_rest_is_bounded() {
        for value in [json!(null), json!(7), json!({"requests": -1}), json!({"rate": "x"}), json!({"routes": {}}), json!({"p95": []})] {
            assert_eq!(Figures::of(&value), None, "{value}");
        }
        assert_eq!(Figures::of(&json!({})), Some(Figures::default()));
        let routes: Vec<Value> = (0..500).map(|n| json!({"route": format!("GET /\u{1b}{n}{}", "x".repeat(5000)), "requests": n})).collect();
        let figures = Figures::of(&json!({"rate": 2.5, "p95": null, "routes": routes, "more": 1})).unwrap();
        assert_eq!((figures.rate, figures.p95, figures.routes.len(), figures.routes[0].requests), (2.5, None, ROUTES, 499));
        assert!(figures.routes.iter().all(|route| route.route.len() <= ROUTE && !route.route.contains('\u{1b}')));
    }
}
