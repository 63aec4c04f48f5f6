//! What a person should know about the store.

use std::fmt;

/// Something that went otherwise than it should. None of it ends anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A file could not be used as it was.
    SetAside {
        /// Its name.
        file: String,
        /// Its name now; none = it could not be renamed.
        aside: Option<String>,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A part of a block is damaged; it is left out.
    Damaged {
        /// The file.
        file: String,
    },
    /// Nothing can be written; new figures wait in memory.
    CannotWrite {
        /// What was tried, and what the system says.
        why: String,
    },
    /// It can be written again.
    WritesAgain,
    /// Figures that waited too long were dropped.
    Dropped {
        /// How many points.
        points: u64,
    },
    /// There are more series than are kept; the rest is left out.
    TooMany,
    /// The clock was set back by so many seconds.
    ClockBack {
        /// How far.
        seconds: u64,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAside { file, aside: Some(aside), why } => write!(f, "history: {file} {why}; it is kept as {aside}"),
            Self::SetAside { file, aside: None, why } => write!(f, "history: {file} {why}, and cannot be renamed; it is left out"),
            Self::Damaged { file } => write!(f, "history: a part of {file} is damaged, and left out"),
            Self::CannotWrite { why } => write!(f, "history: {why}; new figures wait in memory"),
            Self::WritesAgain => write!(f, "history: it can be written again"),
            Self::Dropped { points } => write!(f, "history: {points} figures waited too long to be written, and are lost"),
            Self::TooMany => write!(f, "history: there are more names of figures than are kept; the rest is left out"),
            Self::ClockBack { seconds } => write!(f, "history: the clock was set back by {seconds} s"),
        }
    }
}
