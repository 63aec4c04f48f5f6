//! The line about the machine below the list.

use anstyle::Style;
use ostler_proto::control::HostReport;
use unicode_width::UnicodeWidthStr;

use super::shown;
use super::style::{Paint, styles};

/// `host metrics | cpu: 21.1% | ram usage: 2.6% | lo: ⇓ 0.444mb/s ⇑ 0.444mb/s | disk: …`, as PM2 has it. What a terminal of this width has no
/// room for is left out from the end: a line that wraps is no line.
pub(crate) fn host_line(report: &HostReport, paint: Paint, width: Option<usize>) -> String {
    let room = width.unwrap_or(usize::MAX);
    let (mut line, mut columns) = (String::new(), 0);
    for (text, plain) in pieces(report, paint).into_iter().zip(pieces(report, Paint(false))) {
        columns += plain.width();
        if columns > room {
            break;
        }
        line.push_str(&text);
    }
    line
}

/// The line in pieces that are of use by themselves, each with what parts it from the one before.
fn pieces(report: &HostReport, paint: Paint) -> Vec<String> {
    let label = |name: &str| paint.with(styles::BOLD, shown(name)).to_string();
    let figure = |value: f64, unit: &str, (warn, alarm): (f64, f64)| {
        let style: Style = match value {
            value if value >= alarm => styles::BOLD_RED,
            value if value >= warn => styles::YELLOW,
            _ => styles::GREEN,
        };
        paint.with(style, format!("{value}{unit}")).to_string()
    };
    let speed = |(down, up): (f64, f64)| format!("⇓ {} ⇑ {}", figure(down, "mb/s", (10.0, 20.0)), figure(up, "mb/s", (10.0, 20.0)));
    let mut pieces = vec![
        paint.with(styles::HEADER, "host metrics").to_string(),
        format!(" | {}: {}", label("cpu"), figure(report.cpu_pct, "%", (40.0, 70.0))),
        format!(" | {}: {}", label("ram usage"), figure(report.memory_pct(), "%", (70.0, 90.0))),
    ];
    for interface in report.interfaces.iter().filter(|interface| interface.mb_s != (0.0, 0.0)) {
        pieces.push(format!(" | {}: {}", label(&interface.name), speed(interface.mb_s)));
        for (word, (a, b)) in [("err", interface.errors_min), ("drop", interface.dropped_min)] {
            if a + b > 0.0 {
                pieces.push(format!(" {}", paint.with(styles::RED, format!("{word} {}/min", a + b))));
            }
        }
    }
    pieces.push(format!(" | {}: {}", label("disk"), speed(report.disk_mb_s)));
    for mount in report.mounts.iter().filter(|mount| mount.use_pct > 60.0) {
        pieces.push(format!(" {} {}", label(&mount.path), figure(mount.use_pct, "%", (80.0, 90.0))));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use ostler_proto::control::{InterfaceReport, MountReport};

    use super::*;

    #[test]
    fn as_pm2_prints_it() {
        let report = HostReport {
            cpu_pct: 21.1,
            memory_total_bytes: 1000,
            memory_available_bytes: 974,
            interfaces: vec![
                InterfaceReport { name: "lo".into(), mb_s: (0.444, 0.444), ..InterfaceReport::default() },
                InterfaceReport { name: "eth0".into(), ..InterfaceReport::default() },
                InterfaceReport { name: "eth1".into(), mb_s: (0.0, 1.0), errors_min: (1.0, 2.0), ..InterfaceReport::default() },
            ],
            disk_mb_s: (0.006, 0.028),
            mounts: vec![
                MountReport { path: "/".into(), use_pct: 53.6, size_gb: 1.0 },
                MountReport { path: "/data".into(), use_pct: 91.0, size_gb: 1.0 },
            ],
        };
        for (width, expected) in [
            (10, ""),
            (40, "host metrics | cpu: 21.1%"),
            (80, "host metrics | cpu: 21.1% | ram usage: 2.6% | lo: ⇓ 0.444mb/s ⇑ 0.444mb/s"),
            (82, "host metrics | cpu: 21.1% | ram usage: 2.6% | lo: ⇓ 0.444mb/s ⇑ 0.444mb/s"),
        ] {
            assert_eq!(host_line(&report, Paint(false), Some(width)), expected, "{width}");
        }
        assert!(host_line(&report, Paint(true), Some(80)).starts_with("\x1b["));
        assert_eq!(
            host_line(&report, Paint(false), None),
            "host metrics | cpu: 21.1% | ram usage: 2.6% | lo: ⇓ 0.444mb/s ⇑ 0.444mb/s | eth1: ⇓ 0mb/s ⇑ 1mb/s err 3/min \
             | disk: ⇓ 0.006mb/s ⇑ 0.028mb/s /data 91%"
        );
    }
}
