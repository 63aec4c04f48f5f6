//! Replacement of whole files and links. A crash or a full disk leaves either the old one or the
//! new one, never a partial one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

/// Reason why a file could not be replaced. The old one is untouched.
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
    /// Survives a crash of our processes.
    Process,
    /// Survives a power cut.
    Power,
}

/// Number of processes that may write the same file at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Only this one. It overwrites the temporary file that a killed writer left behind.
    One,
    /// Other processes as well. A file that already has the temporary name is never written to.
    Many,
}

/// Writes `bytes` to a temporary file next to `path` (mode 0600), then renames it over `path`.
///
/// # Errors
/// On an error, the old file remains, and the temporary file is removed.
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
        // A leftover file would only confuse. If the removal fails, the result for the caller is
        // the same.
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
        // The rename itself must reach the disk, too. Some file systems refuse to sync a folder;
        // nothing more can be done then.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(())
}

/// Makes `path` a symbolic link to `target`, and replaces an existing file or link. At every
/// moment, either the old or the new one exists. A folder is never replaced.
///
/// # Errors
/// On an error, the old file or link remains, and no temporary link.
pub fn replace_link(path: &Path, target: &Path) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".new-{}", std::process::id()));
    // A killed process with the same pid may have left it.
    let _ = fs::remove_file(&temporary);
    symlink(target, &temporary)?;
    fs::rename(&temporary, path).inspect_err(|_| drop(fs::remove_file(&temporary)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_is_replaced_atomically() {
        let folder = std::env::temp_dir().join(format!("ostler-replace-link-{}", std::process::id()));
        fs::create_dir_all(folder.join("folder")).unwrap();
        let path = folder.join("link");
        for target in ["a", "b", "b"] {
            // It also works after a process was killed halfway.
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
    fn file_is_replaced_atomically() {
        let folder = std::env::temp_dir().join(format!("ostler-replace-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("file");
        for (writers, durability) in [(Writers::One, Durability::Process), (Writers::Many, Durability::Power)] {
            replace(&path, b"old", durability, writers).unwrap();
            replace(&path, b"new", durability, writers).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
        }
        // A link that an attacker planted at the temporary name is not followed.
        let planted = folder.join(format!("file.new-{}", std::process::id()));
        std::os::unix::fs::symlink(&path, &planted).unwrap();
        let error = replace(&path, b"other", Durability::Process, Writers::Many).unwrap_err();
        assert_eq!((error.step, error.source.kind()), ("create", io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read(&path).unwrap(), b"new");
        // Only our own files are removed.
        assert!(planted.is_symlink());
        fs::remove_dir_all(&folder).unwrap();
    }
}
