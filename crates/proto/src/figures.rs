//! What Node apps do, measured by the preload while somebody collects.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most routes of an instance.
const ROUTES: usize = 100;
/// Time after which a window of recent figures moves on, s.
const WINDOW_S: f64 = 10.0;
/// Longest name of a route, characters.
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
    /// Time for which it was measured, s.
    pub seconds: f64,
    /// Requests that were answered in it.
    pub requests: u64,
    /// Those of them that were answered with 5xx.
    pub failed: u64,
    /// Requests a second, of the last 10 to 20 s.
    pub rate: f64,
    /// Share of those with 5xx, 0 to 1; none without a request.
    pub failed_share: Option<f64>,
    /// Time to answer them, s: the half of them was faster.
    pub p50: Option<f64>,
    /// 95 % of them were faster.
    pub p95: Option<f64>,
    /// 99 % of them were faster.
    pub p99: Option<f64>,
    /// Share of the time in which the event loop was busy, 0 to 1, of the last 2 s.
    pub loop_use: f64,
    /// Lateness of the event loop, s.
    pub loop_delay_p50: f64,
    /// Lateness of the event loop, s: 99 % of its turns were less late.
    pub loop_delay_p99: f64,
    /// Bytes of V8's heap in use.
    pub heap_used: u64,
    /// Bytes of V8's heap.
    pub heap_total: u64,
    /// Time spent in garbage collection, s.
    pub gc_seconds: f64,
    /// Share of the time spent in it, 0 to 1, of the last 10 to 20 s. The daemon computes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gc_share: Option<f64>,
    /// Handles and requests that keep it alive.
    pub handles: u64,
    /// By route.
    pub routes: Vec<RouteFigures>,
}

/// Figures of one route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteFigures {
    /// Method and path, without ids.
    pub route: String,
    /// Requests that were answered; where there are many, estimated from each sixteenth.
    pub requests: u64,
    /// Those of them that were answered with 5xx.
    pub failed: u64,
    /// 95 % of those of the last 10 to 20 s were faster, s; none without a request.
    pub p95: Option<f64>,
    /// Requests a second, of the last 10 to 20 s. The daemon computes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Share of those with 5xx, 0 to 1, of the last 10 to 20 s; none without a request. The daemon computes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_share: Option<f64>,
}

/// Counters of a process at a time: where a window of recent figures begins.
#[derive(Clone, Debug, Default, PartialEq)]
struct Mark {
    seconds: f64,
    gc_seconds: f64,
    /// Requests of each route, and those that failed.
    routes: BTreeMap<Box<str>, (u64, u64)>,
}

/// Where the recent figures of a process begin: 10 to 20 s ago.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    before: Mark,
    newest: Mark,
}

impl Mark {
    fn of(figures: &Figures) -> Self {
        let routes = figures.routes.iter().map(|route| (route.route.as_str().into(), (route.requests, route.failed))).collect();
        Self { seconds: figures.seconds, gc_seconds: figures.gc_seconds, routes }
    }
}

impl Window {
    /// Computes the figures of the last 10 to 20 s from the counters. If a counter fell, the process has started to measure again.
    pub fn fill(&mut self, figures: &mut Figures) {
        if figures.seconds < self.newest.seconds {
            *self = Self::default();
        }
        let before = &self.before;
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
            self.before = std::mem::replace(&mut self.newest, Mark::of(figures));
        }
    }
}

impl Figures {
    /// The figures in a message; none = they make no sense. Any app may write the same: what is kept is bounded.
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

    /// Figures of a process that has measured for so long: one route, one collection of garbage.
    fn counted(seconds: f64, requests: u64, failed: u64, gc_seconds: f64) -> Figures {
        let route = RouteFigures { route: "GET /".into(), requests, failed, ..RouteFigures::default() };
        Figures { seconds, gc_seconds, routes: vec![route], ..Figures::default() }
    }

    #[test]
    fn rates_are_of_the_last_seconds_and_not_since_it_measures() {
        let mut window = Window::default();
        let mut filled = |mut figures: Figures| {
            window.fill(&mut figures);
            let route = figures.routes[0].clone();
            (route.rate.unwrap(), route.failed_share, figures.gc_share.unwrap())
        };
        assert_eq!(filled(counted(2.0, 20, 0, 1.0)), (10.0, Some(0.0), 0.5));
        assert_eq!(filled(counted(10.0, 1000, 10, 2.0)).0, 100.0);
        assert_eq!(filled(counted(20.0, 2000, 510, 2.0)), (100.0, Some(0.255), 0.1));
        // Nothing happens any more.
        assert_eq!(filled(counted(30.0, 2000, 510, 2.0)), (50.0, Some(0.5), 0.0));
        assert_eq!(filled(counted(40.0, 2000, 510, 2.0)), (0.0, None, 0.0));
        // It measures anew.
        assert_eq!(filled(counted(2.0, 4, 4, 0.0)), (2.0, Some(1.0), 0.0));
        assert_eq!(filled(counted(2.0, 4, 4, 0.0)).0, 2.0, "told twice");
    }

    #[test]
    fn what_makes_no_sense_is_left_out_and_the_rest_is_bounded() {
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
