//! Scraped metrics for the history: a few of each app. Pure.

use std::collections::HashMap;

use super::page::{FamilyKind, FamilyValue};
use super::sum::AppFigures;
use crate::history::ScrapedValue;

/// Maximum number of series of an app, and of an instance.
const MOST: usize = 24;
/// Maximum length of a name in bytes.
const LONGEST: usize = 120;

/// Prefixes of metrics that Prometheus client libraries add themselves. Metrics that the app has
/// named come first.
const LIBRARIES: &[&str] = &["process_", "nodejs_", "python_", "go_", "promhttp_", "jvm_", "ruby_", "dotnet_"];

fn is_of_library(name: &str) -> bool {
    LIBRARIES.iter().any(|begin| name.starts_with(begin))
}

/// Rates of counters, computed from two readings.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// By namespace, app and metric: the count and its time (ms).
    last: HashMap<(String, String, String), (f64, u64)>,
}

impl Rates {
    /// Returns the present values: gauges unchanged, counters and observation counts as rates per
    /// second.
    pub(super) fn take(&mut self, apps: &[AppFigures], at_ms: u64) -> Vec<ScrapedValue> {
        let mut all = Vec::new();
        let mut last = HashMap::new();
        for app in apps {
            let of =
                |instance, metric, value| ScrapedValue { namespace: app.namespace.clone(), app: app.app.clone(), instance, metric, value };
            let counted = app.figures.summed.iter().flat_map(|family| family.series.iter().map(move |series| (family, series)));
            let mut counted: Vec<_> = counted.filter(|(family, _)| family.kind == FamilyKind::Counter).collect();
            counted.sort_by_key(|(family, _)| is_of_library(&family.name));
            for (family, series) in counted.into_iter().take(MOST) {
                let (FamilyValue::One(value), Some(metric)) = (&series.value, name(&family.name, &series.labels, "/s")) else { continue };
                let key = (app.namespace.clone(), app.app.clone(), metric.clone());
                if let Some((before, then)) = self.last.get(&key)
                    && at_ms > *then
                    && value >= before
                {
                    #[expect(clippy::cast_precision_loss, reason = "a time")]
                    let seconds = (at_ms - then) as f64 / 1000.0;
                    all.push(of(None, metric, (value - before) / seconds));
                }
                last.insert(key, (*value, at_ms));
            }
            let mut given: HashMap<u32, usize> = HashMap::new();
            let is_alone = app.workers.len() == 1;
            let mut others: Vec<_> =
                app.figures.by_worker.iter().filter(|(_, family)| matches!(family.kind, FamilyKind::Gauge | FamilyKind::Untyped)).collect();
            others.sort_by_key(|(_, family)| is_of_library(&family.name));
            for (worker, family) in others {
                for series in &family.series {
                    let so_far = given.entry(*worker).or_default();
                    let (FamilyValue::One(value), Some(metric)) = (&series.value, name(&family.name, &series.labels, "")) else { continue };
                    if *so_far >= MOST || !value.is_finite() {
                        continue;
                    }
                    *so_far += 1;
                    all.push(of((!is_alone).then_some(*worker), metric, *value));
                }
            }
        }
        self.last = last;
        all
    }
}

/// Returns the name of a series; none if it is too long.
fn name(family: &str, labels: &str, ending: &str) -> Option<String> {
    let name = if labels.is_empty() { format!("{family}{ending}") } else { format!("{family}{{{labels}}}{ending}") };
    (name.len() <= LONGEST).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::scrape::page::page;
    use crate::metrics::scrape::sum::Sums;

    #[test]
    fn history_takes_a_limited_number_of_rates_and_gauges() {
        let text = |count: u32| {
            let many: String = (0..100).map(|n| format!("g{{n=\"{n}\"}} {n}\n")).collect();
            format!("# TYPE process_x gauge\nprocess_x 1\n# TYPE c counter\nc{{m=\"GET\"}} {count}\n# TYPE g gauge\ng NaN\n{many}")
        };
        let mut sums = Sums::default();
        let mut app = |count| AppFigures {
            app: "api".into(),
            namespace: "default".into(),
            figures: sums.take(vec![(3, 30, Some(page(&text(count))))]),
            workers: vec![(3, true)],
        };
        let mut rates = Rates::default();
        let first = rates.take(&[app(10)], 1000);
        assert!(first.len() == MOST && first[0].metric == "g{n=\"0\"}" && first[0].instance.is_none(), "{first:?}");
        let second = rates.take(&[app(40)], 11_000);
        assert_eq!((second[0].metric.as_str(), second[0].value, second.len()), ("c{m=\"GET\"}/s", 3.0, MOST + 1));
        assert_eq!(rates.take(&[app(40)], 11_000).len(), MOST, "no time has passed");
    }
}
