//! The whole terminal as a screen: pictures of cells, the bytes that turn one picture into the
//! next, typed input, and the terminal itself. The terminal is restored on every way out.

pub(crate) mod cells;
pub(crate) mod input;
pub(crate) mod key_lines;
pub(crate) mod paint;
pub(crate) mod row_cells;
pub(crate) mod screen;
pub(crate) mod terminal;
