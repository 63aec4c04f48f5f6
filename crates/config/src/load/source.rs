//! Reader of a file that may be anything.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::positions::position_at;
use crate::problem::{Kind, Problem};

/// Largest file; larger ones are refused: nobody writes them, and everything here is held in memory several times.
pub(crate) const MAX_BYTES: u64 = 4 << 20;

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String, Problem> {
    let cannot = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => Problem::error(Kind::NotFound, "file not found"),
        _ => Problem::error(Kind::Unreadable, format!("cannot read the file: {error}")),
    };
    let meta = std::fs::metadata(path).map_err(|error| cannot(&error))?;
    if meta.is_dir() {
        return Err(Problem::error(Kind::Unreadable, "cannot read the file: it is a directory"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| cannot(&error))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
    decode(&bytes)
}

/// Checks size and encoding.
pub(crate) fn decode(bytes: &[u8]) -> Result<String, Problem> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Problem::error(Kind::Unreadable, format!("the file is larger than {} MiB", MAX_BYTES >> 20)));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            match text.find('\0') {
                None => Ok(text.to_owned()),
                Some(offset) => {
                    let position = position_at(text, offset);
                    Err(Problem::error(Kind::Malformed, format!("line {}: the file holds a NUL byte", position.line)))
                }
            }
        }
        Err(error) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
            Err(Problem::error(Kind::Malformed, format!("line {line}: the file is not UTF-8 (byte 0x{byte:02x})")))
        }
    }
}
