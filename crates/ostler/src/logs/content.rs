//! Content of a rotated file, compressed or not.

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rustix::fs::MemfdFlags;

use super::source::Source;

/// Most bytes of a compressed file that are shown.
const MOST_BYTES: u64 = 64 << 20;

/// Content of a file, with the metadata of that file.
pub(super) struct Content {
    pub file: File,
    pub meta: Metadata,
}

/// Returns the content of a file from this position on, decompressed if necessary.
pub(super) fn content(source: &Source, path: &Path, position: u64) -> Option<Content> {
    opened(source.open(path).ok()?, path, position).ok()
}

/// Works like [`content`], for an open file with this name.
pub(super) fn opened(file: File, path: &Path, position: u64) -> io::Result<Content> {
    let meta = file.metadata()?;
    let is_compressed = path.extension().is_some_and(|end| end == "gz");
    let file = if is_compressed { decompressed(file, position)? } else { file };
    Ok(Content { file, meta })
}

/// Decompresses a file into memory, at the same positions, without the content before this
/// position.
fn decompressed(file: File, position: u64) -> io::Result<File> {
    let mut content = MultiGzDecoder::new(file);
    let before = io::copy(&mut Read::take(&mut content, position), &mut io::sink())?;
    let mut memory = File::from(rustix::fs::memfd_create("ostler-log", MemfdFlags::CLOEXEC)?);
    io::Seek::seek(&mut memory, io::SeekFrom::Start(before))?;
    io::copy(&mut Read::take(content, MOST_BYTES), &mut memory)?;
    memory.flush()?;
    Ok(memory)
}

/// Returns the name that a rotated file has after compression.
pub(super) fn compressed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    name.into()
}

/// Returns the length of the hidden copy that will get this name.
pub(super) fn hidden_length(rotated: &Path) -> u64 {
    let hidden = rotated.file_name().and_then(|name| name.to_str()).map(|name| rotated.with_file_name(format!(".{name}.ostler")));
    hidden.and_then(|hidden| std::fs::symlink_metadata(hidden).ok()).map_or(0, |meta| meta.len())
}
