//! Marks of results and states. Each has its own glyph, so a state never depends on colour alone.

use anstyle::Style;

use crate::render::style::styles;

/// Mark of a result or a state, the most serious last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    /// A command has done this, or a check has passed.
    Done,
    /// A fact that needs no action.
    Note,
    /// The app runs.
    Online,
    /// No process is wanted.
    Stopped,
    /// The app starts, or it finishes its requests before it stops.
    Starting,
    /// The app waits for its restart.
    Restarting,
    /// The app runs, but something is wrong.
    Warning,
    /// The app or the command failed.
    Error,
}

impl Mark {
    /// Returns the glyph, one column wide.
    pub(crate) const fn glyph(self) -> char {
        match self {
            Self::Done => '✓',
            Self::Note => '·',
            Self::Online => '●',
            Self::Stopped => '○',
            Self::Starting => '◐',
            Self::Restarting => '↻',
            Self::Warning => '!',
            Self::Error => '✗',
        }
    }

    /// Returns the colour of the state.
    pub(crate) const fn style(self) -> Style {
        match self {
            Self::Done | Self::Online => styles::GREEN,
            Self::Stopped | Self::Note => styles::DIM,
            Self::Starting | Self::Restarting | Self::Warning => styles::YELLOW,
            Self::Error => styles::RED,
        }
    }
}
