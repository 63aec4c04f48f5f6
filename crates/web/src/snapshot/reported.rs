//! Custom metrics that apps report (`axm_monitor`), by instance. The daemon adds its own
//! measurements to them; these are not custom metrics. Pure.

use std::collections::BTreeMap;

use ostler_proto::control::Detail;
use serde_json::Value;

/// Maximum number of metrics of an instance that are recorded.
const MOST: usize = 24;
/// Maximum length of a name in bytes.
const LONGEST: usize = 120;

/// Last reports of all instances.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ReportedMetrics {
    by_instance: BTreeMap<u32, Vec<(String, f64)>>,
}

impl ReportedMetrics {
    /// Extracts the metrics from the daemon's answers.
    pub(crate) fn of(details: &[Detail]) -> Self {
        let mut reported = Self::default();
        for detail in details {
            let figures: Vec<(String, f64)> = detail.learned.axm_monitor.iter().filter_map(figure).take(MOST).collect();
            if !figures.is_empty() {
                reported.by_instance.insert(detail.id, figures);
            }
        }
        reported
    }

    /// Returns the metrics of an instance.
    pub(crate) fn get(&self, id: u32) -> &[(String, f64)] {
        self.by_instance.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Returns the instances that report metrics.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> {
        self.by_instance.keys().copied()
    }
}

/// Returns true if ostler has measured this metric.
pub(crate) fn is_measured(metric: &Value) -> bool {
    metric.get("type").and_then(Value::as_str) == Some("ostler")
}

/// Parses a metric: a number, or a text with a number.
fn figure((name, metric): (&String, &Value)) -> Option<(String, f64)> {
    if is_measured(metric) {
        return None;
    }
    let value = metric.get("value")?;
    let value = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|value| value.is_finite())?;
    (name.len() <= LONGEST && !name.is_empty()).then(|| (name.clone(), value))
}

#[cfg(test)]
impl ReportedMetrics {
    pub(crate) fn for_test(id: u32, figures: &[(&str, f64)]) -> Self {
        Self { by_instance: [(id, figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect())].into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metric_values_are_read_from_numbers_and_texts() {
        for (metric, found) in [
            (json!({ "value": 7 }), Some(7.0)),
            (json!({ "value": 7, "type": "histogram" }), Some(7.0)),
            (json!({ "value": 7, "type": "ostler" }), None),
            (json!({ "value": "9.48", "unit": "MiB" }), Some(9.48)),
            (json!({ "value": " -1 " }), Some(-1.0)),
            (json!({ "value": "much" }), None),
            (json!({ "value": "NaN" }), None),
            (json!({ "value": "inf" }), None),
            (json!({ "value": {} }), None),
            (json!(7), None),
        ] {
            assert_eq!(figure((&"x".to_owned(), &metric)).map(|(_, value)| value), found, "{metric}");
        }
        assert_eq!(figure((&"x".repeat(LONGEST + 1), &json!({ "value": 7 }))), None);
    }
}
