//! End of a log file, for the record of a crash.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::platform::rights::Rights;

/// Returns the last lines of a file, oldest first. It returns at most `max_lines` lines, from at
/// most the last `max_bytes` bytes, and none from before `from_offset` (the file's length when the
/// process was started). A path that is not a regular file gives no lines. If the file is shorter
/// by now, it was truncated, and all of it counts. Invalid UTF-8 is replaced; of a line that is too
/// long, the end is kept.
pub(crate) fn last_lines(rights: &Rights, path: &Path, from_offset: u64, max_lines: usize, max_bytes: usize) -> Vec<String> {
    read_end(rights, path, from_offset, max_bytes).map_or_else(|_| Vec::new(), |bytes| split(&bytes, max_lines))
}

/// Returns the length of a regular file, or 0 for anything else. It is the later `from_offset` of
/// [`last_lines`].
pub(crate) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map_or(0, |meta| meta.len())
}

fn read_end(rights: &Rights, path: &Path, from_offset: u64, max_bytes: usize) -> io::Result<Vec<u8>> {
    // Most processes exit without output, and the next start waits for this check.
    if rights.is_daemon_user() && std::fs::metadata(path)?.len() == from_offset {
        return Ok(Vec::new());
    }
    let file = rights.read(path)?;
    let length = file.metadata()?.len();
    let from = if from_offset <= length { from_offset } else { 0 };
    let start = from.max(length.saturating_sub(max_bytes as u64));
    let mut bytes = vec![0; usize::try_from(length - start).unwrap_or(max_bytes).min(max_bytes)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], start + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn split(bytes: &[u8], max_lines: usize) -> Vec<String> {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if text.is_empty() || max_lines == 0 {
        return Vec::new();
    }
    let mut start = text.len();
    for _ in 0..max_lines {
        match memchr::memrchr(b'\n', &text[..start]) {
            Some(at) => start = at,
            None => return lines(text),
        }
    }
    lines(&text[start + 1..])
}

fn lines(text: &[u8]) -> Vec<String> {
    let without_return = |line: &[u8]| String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
    text.split(|byte| *byte == b'\n').map(without_return).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::Folder;
    use super::*;
    use crate::platform::rights::OURS;

    #[test]
    fn last_lines_are_those_of_this_process() {
        let folder = Folder::new("tail");
        let path = folder.path().join("x.log");
        type Case = (&'static [u8], u64, usize, usize, &'static [&'static str]);
        let cases: [Case; 10] = [
            (b"a\nb\nc\n", 0, 2, 100, &["b", "c"]),
            (b"a\nb\nc", 0, 2, 100, &["b", "c"]),
            (b"a\nb\nc\n", 0, 9, 100, &["a", "b", "c"]),
            (b"a\nb\nc\n", 4, 9, 100, &["c"]),
            (b"a\nb\nc\n", 6, 9, 100, &[]),
            (b"a\nb\nc\n", 7, 9, 100, &["a", "b", "c"]),
            (b"", 0, 9, 100, &[]),
            (b"a\n\n\n", 0, 2, 100, &["", ""]),
            (b"0123456789\n", 0, 2, 4, &["789"]),
            (b"\xff\r\n", 0, 2, 100, &["\u{fffd}"]),
        ];
        for (content, from, lines, bytes, expected) in cases {
            std::fs::write(&path, content).unwrap();
            assert_eq!(last_lines(&OURS, &path, from, lines, bytes), expected, "{content:?} {from} {lines} {bytes}");
        }
        assert_eq!(length(&path), 3);
    }

    #[test]
    fn only_regular_files_have_lines() {
        let folder = Folder::new("tail-fifo");
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for path in [fifo.as_path(), folder.path(), Path::new("/dev/null"), Path::new("/no/such/file")] {
            assert!(last_lines(&OURS, path, 0, 10, 1000).is_empty());
            assert_eq!(length(path), 0);
        }
    }
}
