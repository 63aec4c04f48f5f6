//! Lines of the past in rotated files.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::read::MultiGzDecoder;
use ostler_core::logs::line_times::line::LineTime;
use ostler_core::logs::rotate::name::may_be_rotated;

use super::line_times::{FileTimes, LineClock};

/// Most bytes of a line in a compressed file that are shown.
const LONGEST: u64 = 1 << 20;

/// Function that opens a rotated file.
pub(super) type OpenRotated<'a> = &'a dyn Fn(&Path) -> io::Result<File>;

/// Line of a rotated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PastLine {
    pub text: Vec<u8>,
    /// Its time, if the caller requested times.
    pub time: LineTime,
}

/// Returns the last `count` lines before those of this log, the oldest first. If a home with
/// receive times is given, they have their times.
pub(super) fn lines_before(log: &Path, count: u64, home: Option<&Path>, open: OpenRotated<'_>) -> Vec<PastLine> {
    let mut found: Vec<PastLine> = Vec::new();
    for path in rotated(log) {
        let missing = usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(found.len());
        if missing == 0 {
            break;
        }
        // The file was just removed or compressed, or this user cannot read it. The other files are
        // still shown.
        let Ok(mut lines) = last_lines(&path, missing, home, open) else { continue };
        lines.append(&mut found);
        found = lines;
    }
    found
}

/// Returns true if rotated files exist before this log.
pub(super) fn has_past(log: &Path) -> bool {
    !rotated(log).is_empty()
}

/// Returns the rotated files of a log, the newest first.
pub(super) fn rotated(log: &Path) -> Vec<PathBuf> {
    let Some((folder, name)) = log.parent().zip(log.file_name().and_then(|name| name.to_str())) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|candidate| may_be_rotated(name, candidate)))
        .filter_map(|entry| Some((entry.metadata().ok().filter(std::fs::Metadata::is_file)?.modified().ok()?, entry.path())))
        .collect();
    found.sort();
    found.reverse();
    let mut paths: Vec<PathBuf> = found.into_iter().map(|(_, path)| path).collect();
    // While a file is being compressed, both forms may exist.
    let compressed: Vec<PathBuf> = paths.iter().filter(|path| path.extension().is_some_and(|end| end == "gz")).cloned().collect();
    paths.retain(|path| !compressed.iter().any(|other| other.with_extension("") == *path));
    paths
}

fn last_lines(path: &Path, count: usize, home: Option<&Path>, open: OpenRotated<'_>) -> io::Result<Vec<PastLine>> {
    let file = open(path)?;
    let is_compressed = path.extension().is_some_and(|end| end == "gz");
    let clock = home.map(|home| LineClock::new(FileTimes::of(home, &file, is_compressed)));
    if is_compressed {
        return Ok(timed(keep_last(MultiGzDecoder::new(file), 0, count)?, clock));
    }
    let length = file.metadata()?.len();
    let start = super::lines::start_of_last(&file, length, count as u64)?;
    Ok(timed(keep_last(from(file, start)?, start, count)?, clock))
}

fn from(mut file: File, start: u64) -> io::Result<File> {
    io::Seek::seek(&mut file, io::SeekFrom::Start(start))?;
    Ok(file)
}

/// Returns the last lines of a content that begins at this position, each with its position.
fn keep_last(content: impl Read, start: u64, count: usize) -> io::Result<VecDeque<(u64, Vec<u8>)>> {
    let mut content = BufReader::with_capacity(64 << 10, content);
    let mut kept: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
    let mut position = start;
    loop {
        let mut line = Vec::new();
        let length = content.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(kept);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if kept.len() == count {
            kept.pop_front();
        }
        kept.push_back((position, line));
        position += length as u64;
    }
}

fn timed(lines: VecDeque<(u64, Vec<u8>)>, mut clock: Option<LineClock>) -> Vec<PastLine> {
    let mut time = |start, text: &[u8]| clock.as_mut().map_or(LineTime::Unknown, |clock| clock.time(text, start));
    lines.into_iter().map(|(start, text)| PastLine { time: time(start, &text), text }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn lines_of_rotated_files_are_read_in_order() {
        let folder = std::env::temp_dir().join(format!("ostler-past-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str, age: u64| {
            let file = File::create(folder.join(name)).unwrap();
            let mut sink: Box<dyn Write> =
                if name.ends_with(".gz") { Box::new(GzEncoder::new(&file, Compression::fast())) } else { Box::new(&file) };
            sink.write_all(text.as_bytes()).unwrap();
            drop(sink);
            file.set_modified(SystemTime::now() - std::time::Duration::from_secs(age)).unwrap();
        };
        write("a-out__2026-01-01_00-00-00.log.gz", "1\n2\n", 300);
        write("a-out__2026-01-02_00-00-00.log", "3\n4\n", 200);
        write("a-out__2026-01-03_00-00-00.log", "5\n6\n", 100);
        write("a-out__2026-01-03_00-00-00.log.gz", "5\n6\n", 100);
        write("aa-out__2026-01-03_00-00-00.log", "x\n", 50);
        write("a-out.log", "7\n", 0);
        let log = folder.join("a-out.log");
        let lines = |count| {
            lines_before(&log, count, None, &|path| File::open(path))
                .into_iter()
                .map(|line| String::from_utf8(line.text).unwrap())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            (lines(0), lines(1), lines(3), lines(5), lines(99)),
            ("".into(), "6".into(), "4 5 6".into(), "2 3 4 5 6".into(), "1 2 3 4 5 6".into())
        );
        assert!(has_past(&log) && !has_past(&folder.join("b-out.log")));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
