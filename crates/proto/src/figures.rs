//! What Node apps do, measured by the preload while somebody collects.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most routes of an instance.
const ROUTES: usize = 100;
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
    /// 95 % of them were faster, s.
    pub p95: Option<f64>,
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
