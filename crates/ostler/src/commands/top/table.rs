//! The table that is printed once, in ostler's look. Pure.

use ostler_core::message;
use ostler_core::text::units;
use ostler_history::QueryResult;

use super::state::{AppEntry, Totals};
use crate::render::face::{AppGroup, Cell, Column, GAP, Mark, grid, memory};
use crate::render::{View, metrics, styles};
use crate::text::{shown, wrap_words};

/// Columns beside the bars, with a short name.
const BESIDE: usize = 66;
/// Smallest and largest width of the bars.
const BARS: (usize, usize) = (8, 40);

/// Form of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableForm {
    /// Time of the bars; none without a history.
    pub(super) span: Option<(u64, u64)>,
    /// Whether each instance has a row.
    pub(super) is_each: bool,
}

/// Formats the apps, and the sums of all of them.
pub(super) fn table(entries: &[AppEntry], totals: &Totals, form: TableForm, view: &View) -> String {
    let TableForm { span, is_each } = form;
    let of = |text: &dyn Fn(&AppGroup) -> String| -> Vec<String> {
        entries.iter().map(|entry| entry.group.as_ref().map_or_else(|| "–".to_owned(), text)).collect()
    };
    let bars = |past: fn(&AppEntry) -> &QueryResult, style| -> Vec<Cell> {
        let width = (view.width.unwrap_or(100).saturating_sub(BESIDE) / 2).saturating_sub(GAP).clamp(BARS.0, BARS.1);
        let bars = |(from, to)| entries.iter().map(|entry| metrics::bars(&past(entry).figures, from, to, width)).collect();
        let lines: Vec<String> = span.map(bars).unwrap_or_default();
        lines.into_iter().map(|line| Cell::new(line.trim_end(), style)).collect()
    };
    let mut columns = vec![Column::text("NAME", 0, entries.iter().map(|entry| Cell::new(name(entry), styles::BOLD)))];
    if is_each {
        columns.push(Column::numbers("ID", 1, of(&|group| group.row.id.to_string())));
    }
    columns.extend([
        Column::text("STATE", 0, entries.iter().map(state)),
        Column::numbers("CPU", 2, of(&|group| group.figure(format!("{:.1}%", group.row.monit.cpu_pct)))),
        Column::text("", 6, bars(|entry| &entry.cpu, styles::GREEN)),
        Column::numbers("MEM", 3, of(&|group| group.figure(memory(group.row.monit.memory_bytes)))),
        Column::text("", 7, bars(|entry| &entry.memory, styles::BLUE)),
        Column::numbers("RESTARTS", 4, of(&|group| group.row.restarts.to_string())),
        Column::text("UPTIME", 5, of(&AppGroup::age)),
        Column::text("", 8, entries.iter().map(|entry| Cell::new(note(entry), styles::YELLOW))),
    ]);
    grid(columns, view) + &summary(totals, span, view)
}

fn name(entry: &AppEntry) -> String {
    entry.group.as_ref().map_or_else(|| shown(&entry.app.1), AppGroup::name)
}

fn state(entry: &AppEntry) -> Cell {
    match &entry.group {
        Some(group) => Cell::new(format!("{} {}", group.state.mark.glyph(), group.state.text), group.state.mark.style()),
        None => Cell::new(format!("{} gone", Mark::Stopped.glyph()), styles::DIM),
    }
}

fn note(entry: &AppEntry) -> String {
    entry.group.as_ref().map(AppGroup::note_text).unwrap_or_default()
}

/// Formats the line below the table.
fn summary(totals: &Totals, span: Option<(u64, u64)>, view: &View) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size on display")]
    let memory = memory(totals.memory.max(0.0).round() as u64);
    let past = match span {
        Some((from, to)) => message!("the last {time}", time = units::millis_text(to.saturating_sub(from))),
        None => message!("no history: the dashboard is off"),
    };
    let line = format!("{} · cpu {:.1}% · mem {memory} · {past}", totals.counts, totals.cpu);
    let lines = wrap_words(&line, view.width.unwrap_or(usize::MAX));
    lines.iter().map(|line| format!("{}\n", view.paint.with(styles::DIM, line))).collect()
}

#[cfg(test)]
mod tests {
    use ostler_history::Figure;

    use super::super::state::{entries, totals};
    use super::*;
    use crate::tests::data;

    fn text(view: &View, is_each: bool, has_past: bool) -> String {
        let mut rows = data::rows();
        rows.extend([data::row(20, "orders"), data::row(21, "orders")]);
        let figures = (0..30u32).map(|place| (u64::from(place) * 30_000, f64::from(place % 7)));
        let figures = figures.map(|(at_ms, value)| Figure { at_ms, min: value, avg: value, max: value }).collect();
        let answer = QueryResult { step_ms: 30_000, figures, reads: Default::default() };
        let past = vec![(("nsA".to_owned(), "orders".to_owned()), answer.clone(), answer)];
        let entries = entries(&rows, if has_past { past } else { Vec::new() }, is_each);
        let span = has_past.then_some((0, 900_000));
        table(&entries, &totals(&rows), TableForm { span, is_each }, view)
    }

    #[test]
    fn table_fits_and_matches_golden_files() {
        crate::tests::golden_at_each_width("top-once", |view| text(view, false, true));
        crate::tests::golden_at_each_width("top-once-each", |view| text(view, true, false));
    }

    #[test]
    fn table_is_never_wider_than_the_terminal() {
        for width in 20..=200 {
            for (is_each, has_past) in [(false, true), (true, false), (true, true)] {
                crate::tests::assert_fits(&text(&View::played(0, Some(width)), is_each, has_past), width);
            }
        }
    }
}
