//! Notices of the store for the user.

use std::fmt;

/// Problem that the store reports. The store keeps working after each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A file was unusable and was renamed.
    SetAside {
        /// Its name.
        file: String,
        /// Its new name; none = it could not be renamed.
        aside: Option<String>,
        /// Description of the problem.
        why: &'static str,
    },
    /// A part of a block is damaged and was left out.
    Damaged {
        /// The file.
        file: String,
    },
    /// The disk is not writable; new values wait in memory.
    CannotWrite {
        /// The failed operation and the system's error.
        why: String,
    },
    /// The disk is writable again.
    WritesAgain,
    /// Values that waited too long were dropped.
    Dropped {
        /// Number of points.
        points: u64,
    },
    /// There are too many series; further ones are left out.
    TooMany,
    /// The clock was set back.
    ClockBack {
        /// By how many seconds.
        seconds: u64,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAside { file, aside: Some(aside), why } => write!(f, "history: {file} {why}; it is kept as {aside}"),
            Self::SetAside { file, aside: None, why } => write!(f, "history: {file} {why}, and cannot be renamed; it is ignored"),
            Self::Damaged { file } => write!(f, "history: a part of {file} is damaged and is skipped"),
            Self::CannotWrite { why } => write!(f, "history: {why}; new values are buffered in memory"),
            Self::WritesAgain => write!(f, "history: writing works again"),
            Self::Dropped { points } => write!(f, "history: {points} values could not be written in time and are lost"),
            Self::TooMany => write!(f, "history: too many metric names; further names are ignored"),
            Self::ClockBack { seconds } => write!(f, "history: the clock was set back by {seconds} s"),
        }
    }
}
