//! Metrics of the machine, in the form of PM2's `getSystemData` and `slist`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Metrics of the machine. Rates cover the time since the previous request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostReport {
    /// CPU use of all processors together, percent.
    pub cpu_pct: f64,
    /// Total memory in bytes.
    pub memory_total_bytes: u64,
    /// Memory that is still available to programs.
    pub memory_available_bytes: u64,
    /// Network interfaces.
    pub interfaces: Vec<InterfaceReport>,
    /// Disks: read and written, MB per second.
    pub disk_mb_s: (f64, f64),
    /// File systems.
    pub mounts: Vec<MountReport>,
}

/// A network interface: received and sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InterfaceReport {
    /// Its name.
    pub name: String,
    /// MB per second.
    pub mb_s: (f64, f64),
    /// Errors per minute.
    pub errors_min: (f64, f64),
    /// Dropped packets per minute.
    pub dropped_min: (f64, f64),
}

/// A file system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountReport {
    /// Its path.
    pub path: String,
    /// Usage in percent, as `df` shows it.
    pub use_pct: f64,
    /// Its size.
    pub size_gb: f64,
}

impl HostReport {
    /// Returns the memory in use, percent.
    pub fn memory_pct(&self) -> f64 {
        let active = self.memory_total_bytes.saturating_sub(self.memory_available_bytes);
        round(100.0 * active as f64 / self.memory_total_bytes.max(1) as f64, 1)
    }

    /// Returns PM2's form: name to `{value, type, unit, historic}`.
    pub fn metrics(&self) -> Map<String, Value> {
        let mut all = Map::new();
        let mut put = |name: String, value: Value, unit: &str| {
            all.insert(name, json!({ "value": value, "type": "metric", "unit": unit, "historic": true }));
        };
        put("CPU Usage".into(), number(self.cpu_pct, 1), "%");
        // PM2's own collector does not know it either.
        put("CPU Temperature".into(), (-1).into(), "°C");
        put("RAM Usage".into(), number(self.memory_pct(), 1), "%");
        put("RAM Total".into(), self.memory_total_bytes.into(), "b");
        put("RAM Available".into(), self.memory_available_bytes.into(), "b");
        put("RAM Active".into(), self.memory_total_bytes.saturating_sub(self.memory_available_bytes).into(), "b");
        for InterfaceReport { name, mb_s, errors_min, dropped_min } in &self.interfaces {
            put(format!("net:rx_5:{name}"), number(mb_s.0, 3), "mb/s");
            put(format!("net:tx_5:{name}"), number(mb_s.1, 3), "mb/s");
            put(format!("net:rx_errors_60:{name}"), number(errors_min.0, 1), "/min");
            put(format!("net:tx_errors_60:{name}"), number(errors_min.1, 1), "/min");
            put(format!("net:rx_dropped_60:{name}"), number(dropped_min.0, 1), "/min");
            put(format!("net:tx_dropped_60:{name}"), number(dropped_min.1, 1), "/min");
        }
        put("Disk Reads".into(), number(self.disk_mb_s.0, 3), "mb/s");
        put("Disk Writes".into(), number(self.disk_mb_s.1, 3), "mb/s");
        for MountReport { path, use_pct, size_gb } in &self.mounts {
            put(format!("fs:use:{path}"), number(*use_pct, 2), "%");
            put(format!("fs:size:{path}"), number(*size_gb, 2), "gb");
        }
        all
    }
}

/// Rounds to `digits` decimal places.
pub fn round(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    let rounded = (value * factor).round() / factor;
    if rounded.is_finite() { rounded } else { 0.0 }
}

/// Returns a whole number without a decimal point, as JavaScript does.
fn number(value: f64, digits: i32) -> Value {
    let rounded = round(value, digits);
    if rounded.fract() == 0.0 && rounded.abs() < 1e15 { Value::from(rounded as i64) } else { Value::from(rounded) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_metrics_have_the_names_and_units_of_pm2() {
        let report = HostReport {
            cpu_pct: 100.0,
            memory_total_bytes: 1000,
            memory_available_bytes: 903,
            interfaces: vec![InterfaceReport { name: "lo".into(), mb_s: (0.4444, 0.0), ..InterfaceReport::default() }],
            disk_mb_s: (3.979, 20.797),
            mounts: vec![MountReport { path: "/".into(), use_pct: 53.63, size_gb: 251.97 }],
        };
        let metrics = report.metrics();
        let names: Vec<&str> = metrics.keys().map(String::as_str).collect();
        assert_eq!(names[..7], ["CPU Usage", "CPU Temperature", "RAM Usage", "RAM Total", "RAM Available", "RAM Active", "net:rx_5:lo"]);
        assert_eq!(names[12..], ["Disk Reads", "Disk Writes", "fs:use:/", "fs:size:/"]);
        assert_eq!(metrics["CPU Usage"], json!({ "value": 100, "type": "metric", "unit": "%", "historic": true }));
        assert_eq!((&metrics["RAM Usage"]["value"], &metrics["net:rx_5:lo"]["value"]), (&json!(9.7), &json!(0.444)));
    }
}
