//! The state as a picture. Pure.

use ostler_core::text::units;

use super::state::{AppEntry, TopState};
use crate::full_screen::cells::{Picture, Tone};
use crate::render::metrics;

/// Widths of a value, of restarts, of instances.
const VALUE: usize = 9;
const COUNT: usize = 6;
const INSTANCES: usize = 7;
/// Smallest and largest width of a name, and smallest width of bars.
const NAME: (usize, usize) = (8, 28);
const BARS: (usize, usize) = (8, 40);

/// Start of each column, for a given width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Columns {
    name: usize,
    bars: usize,
    has_counts: bool,
}

impl Columns {
    /// Lays out the columns. The values have priority, then the counts, then the past.
    fn of(width: usize, longest: usize, has_past: bool) -> Self {
        let has_counts = width >= NAME.0 + 2 * (VALUE + 1) + COUNT + INSTANCES + 4;
        let counts = if has_counts { COUNT + INSTANCES + 2 } else { 0 };
        let name = longest.clamp(NAME.0, NAME.1);
        let left = width.saturating_sub(name + 2 * (VALUE + 1) + counts);
        let bars = (left / 2).saturating_sub(1).min(BARS.1);
        let bars = if has_past && bars >= BARS.0 { bars } else { 0 };
        let name = if bars == 0 { width.saturating_sub(2 * (VALUE + 1) + counts).min(NAME.1) } else { name };
        Self { name, bars, has_counts }
    }
}

/// Draws everything.
pub(super) fn draw(state: &TopState) -> Picture {
    let (width, height) = state.size;
    let mut picture = Picture::blank(width, height, state.is_ascii);
    let rows = state.rows();
    header(state, &rows, &mut picture);
    let longest = rows.iter().map(|entry| unicode_width::UnicodeWidthStr::width(entry.app.1.as_str())).max().unwrap_or(0);
    let columns = Columns::of(width, longest, state.has_past);
    titles(columns, &mut picture);
    for (line, entry) in rows.iter().skip(state.first).take(state.room()).enumerate() {
        row(state, columns, entry, line + 2, &mut picture);
    }
    if height > 3 {
        let keys = "c cpu  m memory  n name  r restarts  arrows scroll  q quit";
        picture.put(0, height - 1, width, keys, Tone::Dim);
    }
    picture
}

fn header(state: &TopState, rows: &[AppEntry], picture: &mut Picture) {
    let width = state.size.0;
    picture.fill(0, 0, width, Tone::Inverse);
    let now = rows.iter().filter_map(|entry| entry.now);
    let (cpu, memory) = now.fold((0.0, 0.0), |sums, now| (sums.0 + now.cpu, sums.1 + now.memory));
    let order = format!("by {}{}", state.sort.word(), if state.is_reversed { " reversed" } else { "" });
    let past = match (state.has_past, &state.problem) {
        (true, _) => format!("the last {}", units::millis_text(state.since_ms)),
        (false, _) => "no history: the dashboard is off".to_owned(),
    };
    let text = match &state.problem {
        Some(problem) => format!(" top | {problem} | {past}"),
        None => format!(
            " top | {} apps | cpu {} | memory {} | {order} | {past}",
            rows.len(),
            metrics::value("cpu", cpu),
            metrics::value("memory", memory)
        ),
    };
    picture.put(0, 0, width, &text, Tone::Inverse);
}

fn titles(columns: Columns, picture: &mut Picture) {
    let mut x = columns.name + 1;
    picture.put(0, 1, columns.name, "app", Tone::Dim);
    for title in ["cpu", "memory"] {
        picture.put(x, 1, VALUE, &format!("{title:>VALUE$}"), Tone::Dim);
        x += VALUE + 1 + if columns.bars > 0 { columns.bars + 1 } else { 0 };
    }
    if columns.has_counts {
        picture.put(x, 1, COUNT, &format!("{:>COUNT$}", "restarts".get(..COUNT).unwrap_or_default()), Tone::Dim);
        picture.put(x + COUNT + 1, 1, INSTANCES, &format!("{:>INSTANCES$}", "online"), Tone::Dim);
    }
}

fn row(state: &TopState, columns: Columns, entry: &AppEntry, y: usize, picture: &mut Picture) {
    let tone = if entry.now.is_some() { Tone::Plain } else { Tone::Dim };
    picture.put(0, y, columns.name, &entry.app.1, tone);
    let from = state.at_ms.saturating_sub(state.since_ms);
    let parts = [
        ("cpu", entry.now.map(|now| now.cpu), &entry.cpu, Tone::Good),
        ("memory", entry.now.map(|now| now.memory), &entry.memory, Tone::Busy),
    ];
    let mut x = columns.name + 1;
    for (metric, now, past, bar) in parts {
        let value = now.map_or_else(|| "-".to_owned(), |value| metrics::value(metric, value));
        let is_much = metric == "cpu" && now.is_some_and(|cpu| cpu >= 90.0);
        picture.put(x, y, VALUE, &format!("{value:>VALUE$}"), if is_much { Tone::Warn } else { tone });
        x += VALUE + 1;
        if columns.bars > 0 {
            picture.put(x, y, columns.bars, &metrics::bars(&past.figures, from, state.at_ms, columns.bars, state.is_ascii), bar);
            x += columns.bars + 1;
        }
    }
    if let (true, Some(now)) = (columns.has_counts, entry.now) {
        picture.put(x, y, COUNT, &format!("{:>COUNT$}", now.restarts), tone);
        let all_online = now.online == now.instances;
        let online = format!("{}/{}", now.online, now.instances);
        picture.put(x + COUNT + 1, y, INSTANCES, &format!("{online:>INSTANCES$}"), if all_online { tone } else { Tone::Bad });
    }
}

#[cfg(test)]
mod tests {
    use ostler_history::{Figure, QueryResult};

    use super::*;
    use crate::commands::top::source::Sample;
    use crate::full_screen::input::{Input, Key};

    fn state(size: (usize, usize), has_past: bool) -> TopState {
        let mut state = TopState::new(false, 900_000, size);
        let rows = [("api", 12.5, 2), ("worker \u{1b}[2J with a long name that goes on", 90.0, 0), ("\u{7f16}\u{8f91}", 0.0, 7)];
        let rows = rows.iter().map(|(name, cpu, restarts)| {
            let mut row = crate::tests::data::row(0, name);
            (row.monit.cpu_pct, row.monit.memory_bytes, row.restarts) = (*cpu, 1 << 20, *restarts);
            row
        });
        let figure = |at_ms, avg| Figure { at_ms, min: avg, avg, max: avg };
        let answer = QueryResult { step_ms: 10_000, figures: vec![figure(500_000, 5.0), figure(950_000, 10.0)], reads: Default::default() };
        let past = vec![(("default".to_owned(), "gone".to_owned()), answer.clone(), answer)];
        state.take(Sample { at_ms: 1_000_000, now: Ok(rows.collect()), past: has_past.then_some(past), has_past });
        state
    }

    fn names(state: &TopState) -> Vec<String> {
        state.rows().into_iter().map(|entry| entry.app.1.chars().take(3).collect()).collect()
    }

    #[test]
    fn view_fits_any_size_without_control_characters() {
        for size in [(1, 1), (20, 5), (40, 10), (60, 24), (80, 24), (200, 50)] {
            for has_past in [true, false] {
                let text = draw(&state(size, has_past)).text();
                assert!(text.lines().count() == size.1 && !text.contains('\u{1b}'), "{size:?}\n{text}");
            }
        }
        let text = draw(&state((100, 10), true)).text();
        for words in ["top | 4 apps | cpu 102%", "the last 15m", "12.5%", "1/1", "q quit", "█"] {
            assert!(text.contains(words), "{words}\n{text}");
        }
        assert!(draw(&state((100, 10), false)).text().contains("no history: the dashboard is off"));
    }

    #[test]
    fn keys_sort_and_scroll() {
        let mut state = state((80, 4), true);
        assert_eq!(names(&state), ["wor", "api", "gon", "编辑"]);
        for (key, order) in
            [('r', ["编辑", "api", "wor", "gon"]), ('n', ["api", "gon", "wor", "编辑"]), ('n', ["编辑", "wor", "gon", "api"])]
        {
            assert_eq!(state.on_input(&Input::Key(Key::Char(key))), None);
            assert_eq!(names(&state), order, "{key}");
        }
        state.on_input(&Input::Key(Key::End));
        assert_eq!(state.first, 3);
        state.on_input(&Input::Wheel { x: 0, y: 0, up: true });
        assert_eq!(state.first, 0);
        assert_eq!(state.on_input(&Input::Key(Key::Char('q'))), Some(super::super::state::Command::Quit));
    }
}
