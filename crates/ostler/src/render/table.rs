//! PM2's list: full, condensed or mini, depending on the width of the terminal.

use std::cmp::Ordering;
use std::fmt::Write;

use anstyle::Style;
use ostler_core::app::ExecMode;
use ostler_core::health::HealthState as Health;
use ostler_proto::control::TableRow;
use unicode_width::UnicodeWidthStr;

use super::age::{age, bytes};
use super::style::{Paint, styles};
use super::view::View;
use crate::text::{fit, shown};

/// Order of the rows: `--sort <field>[:asc|desc]`, by name without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SortOrder {
    field: SortField,
    descending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SortField {
    Name,
    Namespace,
    Pid,
    Id,
    Cpu,
    Memory,
    Uptime,
    Status,
}

impl SortOrder {
    /// By name, as PM2 does without `--sort`.
    pub(crate) const BY_NAME: Self = Self { field: SortField::Name, descending: false };

    /// Names of the fields.
    pub(crate) const FIELDS: &[&str] = &["name", "namespace", "pid", "id", "cpu", "memory", "uptime", "status"];

    /// Parses `memory:desc`; returns none for an unknown field.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (field, direction) = text.split_once(':').unwrap_or((text, "asc"));
        let field = match field.to_ascii_lowercase().as_str() {
            "name" => SortField::Name,
            "namespace" => SortField::Namespace,
            "pid" => SortField::Pid,
            "id" => SortField::Id,
            "cpu" => SortField::Cpu,
            "memory" | "mem" => SortField::Memory,
            "uptime" => SortField::Uptime,
            "status" => SortField::Status,
            _ => return None,
        };
        Some(Self { field, descending: direction == "desc" })
    }

    /// Sorts; rows that are equal keep their order by id.
    pub(crate) fn sort(self, rows: &mut [TableRow]) {
        rows.sort_by(|a, b| self.compare(a, b));
    }

    /// Compares two rows.
    pub(crate) fn compare(self, a: &TableRow, b: &TableRow) -> Ordering {
        let order = self.ascending(a, b);
        if self.descending { order.reverse() } else { order }
    }

    fn ascending(self, a: &TableRow, b: &TableRow) -> Ordering {
        // Compares code units, as JavaScript does.
        let text = |a: &str, b: &str| if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) };
        match self.field {
            SortField::Name => text(&a.name, &b.name),
            SortField::Namespace => text(&a.namespace, &b.namespace),
            SortField::Status => text(&a.status, &b.status),
            SortField::Pid => a.pid.cmp(&b.pid),
            SortField::Id => a.id.cmp(&b.id),
            SortField::Cpu => a.monit.cpu_pct.total_cmp(&b.monit.cpu_pct),
            SortField::Memory => a.monit.memory_bytes.cmp(&b.monit.memory_bytes),
            // PM2 sorts by the start time: the oldest first.
            SortField::Uptime => b.uptime_ms.cmp(&a.uptime_ms),
        }
    }
}

/// One column: title, width with padding, and the cell of a row.
struct Column {
    title: &'static str,
    width: usize,
    cell: fn(&TableRow) -> String,
    style: fn(&TableRow) -> Option<Style>,
}

const fn plain(title: &'static str, width: usize, cell: fn(&TableRow) -> String) -> Column {
    Column { title, width, cell, style: |_| None }
}

/// Formats the whole list, with a final newline: in the fullest form that fits, and in the full
/// form without a terminal.
pub(crate) fn list_table(rows: &[TableRow], view: &View) -> String {
    let columns = columns_in(rows, view.width.unwrap_or(usize::MAX));
    draw(rows, &columns, view.paint)
}

/// Returns the columns of the fullest form that fits.
fn columns_in(rows: &[TableRow], room: usize) -> Vec<Column> {
    let forms = [full(rows), condensed(rows), mini(rows)].map(|columns| with_health(columns, rows));
    forms.into_iter().find(|columns| total(columns) <= room).unwrap_or_else(|| least(rows, room))
}

/// Formats the running PM2 modules as a separate table below a heading; empty if no module runs.
pub(crate) fn module_table(rows: &[TableRow], view: &View) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let room = view.width.unwrap_or(usize::MAX);
    let forms = [full_of_modules(rows), mini(rows)];
    let columns = forms.into_iter().find(|columns| total(columns) <= room).unwrap_or_else(|| least(rows, room));
    let heading = if rows.len() == 1 { "Module" } else { "Modules" };
    format!("{}\n{}", view.paint.with(styles::HEADER, heading), draw(rows, &columns, view.paint))
}

fn full_of_modules(rows: &[TableRow]) -> Vec<Column> {
    vec![
        id(rows),
        plain("module", 30, |row| shown(&row.name)),
        plain("version", 15, |row| row.version.clone().unwrap_or_else(|| "N/A".into())),
        plain("pid", 10, |row| row.pid.to_string()),
        Column { width: 10, ..status() },
        plain("↺", 6, |row| row.restarts.to_string()),
        plain("cpu", 10, cpu),
        plain("mem", 10, memory),
        Column { style: |_| Some(styles::BOLD), ..plain("user", 10, |row| row.user.clone()) },
    ]
}

/// Returns the columns of the mini form. If they do not fit, it drops memory, CPU and health, in
/// this order, then shortens the name.
fn least(rows: &[TableRow], room: usize) -> Vec<Column> {
    let mut columns = with_health(mini(rows), rows);
    for title in ["mem", "cpu", "health"] {
        if total(&columns) > room {
            columns.retain(|column| column.title != title);
        }
    }
    let excess = total(&columns).saturating_sub(room);
    if let Some(name) = columns.iter_mut().find(|column| column.title == "name") {
        name.width = name.width.saturating_sub(excess).max(NARROWEST);
    }
    columns
}

/// Width of three letters of a name and the mark for cut text.
const NARROWEST: usize = 6;

fn total(columns: &[Column]) -> usize {
    columns.iter().map(|column| column.width).sum::<usize>() + columns.len() + 1
}

fn full(rows: &[TableRow]) -> Vec<Column> {
    vec![
        id(rows),
        name(rows, 40),
        plain("namespace", 13, |row| row.namespace.clone()),
        plain("version", 9, |row| row.version.clone().unwrap_or_else(|| "N/A".into())),
        mode(9),
        plain("pid", 10, |row| row.pid.to_string()),
        plain("uptime", 8, |row| row.uptime_ms.map_or_else(|| "0".into(), age)),
        plain("↺", 6, |row| row.restarts.to_string()),
        status(),
        plain("cpu", 10, cpu),
        plain("mem", 10, memory),
        Column { style: |_| Some(styles::BOLD), ..plain("user", 10, |row| row.user.clone()) },
        Column {
            style: |row| Some(if row.watching { styles::GREEN } else { styles::GREY }),
            ..plain("watching", 10, |row| if row.watching { "enabled".into() } else { "disabled".into() })
        },
    ]
}

fn condensed(rows: &[TableRow]) -> Vec<Column> {
    vec![
        id(rows),
        name(rows, 20),
        mode(10),
        plain("↺", 6, |row| row.restarts.to_string()),
        status(),
        plain("cpu", 10, cpu),
        plain("memory", 10, memory),
    ]
}

fn mini(rows: &[TableRow]) -> Vec<Column> {
    vec![id(rows), name(rows, 16), status(), plain("cpu", 8, cpu), plain("mem", 10, memory)]
}

/// Adds the health column beside the status if an app has a health check. PM2 has no such column.
fn with_health(mut columns: Vec<Column>, rows: &[TableRow]) -> Vec<Column> {
    if rows.iter().any(|row| row.health.is_some())
        && let Some(status) = columns.iter().position(|column| column.title == "status")
    {
        let cell = |row: &TableRow| row.health.map_or_else(String::new, |health| health.as_str().to_owned());
        columns.insert(status + 1, Column { style: |row| row.health.map(health_style), ..plain("health", 11, cell) });
    }
    columns
}

/// Returns the colour of a health state.
pub(super) fn health_style(health: Health) -> Style {
    match health {
        Health::Healthy => styles::BOLD_GREEN,
        Health::Starting => styles::BOLD_BLUE,
        Health::Unready | Health::Unhealthy | Health::Broken => styles::BOLD_RED,
    }
}

fn id(rows: &[TableRow]) -> Column {
    let digits = rows.iter().map(|row| row.id.checked_ilog10().unwrap_or(0) as usize + 1).max().unwrap_or(0);
    Column { style: |_| Some(styles::HEADER), ..plain("id", (digits + 2).max(4), |row| row.id.to_string()) }
}

fn name(rows: &[TableRow], most: usize) -> Column {
    let longest = rows.iter().map(|row| shown(&row.name).width()).max().unwrap_or(6);
    plain("name", (longest + 5).min(most), |row| shown(&row.name))
}

fn mode(width: usize) -> Column {
    Column {
        style: |row| Some(if row.mode == ExecMode::Fork { styles::FORK } else { styles::BOLD_BLUE }),
        ..plain("mode", width, |row| if row.mode == ExecMode::Fork { "fork".into() } else { "cluster".into() })
    }
}

fn status() -> Column {
    Column { style: |row| Some(status_style(&row.status)), ..plain("status", 11, |row| row.status.clone()) }
}

/// Returns the colour of a status word.
pub(super) fn status_style(status: &str) -> Style {
    match status {
        "online" => styles::BOLD_GREEN,
        "launching" => styles::BOLD_BLUE,
        _ => styles::BOLD_RED,
    }
}

fn cpu(row: &TableRow) -> String {
    format!("{}%", (row.monit.cpu_pct * 10.0).round() / 10.0)
}

fn memory(row: &TableRow) -> String {
    bytes(row.monit.memory_bytes)
}

fn draw(rows: &[TableRow], columns: &[Column], paint: Paint) -> String {
    let bytes_of_a_row = 4 * columns.len() + total(columns);
    let mut out = String::with_capacity((rows.len() + 4) * bytes_of_a_row);
    let line = |out: &mut String, [left, cross, right]: [char; 3]| {
        let bars = columns.iter().map(|column| "─".repeat(column.width)).collect::<Vec<_>>().join(&cross.to_string());
        let _ = writeln!(out, "{}", paint.with(styles::BORDER, format_args!("{left}{bars}{right}")));
    };
    let bar = paint.with(styles::BORDER, '│').to_string();
    line(&mut out, ['┌', '┬', '┐']);
    for column in columns {
        let _ = write!(out, "{bar}{}", paint.with(styles::HEADER, format_args!(" {} ", fit(column.title, column.width - 2))));
    }
    let _ = writeln!(out, "{bar}");
    if !rows.is_empty() {
        line(&mut out, ['├', '┼', '┤']);
    }
    for row in rows {
        for column in columns {
            let cell = fit(&(column.cell)(row), column.width - 2);
            let text = cell.trim_end();
            let style = (column.style)(row).unwrap_or_default();
            let _ = write!(out, "{bar} {}{} ", paint.with(style, text), &cell[text.len()..]);
        }
        let _ = writeln!(out, "{bar}");
    }
    line(&mut out, ['└', '┴', '┘']);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::data::{row, rows, rows_with_health};

    #[test]
    fn table_fits_each_width_with_equally_wide_lines() {
        for rows in [rows(), rows_with_health()] {
            for width in 28..200 {
                let text = list_table(&rows, &View::played(0, Some(width)));
                let widths: Vec<usize> = text.lines().map(UnicodeWidthStr::width).collect();
                assert!(widths[0] <= width && widths.iter().all(|line| *line == widths[0]), "{width}: {widths:?}\n{text}");
            }
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert!(!list_table(&[row(0, "a\u{1b}[2Jb\n")], &View::played(0, None)).contains('\u{1b}'));
    }

    #[test]
    fn order_sorts_rows_by_field() {
        let mut rows = [row(0, "b"), row(1, "a"), row(2, "B")];
        rows[0].monit.memory_bytes = 5;
        rows[2].uptime_ms = Some(99_000);
        for (sort, ids) in [
            ("name", [2, 1, 0]),
            ("name:desc", [0, 1, 2]),
            ("id", [0, 1, 2]),
            ("id:desc", [2, 1, 0]),
            ("memory", [0, 1, 2]),
            ("memory:desc", [1, 2, 0]),
            ("uptime", [2, 0, 1]),
            ("pid:whatever", [0, 1, 2]),
        ] {
            let mut sorted = rows.clone();
            sorted.sort_by_key(|row| row.id);
            SortOrder::parse(sort).unwrap().sort(&mut sorted);
            assert_eq!(sorted.each_ref().map(|row| row.id), ids, "{sort}");
        }
        assert_eq!(SortOrder::parse("nosuch"), None);
    }
}
