//! File with [`Access`]. The server and commands change it atomically, and simultaneous changes do
//! not overwrite each other.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ostler_sys::fs::lock::lock_within;
use ostler_sys::fs::replace::{Durability, ReplaceError, Writers, replace};

use super::Access;
use crate::settings::{SettingsError, make_folder};

/// Maximum wait for the file's lock.
const LOCK_WITHIN: Duration = Duration::from_secs(2);
/// Maximum size of a file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Failure to read or change the file; it is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Not read.
    #[error("cannot read \"{}\"", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is invalid.
    #[error("\"{}\" is invalid; remove it, then create a new link with `ostler web open`", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The position and kind of the error.
        source: serde_json::Error,
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

/// Access file, and its contents when it was last read.
#[derive(Debug)]
pub struct Store {
    home: PathBuf,
    path: PathBuf,
    last: Option<(FileVersion, Access)>,
}

/// Version of the file: inode, size and change time. Each write creates a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileVersion(u64, u64, i64, i64);

impl Store {
    /// Returns the store of a home.
    pub fn of(home: &Path) -> Self {
        Self { home: home.to_owned(), path: crate::settings::names::folder(home).join("access.json"), last: None }
    }

    /// Returns the current contents. The file is read only if it has changed.
    ///
    /// # Errors
    /// Returns [`AccessError::Read`] or [`AccessError::Broken`] if the file cannot be used.
    pub fn get(&mut self) -> Result<&Access, AccessError> {
        let failed = |source| AccessError::Read { path: self.path.clone(), source };
        let stamp = match std::fs::metadata(&self.path) {
            Ok(meta) => FileVersion(meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => FileVersion(0, 0, 0, 0),
            Err(source) => return Err(failed(source)),
        };
        if self.last.as_ref().is_none_or(|(last, _)| *last != stamp) {
            let access = read(&self.path)?;
            self.last = Some((stamp, access));
        }
        match &self.last {
            Some((_, access)) => Ok(access),
            None => Err(failed(io::ErrorKind::NotFound.into())),
        }
    }

    /// Changes the contents.
    ///
    /// # Errors
    /// Returns an [`AccessError`] if the change failed; nothing has changed then.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut Access) -> T) -> Result<T, AccessError> {
        make_folder(&self.home)?;
        let _lock = self.lock()?;
        let mut access = read(&self.path)?;
        let before = access.clone();
        let done = change(&mut access);
        if access != before {
            let mut text = serde_json::to_vec_pretty(&access).unwrap_or_default();
            text.push(b'\n');
            replace(&self.path, &text, Durability::Power, Writers::Many)?;
        }
        Ok(done)
    }

    fn lock(&self) -> Result<std::os::fd::OwnedFd, AccessError> {
        let file = self.path.with_file_name("access.lock");
        match lock_within(&file, LOCK_WITHIN) {
            Ok(lock) => lock.ok_or(AccessError::Locked(file)),
            Err(errno) => Err(AccessError::Read { path: file, source: errno.into() }),
        }
    }
}

fn read(path: &Path) -> Result<Access, AccessError> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let result = std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    match result {
        Ok(_) => serde_json::from_slice(&bytes).map_err(|source| AccessError::Broken { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Access::default()),
        Err(source) => Err(AccessError::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    fn home(name: &str) -> PathBuf {
        let home = std::env::temp_dir().join(format!("ostler-access-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(&home).unwrap();
        home
    }

    #[test]
    fn concurrent_changes_are_seen_and_none_is_lost() {
        let home = home("two");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let home = &home;
                scope.spawn(move || {
                    for n in 0..10 {
                        Store::of(home)
                            .change(|access| access.add_token(&format!("{thread}-{n}"), Role::Viewer, vec![], 0).unwrap())
                            .unwrap();
                    }
                });
            }
        });
        let mut store = Store::of(&home);
        assert_eq!(store.get().unwrap().tokens.len(), 40);
        Store::of(&home).change(|access| access.revoke("0-0")).unwrap();
        assert_eq!(store.get().unwrap().tokens.len(), 39);
        let mode = std::fs::metadata(&store.path).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
        std::fs::remove_dir_all(&home).unwrap();
    }

    #[test]
    fn malformed_access_file_denies_access_and_is_kept() {
        let home = home("broken");
        std::fs::create_dir(home.join("web")).unwrap();
        std::fs::write(home.join("web/access.json"), "{\"tokens\":[{").unwrap();
        let mut store = Store::of(&home);
        assert!(matches!(store.get(), Err(AccessError::Broken { .. })));
        assert!(matches!(store.change(|access| access.revoke("x")), Err(AccessError::Broken { .. })));
        assert_eq!(std::fs::read_to_string(home.join("web/access.json")).unwrap(), "{\"tokens\":[{");
        std::fs::remove_dir_all(&home).unwrap();
    }
}
