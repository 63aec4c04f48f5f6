//! Rotated files that a follower has never had open: those between the log that it read last and the one at the path now. There are some where it looks late, or is read slowly.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::super::content::{compressed, opened};
use super::super::past::rotated;
use super::super::source::Source;
use super::{Open, modified_ms};

/// Most files that are read: each is a descriptor of ours until its turn comes.
const MOST_FILES: usize = 256;

/// Rotated file that is held open, so that it is there when its turn comes.
pub(super) struct Between {
    file: File,
    path: PathBuf,
    /// Time of its last line.
    modified_ms: u64,
}

impl Between {
    /// Its lines. What is compressed is decompressed now: one of them at a time.
    pub(super) fn open(self) -> io::Result<Open> {
        Ok(Open::of_content(opened(self.file, &self.path, 0)?, 0).since(self.modified_ms).over())
    }
}

/// The rotated files of this log whose last line was written after this time, but not after `newest` has begun, and which are not among `known`; the oldest first.
pub(super) fn between(source: &Source, since_ms: u64, known: &[Open], newest: &Open) -> Vec<Between> {
    let mut found = Vec::new();
    for path in rotated(&source.path) {
        let Some(between) = hold(source, path) else { continue };
        if between.modified_ms <= since_ms {
            break;
        }
        found.push(between);
    }
    // Looked at after them: what has a later line than this was rotated after it.
    let until_ms = newest.last_change_ms();
    let is_open = |key| known.iter().chain([newest]).any(|open| open.key() == key);
    let is_known = |file: &File| file.metadata().is_ok_and(|meta| is_open((meta.dev(), meta.ino())));
    found.retain(|between| between.modified_ms <= until_ms && !is_known(&between.file));
    found.truncate(MOST_FILES);
    found.reverse();
    found
}

/// Opens it under its name, or under the one that it has when it was compressed in this moment.
fn hold(source: &Source, path: PathBuf) -> Option<Between> {
    let open = |path: PathBuf| {
        let file = source.open_rotated(&path).ok()?;
        let modified_ms = modified_ms(&file.metadata().ok()?);
        Some(Between { file, path, modified_ms })
    };
    let compressed = compressed(&path);
    open(path).or_else(|| open(compressed))
}
