//! Decision about a renamed log, from what was found. No file is touched here.

/// What the path of a log names while its writers write to another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum There {
    /// Nothing.
    Nothing,
    /// The very file that is written to: nobody renamed it.
    Itself,
    /// A file without content, as `create` of logrotate makes one.
    Empty,
    /// A file with content.
    Content,
    /// A folder, a pipe, a device.
    NoFile,
}

/// What was found about one log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// The file that is written to still has a name.
    pub has_name: bool,
    /// Some process still writes to it.
    pub is_written: bool,
    /// What is at the path.
    pub there: There,
    /// Some process writes to what is at the path.
    pub is_there_written: bool,
}

/// Decision about one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// New lines arrive at the path already, or nobody writes any.
    Leave,
    /// The file goes back to its path.
    Reclaim,
    /// It has no name that could go back. There is a new file at its path, and what it gets is carried there.
    CarryOver,
    /// It cannot.
    Impossible(Why),
}

/// Reason why a file cannot go back to its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Why {
    /// Deleted, compressed, or moved to another file system, which is the same.
    #[error("its file was deleted (or compressed, or moved to another file system)")]
    Deleted,
    /// Two files, two writers: one path.
    #[error("another process writes to the new file already; its app keeps the old file until its restart")]
    TwoWriters,
    /// Somebody's lines would be lost.
    #[error("a file with other content exists there; its app keeps the old file until its restart")]
    Content,
    /// Nothing that could be replaced.
    #[error("the path is not a regular file; its app keeps the old file until its restart")]
    NoFile,
}

/// Decides.
pub(crate) fn decide(seen: Seen) -> Verdict {
    use Verdict::{CarryOver, Impossible, Leave, Reclaim};
    match seen {
        Seen { is_written: false, .. } | Seen { there: There::Itself, .. } => Leave,
        Seen { has_name: false, there: There::NoFile, .. } => Impossible(Why::NoFile),
        Seen { has_name: false, .. } => CarryOver,
        Seen { is_there_written: true, .. } => Impossible(Why::TwoWriters),
        Seen { there: There::Nothing | There::Empty, .. } => Reclaim,
        Seen { there: There::Content, .. } => Impossible(Why::Content),
        Seen { there: There::NoFile, .. } => Impossible(Why::NoFile),
    }
}

/// Longest end of a line that is kept together; what is longer is cut.
pub(crate) const LONGEST_LINE: usize = 1 << 20;

/// Position where to cut a file of this length whose last bytes (at most [`LONGEST_LINE`] of them) are these: behind the last whole line.
pub(crate) fn cut(end: u64, last: &[u8]) -> u64 {
    match memchr::memrchr(b'\n', last) {
        Some(at) => end - (last.len() - at - 1) as u64,
        None if last.len() as u64 == end && last.len() < LONGEST_LINE => 0,
        None => end,
    }
}

/// What is left to do of a reclaim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// The file has to lose what the copy has.
    Shorten,
    /// Only the copy has to get its name.
    Name,
    /// Everything has its name.
    Nothing,
}

/// What is left to do after the point where all is decided. `copy_length`: of the copy under its temporary name, none = it has its own
/// already. While this is asked the writers stand still.
pub(crate) fn rest(end: u64, copy_length: Option<u64>) -> Rest {
    match copy_length {
        None => Rest::Nothing,
        // The copy has the open line until the file has been shortened. Without an open line shortening again does no harm.
        Some(length) if length >= end => Rest::Shorten,
        Some(_) => Rest::Name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_of_a_log() {
        use There::{Content, Empty, Itself, NoFile, Nothing};
        let seen = |has_name, is_written, there, is_there_written| Seen { has_name, is_written, there, is_there_written };
        let cases = [
            (seen(true, true, Nothing, false), Verdict::Reclaim),
            (seen(true, true, Empty, false), Verdict::Reclaim),
            (seen(true, true, Empty, true), Verdict::Impossible(Why::TwoWriters)),
            (seen(true, true, Content, false), Verdict::Impossible(Why::Content)),
            (seen(true, true, Content, true), Verdict::Impossible(Why::TwoWriters)),
            (seen(true, true, NoFile, false), Verdict::Impossible(Why::NoFile)),
            (seen(true, true, Itself, true), Verdict::Leave),
            (seen(true, false, Content, true), Verdict::Leave),
            (seen(false, false, Nothing, false), Verdict::Leave),
            (seen(false, true, Nothing, false), Verdict::CarryOver),
            (seen(false, true, Content, true), Verdict::CarryOver),
            (seen(false, true, NoFile, false), Verdict::Impossible(Why::NoFile)),
        ];
        for (seen, expected) in cases {
            assert_eq!(decide(seen), expected, "{seen:?}");
        }
    }

    #[test]
    fn the_cut_is_behind_the_last_whole_line() {
        let long = vec![b'x'; LONGEST_LINE];
        let cases: [(u64, &[u8], u64); 7] = [
            (0, b"", 0),
            (3, b"ab\n", 3),
            (5, b"ab\ncd", 3),
            (4, b"abcd", 0),
            (1000, b"a\n\nb", 999),
            (9 + LONGEST_LINE as u64, &long, 9 + LONGEST_LINE as u64),
            (LONGEST_LINE as u64, &long, LONGEST_LINE as u64),
        ];
        for (end, last, expected) in cases {
            assert_eq!(cut(end, last), expected, "{end} {}", last.len());
        }
    }

    #[test]
    fn what_a_killed_daemon_left() {
        assert_eq!(rest(12, Some(12)), Rest::Shorten);
        assert_eq!(rest(12, Some(10)), Rest::Name, "the copy has lost the open line: the file has it");
        assert_eq!(rest(12, None), Rest::Nothing);
    }
}
