//! Whole files and links, replaced so that a crash or a full disk leaves the old one or the new one, never half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

/// Reason why a file could not be replaced; the old one is untouched.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} \"{}\"", path.display())]
pub struct ReplaceError {
    /// The failing step.
    pub step: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The cause.
    #[source]
    pub source: io::Error,
}

/// Durability of a replaced file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives the end of our processes.
    Process,
    /// Survives a power cut.
    Power,
}

/// Writers that may write the same file at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// This one alone: what a writer that was killed left behind is written over by the next.
    One,
    /// Other processes, too; what is beside the file by that name is never written into.
    Many,
}

/// Writes `bytes` beside `path` (mode 0600), then renames it over `path`.
///
/// # Errors
/// The old file is still there, and no temporary one.
pub fn replace(path: &Path, bytes: &[u8], durability: Durability, writers: Writers) -> Result<(), ReplaceError> {
    let mut temporary = path.as_os_str().to_owned();
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    match writers {
        Writers::One => {
            temporary.push(".new");
            options.create(true).truncate(true);
        }
        Writers::Many => {
            temporary.push(format!(".new-{}", std::process::id()));
            options.create_new(true);
        }
    }
    let temporary = PathBuf::from(temporary);
    let failed = |step, source| ReplaceError { step, path: path.to_owned(), source };
    let mut file: File = options.open(&temporary).map_err(|source| failed("create", source))?;
    let fail = |step, source| {
        // Leaving it would only confuse; that it cannot be removed changes nothing for the caller.
        let _ = fs::remove_file(&temporary);
        failed(step, source)
    };
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

/// Makes `path` a symbolic link to `target` in place of what is there: there is no moment without the old or the new one. A folder is never replaced.
///
/// # Errors
/// What was there is there still, and no other link beside it.
pub fn replace_link(path: &Path, target: &Path) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".new-{}", std::process::id()));
    // Of a process with this number that was killed.
    let _ = fs::remove_file(&beside);
    symlink(target, &beside)?;
    fs::rename(&beside, path).inspect_err(|_| drop(fs::remove_file(&beside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_link_or_the_new_one() {
        let folder = std::env::temp_dir().join(format!("ostler-replace-link-{}", std::process::id()));
        fs::create_dir_all(folder.join("folder")).unwrap();
        let path = folder.join("link");
        for target in ["a", "b", "b"] {
            // Also where one was killed in the midst of it.
            symlink("left", folder.join(format!("link.new-{}", std::process::id()))).unwrap();
            replace_link(&path, Path::new(target)).unwrap();
            assert_eq!(fs::read_link(&path).unwrap(), Path::new(target));
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        replace_link(&path, Path::new("c")).unwrap();
        assert!(path.is_symlink());
        replace_link(&folder.join("folder"), Path::new("c")).unwrap_err();
        replace_link(&folder.join("nowhere/link"), Path::new("c")).unwrap_err();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_old_file_or_the_new_one() {
        let folder = std::env::temp_dir().join(format!("ostler-replace-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("file");
        for (writers, durability) in [(Writers::One, Durability::Process), (Writers::Many, Durability::Power)] {
            replace(&path, b"old", durability, writers).unwrap();
            replace(&path, b"new", durability, writers).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
        }
        // A link that somebody made in its place is not followed.
        let planted = folder.join(format!("file.new-{}", std::process::id()));
        std::os::unix::fs::symlink(&path, &planted).unwrap();
        let error = replace(&path, b"other", Durability::Process, Writers::Many).unwrap_err();
        assert_eq!((error.step, error.source.kind()), ("create", io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read(&path).unwrap(), b"new");
        // Only what is one's own is removed.
        assert!(planted.is_symlink());
        fs::remove_dir_all(&folder).unwrap();
    }
}
