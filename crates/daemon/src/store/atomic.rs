//! Whole files, replaced so that a crash or a full disk leaves the old one or the new one, never half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why a file could not be replaced; the old one is untouched.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} \"{}\"", path.display())]
pub(crate) struct ReplaceError {
    /// The failing step.
    pub step: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// How hard to make sure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Survives the end of our processes.
    Process,
    /// Survives a power cut.
    Power,
}

/// Writes `bytes` beside `path` (mode 0600), then renames it over `path`.
///
/// # Errors
/// The old file is still there, and no temporary one.
pub(crate) fn replace(path: &Path, bytes: &[u8], durability: Durability) -> Result<(), ReplaceError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let fail = |step, source| {
        // Leaving it would only confuse; that it cannot be removed changes nothing for the caller.
        let _ = fs::remove_file(&temporary);
        ReplaceError { step, path: path.to_owned(), source }
    };
    let mut file: File =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).map_err(|source| fail("create", source))?;
    file.write_all(bytes).map_err(|source| fail("write", source))?;
    if durability == Durability::Power {
        file.sync_all().map_err(|source| fail("sync", source))?;
    }
    fs::rename(&temporary, path).map_err(|source| fail("replace", source))?;
    if durability == Durability::Power
        && let Some(folder) = path.parent()
    {
        // The rename itself must reach the disk too. Some file systems refuse to sync a folder: then there is nothing more to do.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(())
}
