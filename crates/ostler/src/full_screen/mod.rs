//! The whole terminal as a screen: pictures of cells, the bytes that turn one into the next, what is typed, and the terminal itself, which is as it was on every way out.

pub(crate) mod cells;
pub(crate) mod input;
pub(crate) mod paint;
pub(crate) mod terminal;
