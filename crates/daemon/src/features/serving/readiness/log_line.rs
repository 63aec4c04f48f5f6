//! Readiness by a line of an app's output. Its log files are read from the position at this start,
//! whenever the kernel reports that they changed.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use ostler_core::serving::{LogPattern, PatternError};
use ostler_sys::fs::inotify::{Inotify, WatchFlags};

use super::FdKind;
use crate::platform::reactor::Reactor;
use crate::platform::rights::Rights;

/// Bytes read per file and turn of the event loop. An app that floods its log delays only its own
/// readiness.
const PER_TURN: usize = 256 << 10;
/// Longest line. Of a longer line only the end is searched.
const LINE_MAX: usize = 64 << 10;

/// Apps that wait for a line.
#[derive(Debug, Default)]
pub(super) struct LogLines {
    /// Watch, which exists only while an app waits.
    inotify: Option<Inotify>,
    waiting: BTreeMap<u32, LineWait>,
}

#[derive(Debug)]
struct LineWait {
    pattern: LogPattern,
    rights: Rights,
    files: Vec<FollowedFile>,
}

/// Log file and the size that was read.
#[derive(Debug)]
struct FollowedFile {
    path: PathBuf,
    offset: u64,
    /// Start of a line that is not complete yet.
    partial: Vec<u8>,
    watched: bool,
}

/// Result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineSearch {
    /// The line was found.
    Found,
    /// The line is not there. The kernel reports when to read again.
    Later,
    /// Some bytes are unread, or the kernel cannot report: read again soon.
    Soon,
}

impl LogLines {
    /// Starts to wait for a line in these files, from these sizes.
    pub(super) fn begin(
        &mut self,
        id: u32,
        pattern: &str,
        rights: Rights,
        files: Vec<(PathBuf, u64)>,
        reactor: &Reactor,
    ) -> Result<(), PatternError> {
        let pattern = LogPattern::new(pattern)?;
        if self.inotify.is_none() {
            let made = Inotify::new().ok();
            self.inotify = made.filter(|inotify| reactor.add(inotify, FdKind::LogLines.source(0)).is_ok());
        }
        let follow = |(path, offset)| FollowedFile { path, offset, partial: Vec::new(), watched: false };
        self.waiting.insert(id, LineWait { pattern, rights, files: files.into_iter().map(follow).collect() });
        Ok(())
    }

    /// Stops the wait. After the last one the kernel reports nothing any more.
    pub(super) fn end(&mut self, id: u32) {
        if self.waiting.remove(&id).is_some() && self.waiting.is_empty() {
            self.inotify = None;
        }
    }

    /// Handles a change by reading all files. Few apps start at the same time.
    pub(super) fn changed(&mut self) -> Vec<u32> {
        if let Some(inotify) = &self.inotify {
            inotify.clear();
        }
        self.waiting.keys().copied().collect()
    }

    /// Reads the new part of the files.
    pub(super) fn read_new(&mut self, id: u32) -> LineSearch {
        let Some(waiting) = self.waiting.get_mut(&id) else { return LineSearch::Later };
        let mut result = LineSearch::Later;
        for file in &mut waiting.files {
            if !file.watched
                && let Some(inotify) = &self.inotify
            {
                // A missing file is tried again later.
                file.watched = inotify.watch(&file.path, WatchFlags::MODIFY).is_ok();
            }
            match file.read_on(&waiting.pattern, &waiting.rights) {
                LineSearch::Found => return LineSearch::Found,
                LineSearch::Soon => result = LineSearch::Soon,
                LineSearch::Later if !file.watched => result = LineSearch::Soon,
                LineSearch::Later => {}
            }
        }
        result
    }
}

impl FollowedFile {
    fn read_on(&mut self, pattern: &LogPattern, rights: &Rights) -> LineSearch {
        // Only a regular file can be read a second time.
        let Ok(file) = rights.read(&self.path) else { return LineSearch::Later };
        let Ok(size) = file.metadata().map(|meta| meta.len()) else { return LineSearch::Later };
        if size < self.offset {
            // The file was emptied, so all of it is new.
            self.offset = 0;
            self.partial.clear();
        }
        let mut buffer = [0; 16 << 10];
        let mut left = PER_TURN;
        while left > 0 {
            let count = match file.read_at(&mut buffer, self.offset) {
                Ok(0) => return LineSearch::Later,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return LineSearch::Later,
            };
            self.offset += count as u64;
            left = left.saturating_sub(count);
            if self.matches(buffer.get(..count).unwrap_or_default(), pattern) {
                return LineSearch::Found;
            }
        }
        LineSearch::Soon
    }

    /// Returns true if the line is in these bytes.
    fn matches(&mut self, bytes: &[u8], pattern: &LogPattern) -> bool {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            self.partial.extend_from_slice(line);
            let found = pattern.is_in(&self.partial);
            self.partial.clear();
            if found {
                return true;
            }
            rest = after.get(1..).unwrap_or_default();
        }
        self.partial.extend_from_slice(rest);
        let surplus = self.partial.len().saturating_sub(LINE_MAX);
        self.partial.drain(..surplus);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ostler-line-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path
    }

    fn append(path: &PathBuf, text: &str) {
        std::fs::File::options().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn only_a_whole_line_of_this_start_matches() {
        let reactor = Reactor::new().unwrap();
        let path = file("whole", "listening on 1\n");
        let mut lines = LogLines::default();
        lines.begin(7, "^listening on \\d+$", Rights::default(), vec![(path.clone(), 15), ("/no/such/file".into(), 0)], &reactor).unwrap();
        // One of the files does not exist, and the kernel cannot report its creation.
        assert_eq!(lines.read_new(7), LineSearch::Soon);
        append(&path, "listening ");
        assert_eq!(lines.changed(), [7]);
        assert_eq!(lines.read_new(7), LineSearch::Soon);
        append(&path, "on 22\nmore");
        assert_eq!(lines.read_new(7), LineSearch::Found);
        lines.end(7);
        assert!(lines.inotify.is_none() && lines.changed().is_empty());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn matching_handles_floods_and_truncated_files() {
        let reactor = Reactor::new().unwrap();
        let path = file("flood", "");
        let mut lines = LogLines::default();
        lines.begin(1, "ready$", Rights::default(), vec![(path.clone(), 0)], &reactor).unwrap();
        append(&path, &"x".repeat(PER_TURN + 10));
        assert_eq!(lines.read_new(1), LineSearch::Soon);
        assert_eq!(lines.read_new(1), LineSearch::Later);
        assert!(lines.waiting[&1].files[0].partial.len() <= LINE_MAX);
        append(&path, " ready\n");
        assert_eq!(lines.read_new(1), LineSearch::Found);
        std::fs::write(&path, "ready\n").unwrap();
        assert_eq!(lines.read_new(1), LineSearch::Found);
        assert!(lines.begin(2, "(", Rights::default(), Vec::new(), &reactor).is_err());
        std::fs::remove_file(path).unwrap();
    }
}
