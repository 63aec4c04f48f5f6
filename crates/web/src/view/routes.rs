//! Routes of a Node app, over all its processes. Pure.

use std::collections::BTreeMap;

use ostler_proto::control::{InstanceFigures, RouteFigures};
use serde::Serialize;

use super::node::largest;

/// Maximum number of routes.
const MOST: usize = 100;

/// A route over all Node processes of an app.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Route {
    route: String,
    #[serde(flatten)]
    figures: Numbers,
    /// The same by instance, if the app has several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    instances: Vec<OfInstance>,
}

/// Measurements of the last 10 to 20 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Numbers {
    /// Requests per second, total.
    rate: f64,
    /// Share of the requests with 5xx, 0 to 1; none without a request.
    failed_share: Option<f64>,
    /// Percentiles of the response time in seconds, of the slowest instance.
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct OfInstance {
    instance: u32,
    #[serde(flatten)]
    figures: Numbers,
}

impl Numbers {
    /// Returns the measurements of one process; none before its second report, which its rates
    /// need.
    fn of(route: &RouteFigures) -> Option<Self> {
        let RouteFigures { rate, failed_share, p50, p95, p99, .. } = *route;
        Some(Self { rate: rate?, failed_share, p50, p95, p99 })
    }

    fn sum(of: &[OfInstance]) -> Self {
        let mut sum = of.iter().fold(Self::default(), |sum, one| Self {
            rate: sum.rate + one.figures.rate,
            failed_share: None,
            p50: largest(sum.p50, one.figures.p50),
            p95: largest(sum.p95, one.figures.p95),
            p99: largest(sum.p99, one.figures.p99),
        });
        let failed: f64 = of.iter().map(|one| one.figures.rate * one.figures.failed_share.unwrap_or(0.0)).sum();
        sum.failed_share = (sum.rate > 0.0).then(|| failed / sum.rate);
        sum
    }
}

/// Returns the routes, those with the most requests first.
pub(crate) fn routes(figures: &[&InstanceFigures]) -> Vec<Route> {
    let mut all: BTreeMap<&str, Vec<OfInstance>> = BTreeMap::new();
    for one in figures {
        for route in &one.figures.routes {
            let of_instance = Numbers::of(route).map(|figures| OfInstance { instance: one.id, figures });
            all.entry(&route.route).or_default().extend(of_instance);
        }
    }
    let whole = |(route, of): (&str, Vec<OfInstance>)| Route {
        route: route.to_owned(),
        figures: Numbers::sum(&of),
        instances: if figures.len() > 1 { of } else { Vec::new() },
    };
    let mut routes: Vec<Route> = all.into_iter().filter(|(_, of)| !of.is_empty()).map(whole).collect();
    routes.sort_by(|one, other| other.figures.rate.total_cmp(&one.figures.rate));
    routes.truncate(MOST);
    routes
}

#[cfg(test)]
mod tests {
    use ostler_proto::control::Figures;

    use super::*;

    fn of(route: &str, rate: Option<f64>, failed_share: Option<f64>, p95: Option<f64>) -> RouteFigures {
        RouteFigures { route: route.into(), rate, failed_share, p50: Some(0.01), p95, ..RouteFigures::default() }
    }

    fn figures(id: u32, routes: Vec<RouteFigures>) -> InstanceFigures {
        InstanceFigures { id, figures: Figures { routes, ..Figures::default() } }
    }

    #[test]
    fn routes_of_instances_are_summed_and_listed() {
        let one = figures(3, vec![of("GET /", Some(30.0), Some(0.1), Some(0.2)), of("GET /idle", Some(0.0), None, None)]);
        let other = figures(4, vec![of("GET /", Some(10.0), Some(0.5), Some(0.1)), of("GET /x", Some(1.0), Some(0.0), None)]);
        let all = routes(&[&one, &other]);
        let names: Vec<&str> = all.iter().map(|route| route.route.as_str()).collect();
        assert_eq!(names, ["GET /", "GET /x", "GET /idle"]);
        let first = all[0].figures;
        assert_eq!((first.rate, first.failed_share, first.p95, first.p50, first.p99), (40.0, Some(0.2), Some(0.2), Some(0.01), None));
        assert_eq!((all[2].figures.rate, all[2].figures.failed_share), (0.0, None));
        let by_instance: Vec<(u32, f64)> = all[0].instances.iter().map(|one| (one.instance, one.figures.rate)).collect();
        assert_eq!(by_instance, [(3, 30.0), (4, 10.0)]);
        assert!(routes(&[&one])[0].instances.is_empty(), "an only instance is the app");
    }

    #[test]
    fn routes_without_a_known_rate_are_left_out() {
        assert_eq!(routes(&[&figures(3, vec![of("GET /", None, None, Some(0.2))])]), []);
    }
}
