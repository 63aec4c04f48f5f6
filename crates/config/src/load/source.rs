//! Reader of a file with any content.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use ostler_core::home::trust::{Caller, Origin};
use ostler_core::message;

use super::positions::position_at;
use crate::guard::{self, cannot};
use crate::problem::{Problem, ProblemKind};

/// Largest file; a larger one is rejected. No user writes such files, and the loader holds
/// everything in memory several times.
pub(crate) const MAX_BYTES: u64 = 4 << 20;

/// Text of a file, and a warning if other users can change it.
pub(crate) type GuardedText = (String, Option<String>);

/// Reads a text file that a command will use. `app_user` may change it, too.
pub(crate) fn guarded(path: &Path, caller: &Caller, app_user: Option<u32>) -> Result<GuardedText, Problem> {
    let file = open(path)?;
    let warning = guard::check(&file, path, caller, Origin::Named, app_user)?;
    Ok((text(file)?, warning))
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String, Problem> {
    text(open(path)?)
}

fn open(path: &Path) -> Result<File, Problem> {
    let meta = std::fs::metadata(path).map_err(|error| cannot(&error))?;
    if meta.is_dir() {
        return Err(Problem::error(ProblemKind::Unreadable, message!("cannot read the file: it is a directory")));
    }
    File::open(path).map_err(|error| cannot(&error))
}

/// Reads an open text file.
pub(crate) fn text(file: File) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
    decode(&bytes)
}

/// Checks size and encoding.
pub(crate) fn decode(bytes: &[u8]) -> Result<String, Problem> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Problem::error(ProblemKind::Unreadable, message!("the file is larger than {most} MiB", most = MAX_BYTES >> 20)));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            match text.find('\0') {
                None => Ok(text.to_owned()),
                Some(offset) => {
                    let position = position_at(text, offset);
                    Err(Problem::error(ProblemKind::Malformed, message!("line {line}: the file contains a NUL byte", line = position.line)))
                }
            }
        }
        Err(error) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
            Err(Problem::error(
                ProblemKind::Malformed,
                message!("line {line}: the file is not UTF-8 (byte {byte})", line, byte = format!("0x{byte:02x}")),
            ))
        }
    }
}
