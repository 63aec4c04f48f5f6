//! Historical metrics as lines of small bars. Pure.

use ostler_core::marked;
use ostler_core::text::language::translated;
use ostler_history::Figure;

use crate::text::fit;

/// Bars, the lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Width to use without a terminal.
const USUAL: usize = 100;
/// Width of a name.
const NAME: usize = 20;
/// Smallest width of the bars.
const FEWEST: usize = 8;

/// Returns the bars of a time span, one column each; a column without a value is empty. The lowest
/// bar is 0, the highest the largest value.
pub(crate) fn bars(figures: &[Figure], from_ms: u64, to_ms: u64, columns: usize) -> String {
    let length = to_ms.saturating_sub(from_ms).max(1);
    let mut found: Vec<Option<f64>> = vec![None; columns];
    for figure in figures.iter().filter(|figure| figure.at_ms <= to_ms) {
        // A step that began earlier is in the first column.
        let past = u128::from(figure.at_ms.saturating_sub(from_ms)) * columns as u128 / u128::from(length);
        let at = usize::try_from(past).unwrap_or(usize::MAX).min(columns.saturating_sub(1));
        if let Some(column) = found.get_mut(at) {
            *column = Some(column.map_or(figure.avg, |has| has.max(figure.avg)));
        }
    }
    let most = found.iter().flatten().copied().fold(0.0, f64::max);
    found.iter().map(|value| value.map_or(' ', |value| BARS[level(value, most)])).collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 7")]
fn level(value: f64, most: f64) -> usize {
    if most > 0.0 { ((value / most * 7.0).round().clamp(0.0, 7.0)) as usize } else { 0 }
}

/// Returns the name of a metric, as on the dashboard.
pub(crate) fn name(metric: &str) -> &str {
    translated(match metric {
        "cpu" => "CPU",
        "memory" => marked!("Memory"),
        "restarts" => marked!("Restarts"),
        "requests" => marked!("Requests"),
        "p50" => marked!("Response time p50"),
        "p95" => marked!("Response time p95"),
        "p99" => marked!("Response time p99"),
        "errors" => marked!("Responses 5xx"),
        "loop" => marked!("Event loop delay p50"),
        "loop-p95" => marked!("Event loop delay p95"),
        "loop-p99" => marked!("Event loop delay p99"),
        "loop-use" => marked!("Event loop use"),
        "heap" => marked!("Heap used"),
        "heap-total" => marked!("Heap total"),
        "gc" => marked!("GC time"),
        "handles" => marked!("Handles"),
        other => return other.strip_prefix("own:").or_else(|| other.strip_prefix("route:")).unwrap_or(other),
    })
}

/// Formats a value with its unit.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size on display")]
pub(crate) fn value(metric: &str, value: f64) -> String {
    match metric {
        "memory" | "heap" | "heap-total" | "disk" => super::bytes(value.max(0.0).round() as u64),
        "cpu" | "errors" | "loop-use" | "gc" => format!("{}%", short(value)),
        "p50" | "p95" | "p99" | "loop" | "loop-p95" | "loop-p99" => format!("{} ms", short(value)),
        "requests" => format!("{}/s", short(value)),
        route if route.starts_with("route:") => format!("{}/s", short(value)),
        _ => short(value),
    }
}

fn short(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract().abs() < 0.05 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// Returns the smallest, average (of the steps) and largest of some values.
#[expect(clippy::cast_precision_loss, reason = "a count")]
pub(crate) fn extremes(figures: &[Figure]) -> Option<(f64, f64, f64)> {
    let min = figures.iter().map(|figure| figure.min).reduce(f64::min)?;
    let max = figures.iter().map(|figure| figure.max).reduce(f64::max)?;
    Some((min, figures.iter().map(|figure| figure.avg).sum::<f64>() / figures.len() as f64, max))
}

/// Returns the width of the bars beside a name and this width of text.
pub(crate) fn room(width: Option<usize>, beside: usize) -> usize {
    width.unwrap_or(USUAL).saturating_sub(NAME + 2 + beside).max(FEWEST)
}

/// Formats a line of name, bars and text. It is no wider than the terminal.
pub(crate) fn line(name: &str, bars: &str, text: &str, width: Option<usize>) -> String {
    let name = fit(name, NAME);
    let gap = NAME.saturating_sub(unicode_width::UnicodeWidthStr::width(name.as_str()));
    let line = format!("{name}{} {bars} {text}", " ".repeat(gap));
    width.map_or(line.clone(), |width| fit(line.trim_end(), width))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at_ms: u64, avg: f64) -> Figure {
        Figure { at_ms, min: avg - 1.0, avg, max: avg + 1.0 }
    }

    #[test]
    fn bars_show_time_and_value() {
        let figures = [at(90, 1.0), at(300, 8.0), at(310, 2.0), at(900, 4.0)];
        assert_eq!(bars(&figures, 100, 1100, 10), "▂ █     ▅ ".to_owned());
        assert_eq!(crate::text::ascii(&bars(&figures, 100, 1100, 10)), ". #     = ");
        assert_eq!(bars(&[at(0, 0.0)], 0, 0, 3), "▁  ");
        assert_eq!(bars(&figures, 100, 1100, 0), "");
        assert_eq!(bars(&[], 0, u64::MAX, 2), "  ");
    }

    #[test]
    fn values_have_units_and_lines_fit_the_width() {
        for (metric, number, text) in [
            ("cpu", 3.44, "3.4%"),
            ("cpu", 250.4, "250%"),
            ("memory", 52_428_800.0, "50.0mb"),
            ("p95", 7.0, "7 ms"),
            ("own:x", 0.5, "0.5"),
            ("route:GET /", 2.0, "2/s"),
        ] {
            assert_eq!(value(metric, number), text);
        }
        let names = ["p99", "loop-use", "own:queue length", "route:GET /", "something"].map(name);
        assert_eq!(names, ["Response time p99", "Event loop use", "queue length", "GET /", "something"]);
        assert_eq!(extremes(&[at(0, 2.0), at(1, 4.0)]), Some((1.0, 3.0, 5.0)));
        assert_eq!(extremes(&[]), None);
        for width in [10, 40, 80, 120] {
            let line = line("很长的名字很长的名字", &"█".repeat(room(Some(width), 30)), "min 0%  avg 1%  max 2%", Some(width));
            assert!(unicode_width::UnicodeWidthStr::width(line.as_str()) <= width, "{width}: {line}");
        }
    }
}
