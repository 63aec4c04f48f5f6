//! Decision about a renamed log. No file is touched here.

/// Entry at the path of a log while its writers write to another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathEntry {
    /// Nothing.
    Missing,
    /// The very file that is written to: it was not renamed.
    SameFile,
    /// A file without content, as `create` of logrotate makes one.
    Empty,
    /// A file with content.
    Content,
    /// A folder, a pipe or a device.
    NoFile,
}

/// Findings about one log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogFindings {
    /// Whether the written file still has a name.
    pub has_name: bool,
    /// Whether a process still writes to the file.
    pub is_written: bool,
    /// Entry at the path.
    pub entry: PathEntry,
    /// Whether a process writes to the entry at the path.
    pub is_entry_written: bool,
}

/// Decision about one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReclaimDecision {
    /// New lines arrive at the path already, or the file has no writers.
    Leave,
    /// The file returns to its path.
    Reclaim,
    /// The file was deleted. A new file is at its path, and new lines are carried there.
    CarryOver,
    /// The file cannot return.
    Impossible(ReclaimObstacle),
}

/// Reason why a file cannot return to its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReclaimObstacle {
    /// The file was deleted or compressed, or moved to another file system, which deletes it as
    /// well.
    #[error("its file was deleted (or compressed, or moved to another file system)")]
    Deleted,
    /// Both files have writers, but there is only one path.
    #[error("another process writes to the new file already; its app keeps the old file until its restart")]
    TwoWriters,
    /// Lines of another program would be lost.
    #[error("a file with other content exists there; its app keeps the old file until its restart")]
    Content,
    /// The path names something that cannot be replaced.
    #[error("the path is not a regular file; its app keeps the old file until its restart")]
    NoFile,
}

/// Returns the decision about one log.
pub(crate) fn decide(seen: LogFindings) -> ReclaimDecision {
    use ReclaimDecision::{CarryOver, Impossible, Leave, Reclaim};
    match seen {
        LogFindings { is_written: false, .. } | LogFindings { entry: PathEntry::SameFile, .. } => Leave,
        LogFindings { has_name: false, entry: PathEntry::NoFile, .. } => Impossible(ReclaimObstacle::NoFile),
        LogFindings { has_name: false, .. } => CarryOver,
        LogFindings { is_entry_written: true, .. } => Impossible(ReclaimObstacle::TwoWriters),
        LogFindings { entry: PathEntry::Missing | PathEntry::Empty, .. } => Reclaim,
        LogFindings { entry: PathEntry::Content, .. } => Impossible(ReclaimObstacle::Content),
        LogFindings { entry: PathEntry::NoFile, .. } => Impossible(ReclaimObstacle::NoFile),
    }
}

/// Longest incomplete line that is kept together; a longer one is cut.
pub(crate) const LONGEST_LINE: usize = 1 << 20;

/// Returns the position at which to cut a file of this length, from its last bytes (at most
/// [`LONGEST_LINE`]): behind the last whole line.
pub(crate) fn cut(end: u64, last: &[u8]) -> u64 {
    match memchr::memrchr(b'\n', last) {
        Some(at) => end - (last.len() - at - 1) as u64,
        None if last.len() as u64 == end && last.len() < LONGEST_LINE => 0,
        None => end,
    }
}

/// Remaining work of a reclaim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RemainingWork {
    /// The file must lose the copied bytes.
    Shorten,
    /// The copy must still get its name.
    Name,
    /// Everything has its name.
    Nothing,
}

/// Returns the remaining work after the decision to cut. `copy_length` is the length of the copy
/// under its temporary name, or `None` if it has its final name. The writers are stopped during
/// this call.
pub(crate) fn rest(end: u64, copy_length: Option<u64>) -> RemainingWork {
    match copy_length {
        None => RemainingWork::Nothing,
        // The copy has the open line until the file has been truncated. Without an open line,
        // truncating again does no harm.
        Some(length) if length >= end => RemainingWork::Shorten,
        Some(_) => RemainingWork::Name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_depends_on_the_log_and_its_path() {
        use PathEntry::{Content, Empty, Missing, NoFile, SameFile};
        let seen = |has_name, is_written, there, is_there_written| LogFindings {
            has_name,
            is_written,
            entry: there,
            is_entry_written: is_there_written,
        };
        let cases = [
            (seen(true, true, Missing, false), ReclaimDecision::Reclaim),
            (seen(true, true, Empty, false), ReclaimDecision::Reclaim),
            (seen(true, true, Empty, true), ReclaimDecision::Impossible(ReclaimObstacle::TwoWriters)),
            (seen(true, true, Content, false), ReclaimDecision::Impossible(ReclaimObstacle::Content)),
            (seen(true, true, Content, true), ReclaimDecision::Impossible(ReclaimObstacle::TwoWriters)),
            (seen(true, true, NoFile, false), ReclaimDecision::Impossible(ReclaimObstacle::NoFile)),
            (seen(true, true, SameFile, true), ReclaimDecision::Leave),
            (seen(true, false, Content, true), ReclaimDecision::Leave),
            (seen(false, false, Missing, false), ReclaimDecision::Leave),
            (seen(false, true, Missing, false), ReclaimDecision::CarryOver),
            (seen(false, true, Content, true), ReclaimDecision::CarryOver),
            (seen(false, true, NoFile, false), ReclaimDecision::Impossible(ReclaimObstacle::NoFile)),
        ];
        for (seen, expected) in cases {
            assert_eq!(decide(seen), expected, "{seen:?}");
        }
    }

    #[test]
    fn cut_is_after_the_last_whole_line() {
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
    fn recovery_step_depends_on_the_copy_length() {
        assert_eq!(rest(12, Some(12)), RemainingWork::Shorten);
        assert_eq!(rest(12, Some(10)), RemainingWork::Name, "the copy has lost the open line: the file has it");
        assert_eq!(rest(12, None), RemainingWork::Nothing);
    }
}
