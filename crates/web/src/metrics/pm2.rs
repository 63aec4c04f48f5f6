//! Metrics under the names and labels of PM2's well-known exporter.

use ostler_proto::control::TableRow;

use super::exposition::{Exposition, FamilyKind, Format};
use crate::snapshot::Snapshot;

/// Returns the metrics as text. Restarts include all of them; PM2's exporter counts only unstable
/// ones.
#[expect(clippy::cast_precision_loss, reason = "the format knows floats alone")]
pub(crate) fn text(snapshot: &Snapshot, format: Format) -> String {
    let mut out = Exposition::new(format);
    let rows = &snapshot.rows;
    let mut all = |name: &str, help: &str, value: &dyn Fn(&TableRow) -> f64| {
        out.family(name, FamilyKind::Gauge, None, help);
        for (at, row) in rows.iter().enumerate() {
            // Number of the instance within its app.
            let instance = rows[..at].iter().filter(|other| other.name == row.name && other.namespace == row.namespace).count();
            out.sample(&[("name", &row.name), ("instance", &instance.to_string())], value(row));
        }
    };
    let instances = |of: &TableRow| rows.iter().filter(|row| row.name == of.name && row.namespace == of.namespace).count() as f64;
    all("pm2_up", "Is the process running", &|row| f64::from(u8::from(row.status == "online")));
    all("pm2_cpu", "Process cpu usage", &|row| row.monit.cpu_pct);
    all("pm2_memory", "Process memory usage", &|row| row.monit.memory_bytes as f64);
    all("pm2_uptime", "Process uptime", &|row| row.uptime_ms.unwrap_or(0) as f64 / 1000.0);
    all("pm2_instances", "Process instances", &instances);
    all("pm2_restarts", "Process restarts", &|row| row.restarts.into());
    out.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests_row as row;

    #[test]
    fn names_and_labels_match_pm2_exporter() {
        let rows = vec![row(4, "api", "default", "online"), row(5, "api", "default", "stopped")];
        let text = text(&Snapshot { rows, ..Snapshot::default() }, Format::Text);
        for line in [
            "pm2_up{name=\"api\",instance=\"0\"} 1",
            "pm2_up{name=\"api\",instance=\"1\"} 0",
            "pm2_instances{name=\"api\",instance=\"1\"} 2",
        ] {
            assert!(text.lines().any(|has| has == line), "{line}\n{text}");
        }
    }
}
