//! Picture of the screen: cells in rows and columns. All text from apps passes through
//! [`Picture::put`], which only lets visible characters of known width through.

use unicode_width::UnicodeWidthChar as _;

use crate::text::ascii;

/// Look of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Dim,
    Bold,
    /// Title of the pane with the keyboard focus.
    Title,
    Good,
    Busy,
    Warn,
    Bad,
    /// The selected row, and bars of text.
    Inverse,
}

/// One column of one row. [`Cell::REST`] follows a character that is two columns wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub ch: char,
    pub tone: Tone,
}

impl Cell {
    const BLANK: Self = Self { ch: ' ', tone: Tone::Plain };
    /// Second half of a wide character.
    pub(crate) const REST: char = '\0';
}

/// Part of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rect {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

impl Rect {
    pub(crate) fn has(&self, x: usize, y: usize) -> bool {
        (self.x..self.x + self.width).contains(&x) && (self.y..self.y + self.height).contains(&y)
    }

    /// Returns the part within a border.
    pub(crate) fn inner(&self) -> Self {
        Self { x: self.x + 1, y: self.y + 1, width: self.width.saturating_sub(2), height: self.height.saturating_sub(2) }
    }
}

/// All cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub width: usize,
    pub height: usize,
    /// Whether the terminal only supports ASCII.
    is_ascii: bool,
    cells: Vec<Cell>,
}

impl Picture {
    /// Creates a blank screen.
    pub(crate) fn blank(width: usize, height: usize, is_ascii: bool) -> Self {
        Self { width, height, is_ascii, cells: vec![Cell::BLANK; width * height] }
    }

    /// Returns one row; empty outside of the screen.
    pub(crate) fn row(&self, y: usize) -> &[Cell] {
        self.cells.get(y * self.width..(y + 1) * self.width).unwrap_or_default()
    }

    /// Puts text at a place, in at most this number of columns. Longer text is cut with `…`.
    /// Returns the columns used.
    pub(crate) fn put(&mut self, x: usize, y: usize, columns: usize, text: &str, tone: Tone) -> usize {
        let room = columns.min(self.width.saturating_sub(x));
        if y >= self.height || room == 0 {
            return 0;
        }
        let text = if self.is_ascii { ascii(text) } else { text.into() };
        let mut used = 0;
        let mut is_cut = false;
        for c in text.chars() {
            let (ch, wide) = visible(c);
            if wide == 0 {
                continue;
            }
            if used + wide > room {
                is_cut = true;
                break;
            }
            let ch = if self.is_ascii && !ch.is_ascii() { '?' } else { ch };
            self.set(x + used, y, ch, wide, tone);
            used += wide;
        }
        if is_cut {
            if used < room {
                self.set(x + used, y, ' ', 1, tone);
            }
            self.set(x + room - 1, y, if self.is_ascii { '~' } else { '…' }, 1, tone);
            used = room;
        }
        used
    }

    /// Sets one character. If it covers half of a wide character, the other half becomes blank.
    fn set(&mut self, x: usize, y: usize, ch: char, wide: usize, tone: Tone) {
        let start = y * self.width + x;
        let is_rest = |cell: Option<&Cell>| cell.is_some_and(|cell| cell.ch == Cell::REST);
        if is_rest(self.cells.get(start)) {
            self.cells[start - 1].ch = ' ';
        }
        if is_rest(self.cells.get(start + wide)) {
            self.cells[start + wide].ch = ' ';
        }
        for (offset, ch) in std::iter::once(ch).chain(std::iter::repeat_n(Cell::REST, wide - 1)).enumerate() {
            if let Some(cell) = self.cells.get_mut(start + offset) {
                *cell = Cell { ch, tone };
            }
        }
    }

    /// Fills a row of an area with blanks of a tone.
    pub(crate) fn fill(&mut self, x: usize, y: usize, columns: usize, tone: Tone) {
        for column in x..(x + columns).min(self.width) {
            if y < self.height {
                self.set(column, y, ' ', 1, tone);
            }
        }
    }

    /// Blanks an area and draws a border with a title around it.
    pub(crate) fn frame(&mut self, area: Rect, title: &str, tone: Tone) {
        for y in area.y..area.y + area.height {
            self.fill(area.x, y, area.width, Tone::Plain);
        }
        if area.width < 2 || area.height < 2 {
            return;
        }
        let (right, bottom) = (area.x + area.width - 1, area.y + area.height - 1);
        let bar = "─".repeat(area.width);
        for y in [area.y, bottom] {
            self.put(area.x, y, area.width, &bar, tone);
        }
        for y in area.y..bottom {
            self.put(area.x, y, 1, "│", tone);
            self.put(right, y, 1, "│", tone);
        }
        for (x, y, corner) in [(area.x, area.y, "┌"), (right, area.y, "┐"), (area.x, bottom, "└"), (right, bottom, "┘")] {
            self.put(x, y, 1, corner, tone);
        }
        if area.width > 4 && !title.is_empty() {
            self.put(area.x + 2, area.y, area.width - 4, &format!(" {title} "), tone);
        }
    }

    /// Returns the characters, for tests.
    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        let row = |y| self.row(y).iter().map(|cell| cell.ch).filter(|ch| *ch != Cell::REST).collect::<String>();
        (0..self.height).map(|y| row(y).trim_end().to_owned() + "\n").collect()
    }
}

/// Returns the character that is shown for this one, and its columns; 0 = nothing is shown.
/// Characters that move the cursor, change the writing direction, or join with others never reach
/// the terminal.
fn visible(c: char) -> (char, usize) {
    match c {
        '\t' => (' ', 1),
        '\u{2028}' | '\u{2029}' => (' ', 1),
        c => c.width().map_or(('\u{fffd}', 1), |width| (c, width.min(2))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(columns: usize, text: &str) -> (usize, String) {
        let mut picture = Picture::blank(8, 1, false);
        let used = picture.put(0, 0, columns, text, Tone::Plain);
        (used, picture.text().trim_end().to_owned())
    }

    #[test]
    fn text_is_truncated_and_control_characters_replaced() {
        for (columns, text, used, shown) in [
            (8, "plain", 5, "plain"),
            (8, "much too long", 8, "much to…"),
            (20, "wider than it", 8, "wider t…"),
            (5, "日本語", 5, "日本…"),
            (4, "日本語", 4, "日 …"),
            (8, "a\u{1b}[2Jb", 6, "a\u{fffd}[2Jb"),
            (8, "a\nb\rc\td", 7, "a\u{fffd}b\u{fffd}c d"),
            (8, "e\u{301}x\u{202e}y", 3, "exy"),
            (8, "\u{9b}1m\u{85}", 4, "\u{fffd}1m\u{fffd}"),
            (0, "x", 0, ""),
        ] {
            assert_eq!(put(columns, text), (used, shown.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn without_utf_8_cells_are_ascii_of_same_width() {
        let mut picture = Picture::blank(20, 3, true);
        picture.frame(Rect { x: 0, y: 0, width: 20, height: 3 }, "日本 é", Tone::Plain);
        picture.put(1, 1, 18, "\u{1b}日本語のとても長い", Tone::Plain);
        assert!(picture.text().is_ascii(), "{}", picture.text());
        assert_eq!(picture.text().lines().map(str::len).collect::<Vec<_>>(), [20, 20, 20]);
    }

    #[test]
    fn drawing_outside_the_picture_is_ignored() {
        let mut picture = Picture::blank(3, 2, false);
        picture.put(9, 0, 5, "x", Tone::Plain);
        picture.put(0, 9, 5, "x", Tone::Plain);
        picture.fill(2, 1, 99, Tone::Inverse);
        picture.frame(Rect { x: 1, y: 0, width: 9, height: 9 }, "title", Tone::Plain);
        assert_eq!(picture.text().lines().count(), 2);
    }
}
