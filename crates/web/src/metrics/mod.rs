//! Metrics in the text formats of Prometheus: ostler's own, and the same under the names of PM2's
//! exporter. Pure, except for [`scrape`].

mod exposition;
mod node;
mod own;
mod pm2;
pub(crate) mod scrape;

use ostler_core::health;
use ostler_proto::control::TableRow;

use crate::snapshot::Snapshot;
pub(crate) use exposition::Format;
use exposition::{Exposition, FamilyKind};
pub(crate) use pm2::text as pm2_text;
use scrape::AppFigures;

/// Returns the metrics of a snapshot as text.
#[expect(clippy::cast_precision_loss, reason = "the format knows floats alone")]
pub(crate) fn text(snapshot: &Snapshot, own: &[&AppFigures], with_host: bool, format: Format) -> String {
    let mut out = Exposition::new(format);
    let up = f64::from(u8::from(snapshot.peer.is_some()));
    out.family("ostler_up", FamilyKind::Gauge, None, "Whether the daemon responds.");
    out.sample(&[], up);
    out.family("ostler_build", FamilyKind::Info, None, "Version of the program.");
    out.sample(&[("version", ostler_client::VERSION)], 1.0);
    let mut apps = |name: &str, kind, unit, help: &str, value: &dyn Fn(&TableRow) -> Option<f64>| {
        out.family(name, kind, unit, help);
        for row in &snapshot.rows {
            if let Some(value) = value(row) {
                out.sample(&[("app", &row.name), ("namespace", &row.namespace), ("worker", &row.id.to_string())], value);
            }
        }
    };
    let yes = |is: bool| Some(f64::from(u8::from(is)));
    apps("ostler_app_up", FamilyKind::Gauge, None, "Whether the instance is online.", &|row| yes(row.status == "online"));
    apps(
        "ostler_app_errored",
        FamilyKind::Gauge,
        None,
        "Whether the instance is errored: it failed too often and is not restarted.",
        &|row| yes(row.status == "errored"),
    );
    apps("ostler_app_healthy", FamilyKind::Gauge, None, "Whether its health checks succeed; absent without a health check.", &|row| {
        row.health.and_then(|health| yes(health == health::HealthState::Healthy))
    });
    apps("ostler_app_restarts", FamilyKind::Counter, None, "Restarts since the app was added or its counters were reset.", &|row| {
        Some(row.restarts.into())
    });
    apps(
        "ostler_app_cpu_usage_ratio",
        FamilyKind::Gauge,
        Some("ratio"),
        "CPU usage of all processes of the instance; 1 is one core.",
        &|row| Some((row.monit.cpu_pct * 10.0).round() / 1000.0),
    );
    apps("ostler_app_memory_bytes", FamilyKind::Gauge, Some("bytes"), "Resident memory of all processes of the instance.", &|row| {
        Some(row.monit.memory_bytes as f64)
    });
    apps("ostler_app_processes", FamilyKind::Gauge, None, "Processes of the instance.", &|row| Some(row.monit.processes.into()));
    apps(
        "ostler_app_uptime_seconds",
        FamilyKind::Gauge,
        Some("seconds"),
        "Time since the start of the instance, while it is online.",
        &|row| row.uptime_ms.map(|ms| ms as f64 / 1000.0),
    );
    node::add(&mut out, snapshot);
    own::add(&mut out, own);
    if with_host {
        host(&mut out, snapshot);
    }
    out.end()
}

#[expect(clippy::cast_precision_loss, reason = "the format knows floats alone")]
fn host(out: &mut Exposition, snapshot: &Snapshot) {
    let host = &snapshot.host;
    if let Some(cpu) = host.cpu {
        out.family("ostler_host_cpu_usage_ratio", FamilyKind::Gauge, Some("ratio"), "CPU usage of the machine; 1 is all cores.");
        out.sample(&[], cpu);
    }
    out.family("ostler_host_memory_used_bytes", FamilyKind::Gauge, Some("bytes"), "Used memory of the machine: total minus available.");
    out.sample(&[], host.memory.used as f64);
    out.family("ostler_host_memory_size_bytes", FamilyKind::Gauge, Some("bytes"), "Total memory of the machine.");
    out.sample(&[], host.memory.total as f64);
    if let Some(load) = host.load {
        out.family("ostler_host_load", FamilyKind::Gauge, None, "Load average.");
        for (minutes, load) in ["1", "5", "15"].into_iter().zip(load) {
            out.sample(&[("minutes", minutes)], load);
        }
    }
    if let Some(disk) = host.disk {
        out.family("ostler_host_disk_used_bytes", FamilyKind::Gauge, Some("bytes"), "Used space of the root file system.");
        out.sample(&[], disk.used as f64);
        out.family("ostler_host_disk_size_bytes", FamilyKind::Gauge, Some("bytes"), "Size of the root file system.");
        out.sample(&[], disk.total as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests_row as row;

    #[test]
    fn metrics_follow_text_and_openmetrics_formats() {
        let rows = vec![row(0, "a\"b\\c\nd", "default", "online"), row(1, "x", "default", "errored")];
        let snapshot = Snapshot { rows, ..Snapshot::default() };
        let plain = text(&snapshot, &[], true, Format::Text);
        assert!(plain.contains("# TYPE ostler_app_restarts_total counter\n"), "{plain}");
        assert!(plain.contains("ostler_app_up{app=\"a\\\"b\\\\c\\nd\",namespace=\"default\",worker=\"0\"} 1\n"), "{plain}");
        assert!(plain.contains("ostler_app_cpu_usage_ratio{app=\"x\",namespace=\"default\",worker=\"1\"} 0.011\n"), "{plain}");
        assert!(!plain.contains("# EOF") && !plain.contains("# UNIT") && plain.contains("ostler_up 0\n"));
        let open = text(&snapshot, &[], false, Format::OpenMetrics);
        assert!(open.contains("# TYPE ostler_app_restarts counter\n") && open.contains("\nostler_app_restarts_total{"), "{open}");
        assert!(open.contains("# TYPE ostler_build info\n") && open.contains("\nostler_build_info{"), "{open}");
        assert!(open.contains("# UNIT ostler_app_memory_bytes bytes\n") && open.ends_with("\n# EOF\n") && !open.contains("host"));
    }
}
