//! Small files as text. The creator of such a file cannot make the reader wait or fill its memory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Reads a regular file as text, if it has at most `most` bytes. It never waits; a FIFO returns
/// `None`.
pub fn read(path: &Path, most: u64) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let is_fit = file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= most);
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok().filter(|_| is_fit)?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads at most the last `most` bytes of a regular file as text, from the begin of a line. It never
/// waits.
pub fn tail(path: &Path, most: u64) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let meta = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let start = meta.len().saturating_sub(most);
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match text.split_once('\n').filter(|_| start > 0) {
        Some((_, lines)) => Some(lines.to_owned()),
        None => Some(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_regular_files_are_read() {
        let folder = std::env::temp_dir().join(format!("ostler-text-file-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (file, fifo) = (folder.join("file"), folder.join("fifo"));
        std::fs::write(&file, b"a\xffb").expect("a file");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).expect("a fifo");
        assert_eq!(read(&file, 3).as_deref(), Some("a\u{fffd}b"));
        assert_eq!((read(&file, 2), read(&fifo, 9), read(&folder, 9), read(&folder.join("gone"), 9)), (None, None, None, None));
        std::fs::write(&file, "one\ntwo\nthree\n").expect("a file");
        assert_eq!((tail(&file, 9).as_deref(), tail(&file, 99).as_deref()), (Some("three\n"), Some("one\ntwo\nthree\n")));
        assert_eq!((tail(&fifo, 9), tail(&folder, 9)), (None, None));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
