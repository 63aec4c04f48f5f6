//! Files of the groups and of the resolved marks. Writes are atomic; an invalid file is renamed.

use std::io;
use std::path::Path;

use super::{ErrorBook, Resolved};
use crate::json_file::{FileError, JsonFile};

/// Maximum size of a file that is read.
const MAX_BYTES: u64 = 16 << 20;

fn book(home: &Path) -> JsonFile {
    JsonFile::internal(home, "errors.json", MAX_BYTES)
}

fn marks(home: &Path) -> JsonFile {
    JsonFile::internal(home, "resolved.json", MAX_BYTES)
}

/// Returns the groups of a home as they were last written; none if none were ever written.
///
/// # Errors
/// Returns [`FileError::Read`], [`FileError::Broken`] or [`FileError::Later`] if the file cannot be
/// used.
pub fn read_book(home: &Path) -> Result<Option<ErrorBook>, FileError> {
    let file = book(home);
    let Some(mut book) = file.read::<ErrorBook>()? else { return Ok(None) };
    if book.version > ErrorBook::VERSION {
        return Err(FileError::Later { path: file.path().to_owned(), version: book.version });
    }
    book.trim();
    Ok(Some(book))
}

/// Returns the resolved marks of a home.
///
/// # Errors
/// Returns [`FileError::Read`] or [`FileError::Broken`] if the file cannot be used.
pub fn read_resolved(home: &Path) -> Result<Resolved, FileError> {
    Ok(marks(home).read()?.unwrap_or_default())
}

/// Marks a group as resolved.
///
/// # Errors
/// Returns a [`FileError`] if the mark cannot be written; nothing has changed then.
pub fn resolve(home: &Path, id: &str, by: &str) -> Result<(), FileError> {
    marks(home).change(|resolved: &mut Resolved| {
        resolved.mark(id, crate::clock::now_ms(), by);
        Ok(())
    })
}

/// Returns the groups to continue with. An invalid file is renamed and reported.
pub(super) fn load(home: &Path) -> ErrorBook {
    match read_book(home) {
        Ok(book) => book.unwrap_or_else(ErrorBook::empty),
        Err(problem) => {
            log_line(format_args!("{}", book(home).set_aside(&problem)));
            ErrorBook::empty()
        }
    }
}

/// Writes the groups.
pub(super) fn save(home: &Path, groups: &ErrorBook) -> Result<(), FileError> {
    book(home).write(groups)
}

/// Writes a line to standard error, which is a log of this app.
pub(super) fn log_line(text: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

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
            std::fs::write(book(&home).path(), text).unwrap();
            assert!(read_book(&home).is_err(), "{text}");
            assert_eq!(load(&home), ErrorBook::empty(), "{text}");
            assert_eq!(std::fs::read_to_string(book(&home).path().with_extension("json.aside")).unwrap(), text);
            assert!(!book(&home).path().exists());
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
