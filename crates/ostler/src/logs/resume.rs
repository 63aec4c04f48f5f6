//! Continuation at the positions of an earlier follower: files may have been rotated, renamed or
//! replaced since.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ostler_core::logs::rotate::name::may_be_rotated;
use ostler_proto::pm2::LogPlace;

use super::content::{self, hidden_length};
use super::follow::{Follower, OpenLog, key_of, modified_ms};
use super::past::rotated;
use super::source::Source;

/// Most names of a folder that are checked for a file that was renamed.
const MOST_NAMES: usize = 10_000;
/// Attempts to find a file that has none of its expected names.
const ATTEMPTS: u32 = 3;

/// Returns a follower that continues at these positions of one log, the oldest first. The files of
/// the positions are found by device and inode. Files that were rotated since are read in between.
/// A file at the path that has no position comes last, from its beginning.
pub(super) fn resume(source: Source, places: &[&LogPlace]) -> Follower {
    // Rotation renames a file away and back, so during a check the file may have neither name.
    let resumed = (0..ATTEMPTS).map(|_| find_files(&source, places)).find(|resumed| resumed.is_complete);
    let Resumed { open, returning, .. } = resumed.unwrap_or_else(|| find_files(&source, places));
    Follower::resumed(source, open, returning)
}

/// Result of one attempt.
struct Resumed {
    /// Files to continue with, the oldest first.
    open: Vec<OpenLog>,
    /// Name that the old lines of the last file will get in a moment.
    returning: Option<PathBuf>,
    /// Whether all files were found.
    is_complete: bool,
}

fn find_files(source: &Source, places: &[&LogPlace]) -> Resumed {
    let to_come = name_to_come(&source.path);
    let at = |path: &Path| source.open(path).and_then(|file| OpenLog::at(file, 0)).ok();
    let place_of = |key: (u64, u64)| places.iter().find(|place| (place.dev, place.ino) == key).copied();
    // For a moment during a rotation, the log itself has the name that its lines will get.
    let current = at(&source.path).or_else(|| to_come.as_deref().and_then(at).filter(|open| place_of(open.key()).is_some()));
    let here = current.as_ref().and_then(|open| place_of(open.key()));
    // Lines of the log that were moved to rotated files and perhaps read since. They are handled in
    // order below.
    let chain = here.map(|here| rotated_since(&source.path, here.since_ms, &|key| key != (here.dev, here.ino)));
    let is_in_chain = |place: &LogPlace| chain.iter().flatten().any(|path| key_of(path) == Some((place.dev, place.ino)));
    let is_elsewhere = |place: &LogPlace| here.is_none_or(|here| !std::ptr::eq(here, place)) && !is_in_chain(place);
    let elsewhere: Vec<&LogPlace> = places.iter().filter(|place| is_elsewhere(place)).copied().collect();
    let mut open = Vec::new();
    let names = if elsewhere.is_empty() { Vec::new() } else { names(&source.path) };
    let mut lost = None;
    for place in elsewhere {
        let renamed = names.iter().find(|(_, key)| *key == (place.dev, place.ino)).and_then(|(path, _)| content(source, path, place.end));
        match renamed.filter(|open| open.key() == (place.dev, place.ino)) {
            Some(renamed) => open.push(renamed.since(place.since_ms)),
            None => lost = Some(place),
        }
    }
    // A log whose lines were moved to a rotated file keeps its inode; a log that was compressed
    // since has another inode.
    let moved = here.or(lost);
    let since_ms = moved.map_or_else(|| places.iter().map(|place| place.since_ms).max().unwrap_or(0), |place| place.since_ms);
    let mut left = moved.map_or(0, |place| place.end);
    let mut last_ms = None;
    let chain = chain.unwrap_or_else(|| rotated_since(&source.path, since_ms, &|key| place_of(key).is_none()));
    for path in chain {
        let read = key_of(&path).and_then(place_of).map_or(left, |place| place.end);
        let Some(copy) = content(source, &path, read) else { continue };
        last_ms = Some(copy.modified_ms());
        let length = copy.len();
        if length > read {
            open.push(copy.over());
        }
        left = left.saturating_sub(length);
    }
    let mut returning = None;
    if let Some(current) = current {
        let since_ms = last_ms.or_else(|| here.map(|place| place.since_ms));
        let begun = if here.is_some() { left } else { 0 };
        // The log was shortened. No writer may add to it before its copy has its name.
        returning = to_come.filter(|rotated| hidden_length(rotated) > current.len());
        let current = current.from(begun);
        open.push(since_ms.into_iter().fold(current, OpenLog::since));
    }
    Resumed { open, returning, is_complete: lost.is_none() }
}

/// Returns the name that the hidden copy of a log will get, if the log is being rotated.
fn name_to_come(log: &Path) -> Option<PathBuf> {
    let (folder, name) = (log.parent()?, log.file_name()?.to_str()?);
    let names = std::fs::read_dir(folder).ok()?.flatten().take(MOST_NAMES).filter_map(|entry| entry.file_name().into_string().ok());
    let rotated = |hidden: String| Some(hidden.strip_prefix('.')?.strip_suffix(".ostler")?.to_owned());
    names.filter_map(rotated).find(|rotated| rotated.starts_with(name) || may_be_rotated(name, rotated)).map(|rotated| folder.join(rotated))
}

/// Returns the files in the folder of a log.
fn names(log: &Path) -> Vec<(PathBuf, (u64, u64))> {
    let entries = log.parent().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten().take(MOST_NAMES);
    let files = entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok().filter(Metadata::is_file)?)));
    files.map(|(path, meta)| (path, (meta.dev(), meta.ino()))).collect()
}

/// Returns the rotated files of a log that `is_meant` accepts and whose last line was written after
/// this time, the oldest first.
fn rotated_since(log: &Path, since_ms: u64, is_meant: &dyn Fn((u64, u64)) -> bool) -> Vec<PathBuf> {
    let is_new = |path: &PathBuf| {
        let Ok(meta) = std::fs::symlink_metadata(path) else { return false };
        is_meant((meta.dev(), meta.ino())) && modified_ms(&meta) > since_ms
    };
    rotated(log).into_iter().filter(is_new).rev().collect()
}

/// Returns a file from this position on, decompressed if it is compressed.
fn content(source: &Source, path: &Path, position: u64) -> Option<OpenLog> {
    content::content(source, path, position).map(|content| OpenLog::of_content(content, position))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::File;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::source::LogKind;
    use super::super::watch::Watch;
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("ostler-resume-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, text).unwrap();
            path
        }

        fn place(&self, of: &Path, end: u64, since_ms: u64) -> LogPlace {
            let (dev, ino) = key_of(of).unwrap();
            LogPlace { path: self.0.join("x.log").display().to_string(), dev, ino, end, since_ms }
        }

        fn source(&self) -> Source {
            Source {
                path: self.0.join("x.log"),
                kind: LogKind::Out,
                id: 0,
                name: "x".into(),
                namespace: "default".into(),
                revision: None,
                rights: None,
            }
        }

        /// Returns the lines that are read from these positions on.
        fn read(&self, places: &[LogPlace]) -> Vec<String> {
            let mut follower = resume(self.source(), &places.iter().collect::<Vec<_>>());
            let (mut watch, mut seen) = (Watch::new(), Vec::new());
            let mut each = |_: &Source, line: &super::super::follow::Line<'_>| {
                seen.push(String::from_utf8_lossy(line.text).into_owned());
                true
            };
            follower.advance(true, &mut watch, &mut each).unwrap();
            seen
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    const FUTURE: u64 = u64::MAX;

    #[test]
    fn unchanged_log_resumes_at_its_offset() {
        let folder = Folder::new("same");
        let log = folder.write("x.log", "a\nb\nc\n");
        folder.write("x__2020-01-01_00-00-00.log", "of before\n");
        assert_eq!(folder.read(&[folder.place(&log, 2, FUTURE)]), ["b", "c"]);
    }

    #[test]
    fn renamed_log_is_read_to_its_end() {
        let folder = Folder::new("renamed");
        let log = folder.write("x.log", "a\nb\n");
        let place = folder.place(&log, 2, FUTURE);
        std::fs::rename(&log, folder.0.join("kept.1")).unwrap();
        assert_eq!(folder.read(std::slice::from_ref(&place)), ["b"]);
        folder.write("x.log", "c\n");
        assert_eq!(folder.read(&[place]), ["b", "c"]);
    }

    #[test]
    fn moved_lines_are_read_from_rotated_files() {
        let folder = Folder::new("rotated");
        let log = folder.write("x.log", "next\n");
        folder.write("x__2020-01-01_00-00-00.log", "a\nb\n");
        folder.write("x__2020-01-02_00-00-00.log", "c\n");
        for (end, expected) in [(0, &["a", "b", "c", "next"][..]), (2, &["b", "c", "next"]), (4, &["c", "next"]), (6, &["next"])] {
            assert_eq!(folder.read(&[folder.place(&log, end, 0)]), expected, "{end}");
        }
    }

    #[test]
    fn lines_read_from_rotated_file_are_not_read_twice() {
        let folder = Folder::new("chain");
        let log = folder.write("x.log", "next\nmore\n");
        let copy = folder.write("x__2020-01-01_00-00-00.log", "a\nb\nc\n");
        // The reader was killed while it read the moved lines. The log itself was to be continued
        // at its former end.
        let places = [folder.place(&log, 2, 0), folder.place(&copy, 4, FUTURE)];
        assert_eq!(folder.read(&places), ["c", "next", "more"]);
    }

    #[test]
    fn log_in_rotation_resumes() {
        let folder = Folder::new("rotating");
        let log = folder.write("x.log", "a\nb\n");
        let place = folder.place(&log, 2, 0);
        std::fs::rename(&log, folder.0.join("x__2020-01-01_00-00-00.log")).unwrap();
        folder.write(".x__2020-01-01_00-00-00.log.ostler", "a\nb\n");
        assert_eq!(folder.read(&[place]), ["b"]);
    }

    #[test]
    fn lines_of_unnamed_rotated_file_are_read_first() {
        let folder = Folder::new("unnamed");
        let log = folder.write("x.log", "ha");
        let hidden = folder.write(".x__2020-01-02_00-00-00.log.ostler", "c\nd\n");
        folder.write("x__2020-01-01_00-00-00.log", "a\nb\n");
        let mut follower = resume(folder.source(), &[&folder.place(&log, 2, 0)]);
        let (mut watch, mut seen) = (Watch::new(), Vec::new());
        let mut find_files = |follower: &mut Follower| {
            let mut each = |_: &Source, line: &super::super::follow::Line<'_>| {
                seen.push(String::from_utf8_lossy(line.text).into_owned());
                true
            };
            follower.advance(true, &mut watch, &mut each).unwrap();
            std::mem::take(&mut seen)
        };
        assert_eq!(find_files(&mut follower), ["b"]);
        std::fs::rename(hidden, folder.0.join("x__2020-01-02_00-00-00.log")).unwrap();
        std::fs::write(&log, "half\n").unwrap();
        assert_eq!(find_files(&mut follower), ["c", "d", "half"]);
    }

    #[test]
    fn compressed_log_resumes() {
        let folder = Folder::new("compressed");
        let mut place = folder.place(&folder.write("x.log", ""), 2, 0);
        place.ino = 0;
        let file = File::create(folder.0.join("x__2020-01-01_00-00-00.log.gz")).unwrap();
        let mut sink = GzEncoder::new(file, Compression::fast());
        sink.write_all(b"a\nb\n").unwrap();
        sink.finish().unwrap();
        folder.write("x.log", "c\n");
        assert_eq!(folder.read(std::slice::from_ref(&place)), ["b", "c"]);
        place.end = 4;
        assert_eq!(folder.read(&[place]), ["c"]);
    }

    #[test]
    fn replaced_log_is_read_from_its_start() {
        let folder = Folder::new("replaced");
        let mut place = folder.place(&folder.write("x.log", "a\nb\n"), 2, FUTURE);
        place.ino = 0;
        assert_eq!(folder.read(&[place]), ["a", "b"]);
    }
}
