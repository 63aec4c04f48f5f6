//! The list, with as many columns as fit.

use ostler_core::health::HealthState as Health;
use ostler_core::message;
use ostler_proto::control::TableRow;
use unicode_width::UnicodeWidthStr as _;

use crate::commands::monit::cells::{Picture, Rect, Tone};
use crate::commands::monit::content::{cpu, share_bars, status_tone};
use crate::commands::monit::state::MonitState;
use crate::full_screen::row_cells::RowCells;
use crate::render::{age, bytes};

/// One column.
struct Column {
    title: &'static str,
    width: usize,
    cell: fn(&MonitState, &TableRow, usize) -> (String, Tone),
    /// Whether numbers are aligned at the right.
    is_figure: bool,
}

const fn words(title: &'static str, width: usize, cell: fn(&MonitState, &TableRow, usize) -> (String, Tone)) -> Column {
    Column { title, width, cell, is_figure: false }
}

const fn figure(title: &'static str, width: usize, cell: fn(&MonitState, &TableRow, usize) -> (String, Tone)) -> Column {
    Column { title, width, cell, is_figure: true }
}

/// Columns for the selection mark.
const MARK: usize = 2;
/// Number of columns that are more important than a whole name.
const NEEDED: usize = 3;
/// Width of a name that is more important than the columns after the first ones.
const NAME_ENOUGH: usize = 16;
/// Smallest and largest width of a name.
const NAME: (usize, usize) = (8, 24);

/// Returns the columns beside the name, the most important first. Columns that do not fit are left
/// out from the end.
fn columns(has_health: bool, is_alone: bool) -> Vec<Column> {
    let mut columns = vec![
        words("status", 8, |state, row, _| (short(state.display.status(&row.status)).to_owned(), status_tone(&row.status))),
        figure("cpu", 6, |_, row, _| (cpu(row), if row.monit.cpu_pct >= 90.0 { Tone::Warn } else { Tone::Plain })),
        figure("mem", 8, |_, row, _| (bytes(row.monit.memory_bytes), Tone::Plain)),
    ];
    if has_health {
        columns.push(words("health", 9, |_, row, _| health(row)));
    }
    let bars = [
        words("cpu bar", 12, |state, row, width| (share_bars(state, row, width).0, Tone::Good)),
        words("mem bar", 12, |state, row, width| (share_bars(state, row, width).1, Tone::Busy)),
    ];
    let counts = [
        figure("restarts", 8, |_, row, _| (row.restarts.to_string(), Tone::Plain)),
        figure("uptime", 6, |_, row, _| (row.uptime_ms.map_or_else(|| "0".into(), age), Tone::Plain)),
        figure("pid", 8, |_, row, _| (row.pid.to_string(), Tone::Plain)),
    ];
    // If the list is alone on the screen, users want its bars.
    if is_alone {
        columns.extend(bars.into_iter().chain(counts));
    } else {
        columns.extend(counts.into_iter().chain(bars));
    }
    columns.extend([
        words("namespace", 12, |_, row, _| (row.namespace.clone(), Tone::Plain)),
        words("cpu history", 24, |state, row, width| {
            let past = state.past.get(&row.id).map(|past| past.cpu.bars(width, 100.0, state.display.is_ascii));
            (past.unwrap_or_default(), Tone::Good)
        }),
        words("user", 10, |_, row, _| (row.user.clone(), Tone::Plain)),
        words("version", 9, |_, row, _| (row.version.clone().unwrap_or_else(|| "N/A".into()), Tone::Plain)),
    ]);
    columns
}

/// Returns a shorter status word.
fn short(status: &str) -> &str {
    match status {
        "waiting restart" => "waiting",
        "launching" => "launch",
        status => status,
    }
}

fn health(row: &TableRow) -> (String, Tone) {
    match row.health {
        None => (String::new(), Tone::Plain),
        Some(health) => {
            let tone = match health {
                Health::Healthy => Tone::Good,
                Health::Starting => Tone::Busy,
                Health::Unready | Health::Unhealthy | Health::Broken => Tone::Bad,
            };
            (health.as_str().to_owned(), tone)
        }
    }
}

/// Draws heading and rows.
pub(super) fn draw(state: &MonitState, picture: &mut Picture, place: Rect) {
    if !state.has_rows {
        return;
    }
    if state.shown.is_empty() {
        let text = if state.rows.is_empty() { message!("no apps") } else { message!("no app matches") };
        picture.put(place.x, place.y, place.width, &text, Tone::Dim);
        return;
    }
    let digits = state.rows.iter().map(|row| row.id.checked_ilog10().unwrap_or(0) as usize + 1).max().unwrap_or(1).max(2);
    let longest = state.rows.iter().map(|row| row.name.width()).max().unwrap_or(0).clamp(NAME.0, NAME.1);
    let fixed = MARK + digits + 1;
    let mut columns = columns(state.rows.iter().any(|row| row.health.is_some()), state.is_zoomed);
    let mut used = fixed;
    let mut count = 0;
    columns.retain(|column| {
        count += 1;
        // The first columns matter more than the rest of a long name.
        let name = if count > NEEDED { longest.min(NAME_ENOUGH) } else { NAME.0 };
        let fits = used + name + 1 + column.width <= place.width;
        // After the first column that does not fit, no narrower column may follow: it matters less.
        used += if fits { column.width + 1 } else { place.width };
        fits
    });
    let beside: usize = columns.iter().map(|column| column.width + 1).sum();
    let name = place.width.saturating_sub(fixed + beside).min(longest);
    heading(picture, place, &columns, digits, name);
    let height = place.height.saturating_sub(1);
    let rows = state.shown.iter().skip(state.list_top()).take(height).filter_map(|index| state.rows.get(*index));
    for (row, y) in rows.zip(place.y + 1..) {
        let is_selected = Some(row.id) == state.selected;
        let display = |tone| if is_selected { Tone::Inverse } else { tone };
        picture.fill(place.x, y, place.width, display(Tone::Plain));
        let line = Rect { y, height: 1, ..place };
        let mut cells = RowCells::new(picture, line, 1);
        cells.put(if is_selected { "▶" } else { "" }, MARK - 1, display(Tone::Plain), false);
        cells.put(&row.id.to_string(), digits, display(Tone::Dim), true);
        cells.put(&row.name, name, display(Tone::Bold), false);
        for column in &columns {
            let (text, tone) = (column.cell)(state, row, column.width);
            cells.put(&text, column.width, display(tone), column.is_figure);
        }
    }
}

fn heading(picture: &mut Picture, place: Rect, columns: &[Column], digits: usize, name: usize) {
    let mut cells = RowCells::new(picture, place, 1);
    cells.put("", MARK - 1, Tone::Dim, false);
    cells.put("id", digits, Tone::Dim, true);
    cells.put("name", name, Tone::Dim, false);
    for column in columns {
        cells.put(column.title, column.width, Tone::Dim, column.is_figure);
    }
}
