//! Rotated files that a follower never had open: those between the log that it read last and the
//! log at the path now. They exist if the follower checks late or its output is read slowly.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::super::content::{compressed, opened};
use super::super::past::rotated;
use super::super::source::Source;
use super::{OpenLog, modified_ms};

/// Most files that are read: each needs a descriptor until it is read.
const MOST_FILES: usize = 256;

/// Rotated file that is kept open, so that it still exists when it is read.
pub(super) struct RotatedFile {
    file: File,
    path: PathBuf,
    /// Time of its last line.
    modified_ms: u64,
}

impl RotatedFile {
    /// Returns its lines. A compressed file is decompressed now, one at a time.
    pub(super) fn open(self) -> io::Result<OpenLog> {
        Ok(OpenLog::of_content(opened(self.file, &self.path, 0)?, 0).since(self.modified_ms).over())
    }
}

/// Returns the rotated files of this log, the oldest first. Their last line was written after this
/// time but not after `newest` began, and they are not among `known`.
pub(super) fn between(source: &Source, since_ms: u64, known: &[OpenLog], newest: &OpenLog) -> Vec<RotatedFile> {
    let mut found = Vec::new();
    for path in rotated(&source.path) {
        let Some(between) = hold(source, path) else { continue };
        if between.modified_ms <= since_ms {
            break;
        }
        found.push(between);
    }
    // The time is read after the files: a file with a later line than this was rotated after the
    // check.
    let until_ms = newest.last_change_ms();
    let is_open = |key| known.iter().chain([newest]).any(|open| open.key() == key);
    let is_known = |file: &File| file.metadata().is_ok_and(|meta| is_open((meta.dev(), meta.ino())));
    found.retain(|between| between.modified_ms <= until_ms && !is_known(&between.file));
    found.truncate(MOST_FILES);
    found.reverse();
    found
}

/// Opens the file under its name, or under its compressed name if it is being compressed at this
/// moment.
fn hold(source: &Source, path: PathBuf) -> Option<RotatedFile> {
    let open = |path: PathBuf| {
        let file = source.open_rotated(&path).ok()?;
        let modified_ms = modified_ms(&file.metadata().ok()?);
        Some(RotatedFile { file, path, modified_ms })
    };
    let compressed = compressed(&path);
    open(path).or_else(|| open(compressed))
}
