//! Errors of a search in logs.

use ostler_core::message;

/// Reason why logs cannot be searched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SearchError {
    /// Pattern that is too long; the largest length in bytes.
    #[error("{}", message!("it has more than {most} bytes", most = _0))]
    TooLong(usize),
    /// Text of several lines.
    #[error("{}", message!("it contains a line break, but lines are searched one by one"))]
    SeveralLines,
    /// Expression that needs too much memory.
    #[error("{}", message!("it is too large"))]
    TooLarge,
    /// Text that is no regular expression; in the words of the parser.
    #[error("{0}")]
    Syntax(String),
    /// Program without regular expressions.
    #[cfg(not(feature = "search"))]
    #[error("{}", message!("this program was built without the feature `search`"))]
    LeftOut,
    /// Place in a file that was removed.
    #[error("{}", message!("the file of this cursor no longer exists: search again from the end"))]
    NoFile,
}
