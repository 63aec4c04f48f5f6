//! Line about the machine below the list.

use anstyle::Style;
use ostler_proto::control::HostReport;
use unicode_width::UnicodeWidthStr;

use super::style::{Paint, styles};
use super::view::View;
use crate::text::shown;

/// Formats one line, as PM2 does: `host metrics | cpu: 21.1% | ram usage: 2.6% | lo: ⇓ 0.444mb/s ⇑
/// 0.444mb/s | disk: …`. Pieces that do not fit into the terminal are left out from the end, so
/// that the line never wraps.
pub(crate) fn host_line(report: &HostReport, view: &View) -> String {
    let (paint, room) = (view.paint, view.width.unwrap_or(usize::MAX));
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

/// Returns the pieces of the line. Each piece includes the separator before it.
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
    use super::*;
    use crate::tests::data;

    #[test]
    fn host_line_omits_parts_that_do_not_fit() {
        let line = |width| host_line(&data::host(), &View::played(data::NOW_MS, width));
        for (width, expected) in [
            (10, ""),
            (40, "host metrics | cpu: 21.1%"),
            (80, "host metrics | cpu: 21.1% | ram usage: 2.6% | lo: ⇓ 0.444mb/s ⇑ 0.444mb/s"),
            (82, "host metrics | cpu: 21.1% | ram usage: 2.6% | lo: ⇓ 0.444mb/s ⇑ 0.444mb/s"),
        ] {
            assert_eq!(line(Some(width)), expected, "{width}");
        }
        assert!(line(None).ends_with("/data 91%"));
    }
}
