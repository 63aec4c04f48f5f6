//! Colours, or none.

use std::fmt;

use anstyle::{AnsiColor, Style};

/// Paints text if colours are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint(pub(crate) bool);

/// Styles of the output.
pub(crate) mod styles {
    use super::{AnsiColor, Style};

    const fn bold(color: AnsiColor) -> Style {
        Style::new().bold().fg_color(Some(anstyle::Color::Ansi(color)))
    }
    const fn plain(color: AnsiColor) -> Style {
        Style::new().fg_color(Some(anstyle::Color::Ansi(color)))
    }
    pub(crate) const HEADER: Style = bold(AnsiColor::Cyan);
    pub(crate) const BORDER: Style = plain(AnsiColor::BrightBlack);
    pub(crate) const FORK: Style = Style::new().invert().bold();
    pub(crate) const PLAIN: Style = Style::new();
    pub(crate) const DIM: Style = Style::new().dimmed();
    pub(crate) const BOLD: Style = Style::new().bold();
    pub(crate) const BOLD_GREEN: Style = bold(AnsiColor::Green);
    pub(crate) const BOLD_BLUE: Style = bold(AnsiColor::Blue);
    pub(crate) const BOLD_RED: Style = bold(AnsiColor::Red);
    pub(crate) const GREEN: Style = plain(AnsiColor::Green);
    pub(crate) const BLUE: Style = plain(AnsiColor::Blue);
    pub(crate) const YELLOW: Style = plain(AnsiColor::Yellow);
    pub(crate) const RED: Style = plain(AnsiColor::Red);
    pub(crate) const GREY: Style = plain(AnsiColor::BrightBlack);
    pub(crate) const INVERSE: Style = Style::new().invert();
}

impl Paint {
    /// Returns the text in this style.
    pub(crate) fn with<T: fmt::Display>(self, style: Style, text: T) -> Painted<T> {
        Painted { style: self.0.then_some(style), text }
    }
}

/// Text with or without colour.
pub(crate) struct Painted<T> {
    style: Option<Style>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.style {
            Some(style) => write!(f, "{style}{}{style:#}", self.text),
            None => self.text.fmt(f),
        }
    }
}
