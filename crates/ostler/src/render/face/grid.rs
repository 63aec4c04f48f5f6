//! Columns without borders that fit the terminal.

use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

use crate::render::style::styles;
use crate::render::view::View;
use crate::text::fit;

/// Blanks between two columns.
pub(crate) const GAP: usize = 2;

/// Width to which the first column shrinks before any column is left out.
const SHORT: usize = 24;

/// Width to which the first column shrinks at last.
const NARROWEST: usize = 6;

/// One value and its style.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    pub text: String,
    pub style: Style,
}

impl Cell {
    /// Returns a value in this style.
    pub(crate) fn new(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Style::new())
    }
}

/// One column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub title: &'static str,
    /// Whether the values are numbers, which end at the right.
    pub is_number: bool,
    /// Order in which columns are left out if the terminal is too narrow: the highest first; 0 is
    /// always shown.
    pub priority: u8,
    pub cells: Vec<Cell>,
}

impl Column {
    /// Returns a column of texts.
    pub(crate) fn text(title: &'static str, priority: u8, cells: impl IntoIterator<Item = impl Into<Cell>>) -> Self {
        Self { title, is_number: false, priority, cells: cells.into_iter().map(Into::into).collect() }
    }

    /// Returns a column of numbers.
    pub(crate) fn numbers(title: &'static str, priority: u8, cells: impl IntoIterator<Item = impl Into<Cell>>) -> Self {
        Self { is_number: true, ..Self::text(title, priority, cells) }
    }

    fn width(&self) -> usize {
        self.cells.iter().map(|cell| cell.text.width()).chain([self.title.len()]).max().unwrap_or(0)
    }
}

/// Formats the columns below their titles, one line per row. No line is wider than the terminal:
/// columns are left out by their priority, then the first one is shortened, then all lines are cut.
pub(crate) fn grid(mut columns: Vec<Column>, view: &View) -> String {
    columns.retain(|column| column.priority == 0 || column.cells.iter().any(|cell| !cell.text.is_empty()));
    let wanted: Vec<(usize, u8)> = columns.iter().map(|column| (column.width(), column.priority)).collect();
    let (kept, widths): (Vec<usize>, Vec<usize>) = fitting(&wanted, SHORT, view.width.unwrap_or(usize::MAX)).into_iter().unzip();
    let columns: Vec<&Column> = kept.iter().filter_map(|place| columns.get(*place)).collect();
    let rows = columns.first().map_or(0, |column| column.cells.len());
    let heading = |column: &Column| Cell::new(column.title, styles::DIM);
    let mut out = String::new();
    if columns.iter().any(|column| !column.title.is_empty()) {
        out += &line(columns.iter().map(|column| (*column, heading(column))), &widths, view);
    }
    for row in 0..rows {
        out += &line(columns.iter().map(|column| (*column, column.cells.get(row).cloned().unwrap_or_default())), &widths, view);
    }
    out
}

/// Returns the columns that fit, each with its place and width. `wanted`: width and priority of each
/// column; `short`: width to which the first one shrinks before another is left out.
pub(crate) fn fitting(wanted: &[(usize, u8)], short: usize, room: usize) -> Vec<(usize, usize)> {
    let mut kept: Vec<(usize, u8)> = wanted.iter().enumerate().map(|(place, (_, priority))| (place, *priority)).collect();
    let mut widths: Vec<usize> = wanted.iter().map(|(width, _)| *width).collect();
    // A long name is less important than the figures beside it.
    shrink_first(&mut widths, room, short);
    while total(&widths) > room
        && let Some(last) = last_to_drop(&kept)
    {
        kept.remove(last);
        widths.remove(last);
    }
    shrink_first(&mut widths, room, NARROWEST);
    kept.into_iter().map(|(place, _)| place).zip(widths).collect()
}

/// Makes the first column narrower if the columns do not fit, but not narrower than this.
fn shrink_first(widths: &mut [usize], room: usize, least: usize) {
    let excess = total(widths).saturating_sub(room);
    if let Some(first) = widths.first_mut() {
        *first = first.saturating_sub(excess).max(least.min(*first));
    }
}

/// Returns the width of columns with the gaps between them.
pub(crate) fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// Returns the place of the least important column; none if all have to stay.
fn last_to_drop(columns: &[(usize, u8)]) -> Option<usize> {
    let least = columns.iter().map(|(_, priority)| *priority).max().filter(|priority| *priority > 0)?;
    columns.iter().rposition(|(_, priority)| *priority == least)
}

fn line<'a>(cells: impl Iterator<Item = (&'a Column, Cell)>, widths: &[usize], view: &View) -> String {
    let mut out = String::new();
    // Blanks before the next text. They are not written at the end of a line.
    let (mut pad, mut left) = (0, view.width.unwrap_or(usize::MAX));
    for ((column, cell), width) in cells.zip(widths) {
        let width = (*width).min(left.saturating_sub(pad));
        let text = if cell.text.width() > width { fit(&cell.text, width) } else { cell.text };
        let rest = width.saturating_sub(text.width());
        if column.is_number {
            pad += rest;
        }
        if !text.is_empty() && width > 0 {
            out.push_str(&" ".repeat(pad));
            out.push_str(&view.paint.with(cell.style, &text).to_string());
            left = left.saturating_sub(pad + text.width());
            pad = 0;
        }
        if !column.is_number {
            pad += rest;
        }
        pad += GAP;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        vec![
            Column::text("NAME", 0, ["api", "a-very-long-name", "日本語"]),
            Column::text("STATE", 0, ["online", "stopped", ""]),
            Column::numbers("CPU", 1, ["1%", "100%", "–"]),
            Column::text("NOTE", 2, ["", "old", ""]),
            Column::text("EMPTY", 1, ["", "", ""]),
        ]
    }

    fn at(width: Option<usize>) -> String {
        grid(columns(), &View::played(0, width))
    }

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let text = "NAME              STATE     CPU  NOTE\n\
                    api               online     1%\n\
                    a-very-long-name  stopped  100%  old\n\
                    日本語                        –\n";
        assert_eq!(at(None), text);
    }

    #[test]
    fn narrow_terminals_lose_columns_then_letters() {
        assert!(at(Some(36)).starts_with("NAME              STATE     CPU\n"));
        assert!(at(Some(30)).starts_with("NAME              STATE\n"));
        assert_eq!(at(Some(20)).lines().nth(2), Some("a-very-lon…  stopped"));
        for width in 1..60 {
            assert!(at(Some(width)).lines().all(|line| line.width() <= width), "{width}\n{}", at(Some(width)));
        }
    }
}
