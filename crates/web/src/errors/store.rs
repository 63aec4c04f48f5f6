//! Files of the groups and of the resolved marks. Writes are atomic; an invalid file is renamed.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ostler_sys::fs::lock::lock_within;
use ostler_sys::fs::replace::{Durability, ReplaceError, Writers, replace};
use serde::de::DeserializeOwned;

use super::{ErrorBook, Resolved};
use crate::settings::{SettingsError, make_folder};

/// Maximum size of a file that is read.
const MAX_BYTES: u64 = 16 << 20;
/// Maximum wait for the lock of the marks.
const LOCK_WITHIN: Duration = Duration::from_secs(2);

/// Failure to read or write a file; the file is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum ErrorsFileError {
    /// Not read.
    #[error("cannot read \"{}\"", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is invalid.
    #[error("\"{}\" is invalid", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The position and kind of the error.
        source: serde_json::Error,
    },
    /// A later version of this program wrote it.
    #[error("\"{}\" was written by a newer version ({version})", path.display())]
    Later {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Not written.
    #[error(transparent)]
    Write(#[from] ReplaceError),
    /// The folder cannot be created.
    #[error(transparent)]
    Folder(#[from] SettingsError),
    /// Another process holds the lock for too long.
    #[error("another process has locked \"{}\"", .0.display())]
    Locked(PathBuf),
}

fn book_path(home: &Path) -> PathBuf {
    crate::settings::names::folder(home).join("errors.json")
}

fn marks_path(home: &Path) -> PathBuf {
    crate::settings::names::folder(home).join("resolved.json")
}

/// Returns the groups of a home as they were last written; none if none were ever written.
///
/// # Errors
/// Returns [`ErrorsFileError::Read`], [`ErrorsFileError::Broken`] or [`ErrorsFileError::Later`] if
/// the file cannot be used.
pub fn read_book(home: &Path) -> Result<Option<ErrorBook>, ErrorsFileError> {
    let path = book_path(home);
    let Some(mut book) = read::<ErrorBook>(&path)? else { return Ok(None) };
    if book.version > ErrorBook::VERSION {
        return Err(ErrorsFileError::Later { path, version: book.version });
    }
    book.trim();
    Ok(Some(book))
}

/// Returns the resolved marks of a home.
///
/// # Errors
/// Returns [`ErrorsFileError::Read`] or [`ErrorsFileError::Broken`] if the file cannot be used.
pub fn read_resolved(home: &Path) -> Result<Resolved, ErrorsFileError> {
    Ok(read(&marks_path(home))?.unwrap_or_default())
}

/// Marks a group as resolved.
///
/// # Errors
/// Returns an [`ErrorsFileError`] if the mark cannot be written; nothing has changed then.
pub fn resolve(home: &Path, id: &str, by: &str) -> Result<(), ErrorsFileError> {
    make_folder(home)?;
    let _lock = lock(&crate::settings::names::folder(home).join("resolved.lock"))?;
    let mut resolved = read_resolved(home)?;
    resolved.mark(id, crate::clock::now_ms(), by);
    let text = serde_json::to_vec(&resolved).unwrap_or_default();
    Ok(replace(&marks_path(home), &text, Durability::Process, Writers::Many)?)
}

fn lock(file: &Path) -> Result<std::os::fd::OwnedFd, ErrorsFileError> {
    match lock_within(file, LOCK_WITHIN) {
        Ok(lock) => lock.ok_or_else(|| ErrorsFileError::Locked(file.to_owned())),
        Err(errno) => Err(ErrorsFileError::Read { path: file.to_owned(), source: errno.into() }),
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ErrorsFileError> {
    let failed = |source| ErrorsFileError::Read { path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    serde_json::from_slice(&bytes).map(Some).map_err(|source| ErrorsFileError::Broken { path: path.to_owned(), source })
}

/// Returns the groups to continue with. An invalid file is renamed and reported.
pub(super) fn load(home: &Path) -> ErrorBook {
    let problem = match read_book(home) {
        Ok(book) => return book.unwrap_or_else(ErrorBook::empty),
        Err(problem) => problem,
    };
    let path = book_path(home);
    let aside = path.with_extension("json.aside");
    let _ = std::fs::rename(&path, &aside);
    log_line(format_args!("{}; it was renamed to \"{}\"", ostler_core::text::causes::with_causes(&problem), aside.display()));
    ErrorBook::empty()
}

/// Writes the groups.
pub(super) fn save(home: &Path, book: &ErrorBook) -> Result<(), ErrorsFileError> {
    make_folder(home)?;
    let text = serde_json::to_vec(book).unwrap_or_default();
    Ok(replace(&book_path(home), &text, Durability::Process, Writers::One)?)
}

/// Writes a line to standard error, which is a log of this app.
pub(super) fn log_line(text: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(name: &str) -> PathBuf {
        let home = std::env::temp_dir().join(format!("ostler-errors-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(home.join("web")).unwrap();
        home
    }

    #[test]
    fn saved_book_is_loaded_and_malformed_is_set_aside() {
        let home = home("book");
        assert_eq!((read_book(&home).unwrap(), load(&home)), (None, ErrorBook::empty()));
        save(&home, &ErrorBook::empty()).unwrap();
        assert_eq!(read_book(&home).unwrap(), Some(ErrorBook::empty()));
        for text in ["", "{\"groups\": [{}]}", "[1", "{\"version\": 99}"] {
            std::fs::write(book_path(&home), text).unwrap();
            assert!(read_book(&home).is_err(), "{text}");
            assert_eq!(load(&home), ErrorBook::empty(), "{text}");
            assert_eq!(std::fs::read_to_string(book_path(&home).with_extension("json.aside")).unwrap(), text);
            assert!(!book_path(&home).exists());
        }
        std::fs::remove_dir_all(&home).unwrap();
    }

    #[test]
    fn concurrent_writers_lose_no_marks() {
        let home = home("marks");
        std::thread::scope(|scope| {
            for n in 0..8 {
                let home = &home;
                scope.spawn(move || resolve(home, &format!("id-{n}"), "x").unwrap());
            }
        });
        let resolved = read_resolved(&home).unwrap();
        assert!((0..8).all(|n| resolved.at(&format!("id-{n}")).is_some()), "{resolved:?}");
        std::fs::remove_dir_all(&home).unwrap();
    }
}
