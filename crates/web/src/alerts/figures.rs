//! Conversion of a table's values into samples. Pure.

use std::collections::BTreeMap;

use ostler_alerts::input::MetricSample;

use super::descriptions::AppDescriptions;
use crate::snapshot::Snapshot;

/// Returns the samples of all running apps and of the machine.
#[expect(clippy::cast_precision_loss, reason = "amounts to compare with")]
pub(super) fn samples(snapshot: &Snapshot, descriptions: &AppDescriptions) -> Vec<MetricSample> {
    let mut all: BTreeMap<(&str, &str), MetricSample> = BTreeMap::new();
    for row in snapshot.rows.iter().filter(|row| row.status == "online" && row.name != crate::settings::names::APP) {
        let figures = [("cpu", row.monit.cpu_pct), ("memory", row.monit.memory_bytes as f64), ("restarts", f64::from(row.restarts))];
        for (metric, value) in figures {
            let limit = if metric == "memory" { descriptions.memory.get(&row.name).copied() } else { None };
            let sample = all.entry((&row.name, metric)).or_insert_with(|| MetricSample {
                app: row.name.clone(),
                metric: metric.to_owned(),
                values: Vec::new(),
                limit,
            });
            sample.values.push((Some(row.id), value));
        }
    }
    let host = &snapshot.host;
    let share = |part: u64, whole: u64| (whole > 0).then(|| 100.0 * part as f64 / whole as f64);
    let of_machine = [
        ("host.cpu", host.cpu.map(|cpu| cpu * 100.0)),
        ("host.memory", share(host.memory.used, host.memory.total)),
        ("host.disk", host.disk.and_then(|disk| share(disk.used, disk.total))),
        // Relative to all processors: 100 = each is fully busy.
        ("host.load", host.load.map(|load| 100.0 * load[0] / f64::from(host.cores.max(1)))),
    ];
    let of_machine = of_machine.into_iter().filter_map(|(metric, value)| {
        Some(MetricSample { app: String::new(), metric: metric.to_owned(), values: vec![(None, value?)], limit: None })
    });
    let mut samples: Vec<MetricSample> = all.into_values().collect();
    samples.extend(of_machine);
    samples
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Host;
    use crate::view::tests_row;

    #[test]
    fn samples_cover_running_apps_and_host() {
        let rows = vec![
            tests_row(0, "api", "default", "online"),
            tests_row(1, "api", "default", "online"),
            tests_row(2, "db", "default", "stopped"),
        ];
        let host = Host { cores: 2, load: Some([3.0, 0.0, 0.0]), ..Host::default() };
        let snapshot = Snapshot { rows, host, ..Snapshot::default() };
        let descriptions = AppDescriptions { memory: [("api".to_owned(), 99.0)].into(), ..AppDescriptions::default() };
        let all = samples(&snapshot, &descriptions);
        let one = |app: &str, metric: &str| all.iter().find(|sample| sample.app == app && sample.metric == metric);
        let memory = one("api", "memory").unwrap();
        assert_eq!((memory.values.len(), memory.limit), (2, Some(99.0)));
        assert_eq!(one("", "host.load").unwrap().values, [(None, 150.0)]);
        assert!(one("db", "cpu").is_none() && one("", "host.memory").is_none());
    }
}
