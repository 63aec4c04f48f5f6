//! Measurements of Node processes as values of series. Pure.

use ostler_proto::control::Figures;

/// How the values of instances are combined into one value of their app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregation {
    Sum,
    Largest,
    /// Mean, weighted by requests a second.
    Mean,
}

/// Combined value of instances.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Combined {
    pub(super) value: f64,
    weight: f64,
}

impl Combined {
    pub(super) fn add(&mut self, how: Aggregation, value: f64, weight: f64) {
        self.value = match how {
            Aggregation::Sum => self.value + value,
            Aggregation::Largest => self.value.max(value),
            Aggregation::Mean if self.weight + weight > 0.0 => (self.value * self.weight + value * weight) / (self.weight + weight),
            Aggregation::Mean => value,
        };
        self.weight += weight;
    }
}

/// Returns the metrics of a process: name, combination, value. Times are in ms, shares in percent.
#[expect(clippy::cast_precision_loss, reason = "figures")]
pub(super) fn values(figures: &Figures) -> impl Iterator<Item = (&'static str, Aggregation, f64)> {
    let serves = figures.requests > 0;
    let of_requests = [
        ("requests", Aggregation::Sum, Some(figures.rate)),
        ("p50", Aggregation::Largest, millis(figures.p50)),
        ("p95", Aggregation::Largest, millis(figures.p95)),
        ("p99", Aggregation::Largest, millis(figures.p99)),
        ("errors", Aggregation::Mean, percent(figures.failed_share)),
    ];
    let of_process = [
        ("loop-use", Aggregation::Largest, percent(Some(figures.loop_use))),
        ("loop", Aggregation::Largest, millis(Some(figures.loop_delay_p50))),
        ("loop-p99", Aggregation::Largest, millis(Some(figures.loop_delay_p99))),
        ("heap", Aggregation::Sum, Some(figures.heap_used as f64)),
        ("heap-total", Aggregation::Sum, Some(figures.heap_total as f64)),
        ("gc", Aggregation::Largest, percent(figures.gc_share)),
        ("handles", Aggregation::Sum, Some(figures.handles as f64)),
    ];
    let known = |(name, how, value): (&'static str, Aggregation, Option<f64>)| Some((name, how, value?));
    of_requests.into_iter().filter(move |_| serves).chain(of_process).filter_map(known)
}

fn millis(seconds: Option<f64>) -> Option<f64> {
    seconds.map(|seconds| seconds * 1000.0)
}

fn percent(share: Option<f64>) -> Option<f64> {
    share.map(|share| share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_without_requests_has_no_values_of_requests() {
        let names = |figures: &Figures| values(figures).map(|(name, ..)| name).collect::<Vec<_>>();
        let idle = Figures { loop_use: 0.5, ..Figures::default() };
        assert_eq!(names(&idle), ["loop-use", "loop", "loop-p99", "heap", "heap-total", "handles"]);
        let quiet = Figures { requests: 7, gc_share: Some(0.02), ..idle };
        assert_eq!(names(&quiet), ["requests", "loop-use", "loop", "loop-p99", "heap", "heap-total", "gc", "handles"]);
        assert!(values(&quiet).any(|value| value == ("gc", Aggregation::Largest, 2.0)));
    }

    #[test]
    fn shares_are_weighted_by_requests() {
        let combined = |values: &[(f64, f64)]| {
            let mut sum = Combined::default();
            values.iter().for_each(|(value, weight)| sum.add(Aggregation::Mean, *value, *weight));
            sum.value
        };
        assert_eq!(combined(&[(100.0, 1.0), (0.0, 99.0)]), 1.0);
        assert_eq!(combined(&[(50.0, 0.0)]), 50.0);
    }
}
