//! Measurements of Node processes, combined over the instances of an app. Pure.

use ostler_proto::control::Figures;
use serde::Serialize;

/// Combined measurements of the Node processes of an app, over the last 10 to 20 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct NodeSums {
    /// Requests per second, total.
    pub(crate) rate: f64,
    /// Percentiles of the response time in seconds, of the slowest instance.
    pub(crate) p50: Option<f64>,
    pub(crate) p95: Option<f64>,
    pub(crate) p99: Option<f64>,
    /// Share of the requests with 5xx, 0 to 1.
    pub(crate) failed_share: Option<f64>,
    /// Event loop utilization over the last 2 s, 0 to 1, of the busiest instance.
    pub(crate) loop_use: f64,
}

impl NodeSums {
    /// Combines the measurements of instances; `None` for no instance.
    pub(crate) fn of<'a>(figures: impl Iterator<Item = &'a Figures>) -> Option<Self> {
        figures.fold(None, |sum: Option<Self>, one| Some(sum.unwrap_or_default().with(one)))
    }

    /// Returns the sums with one more instance.
    fn with(mut self, figures: &Figures) -> Self {
        let failed = |rate: f64, share: Option<f64>| share.map(|share| rate * share);
        let all = failed(self.rate, self.failed_share).unwrap_or(0.0) + failed(figures.rate, figures.failed_share).unwrap_or(0.0);
        self.rate += figures.rate;
        self.failed_share =
            (self.failed_share.is_some() || figures.failed_share.is_some()).then(|| if self.rate > 0.0 { all / self.rate } else { 0.0 });
        self.p50 = largest(self.p50, figures.p50);
        self.p95 = largest(self.p95, figures.p95);
        self.p99 = largest(self.p99, figures.p99);
        self.loop_use = self.loop_use.max(figures.loop_use);
        self
    }
}

/// Returns the larger of two values, one of which may be missing.
pub(super) fn largest(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_instances_are_summed() {
        let of = |rate, p95, failed_share, loop_use| Figures { rate, p50: Some(0.01), p95, failed_share, loop_use, ..Figures::default() };
        let figures = [of(30.0, Some(0.1), Some(0.1), 0.5), of(10.0, Some(0.3), Some(0.5), 0.2), of(0.0, None, None, 0.9)];
        let sums = NodeSums { rate: 40.0, p50: Some(0.01), p95: Some(0.3), p99: None, failed_share: Some(0.2), loop_use: 0.9 };
        assert_eq!(NodeSums::of(figures.iter()), Some(sums));
        assert_eq!(NodeSums::of([].into_iter()), None);
    }
}
