//! Writer of the cells of one row, from the left.

use unicode_width::UnicodeWidthStr as _;

use super::cells::{Picture, Rect, Tone};

/// Row of a table while it is drawn.
pub(crate) struct RowCells<'a> {
    picture: &'a mut Picture,
    line: Rect,
    /// Blanks between two cells.
    gap: usize,
    x: usize,
}

impl<'a> RowCells<'a> {
    /// Starts a row on the first line of this place.
    pub(crate) fn new(picture: &'a mut Picture, line: Rect, gap: usize) -> Self {
        Self { picture, line, gap, x: 0 }
    }

    /// Adds a cell. Numbers are aligned at the right.
    pub(crate) fn put(&mut self, text: &str, width: usize, tone: Tone, is_number: bool) {
        let indent = if is_number { width.saturating_sub(text.width()) } else { 0 };
        let room = self.line.width.saturating_sub(self.x + indent);
        self.picture.put(self.line.x + self.x + indent, self.line.y, width.saturating_sub(indent).min(room), text, tone);
        self.x += width + self.gap;
    }
}
