//! File with [`Access`]. The server and commands change it atomically, and simultaneous changes do
//! not overwrite each other.

use std::path::Path;

use ostler_core::marked;

use super::Access;
use crate::json_file::{FileError, FileVersion, JsonFile};

/// Access file, and its contents when it was last read.
#[derive(Debug)]
pub struct Store {
    file: JsonFile,
    last: Option<(Option<FileVersion>, Access)>,
}

impl Store {
    /// Returns the store of a home.
    pub fn of(home: &Path) -> Self {
        let advice = marked!("; remove it, then create a new link with `ostler web open`");
        Self { file: JsonFile::edited(home, "access.json", advice), last: None }
    }

    /// Returns the current contents. The file is read only if it has changed.
    ///
    /// # Errors
    /// Returns [`FileError::Read`] or [`FileError::Broken`] if the file cannot be used.
    pub fn get(&mut self) -> Result<&Access, FileError> {
        let version = self.file.version()?;
        let last = match self.last.take().filter(|(last, _)| *last == version) {
            Some(last) => last,
            None => (version, self.file.read()?.unwrap_or_default()),
        };
        Ok(&self.last.insert(last).1)
    }

    /// Changes the contents.
    ///
    /// # Errors
    /// Returns a [`FileError`] if the change failed; nothing has changed then.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut Access) -> T) -> Result<T, FileError> {
        self.file.change(|access| Ok(change(access)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::path::PathBuf;

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
        let mode = std::fs::metadata(store.file.path()).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
        std::fs::remove_dir_all(&home).unwrap();
    }

    #[test]
    fn malformed_access_file_denies_access_and_is_kept() {
        let home = home("broken");
        std::fs::create_dir(home.join("web")).unwrap();
        std::fs::write(home.join("web/access.json"), "{\"tokens\":[{").unwrap();
        let mut store = Store::of(&home);
        assert!(matches!(store.get(), Err(FileError::Broken { .. })));
        assert!(matches!(store.change(|access| access.revoke("x")), Err(FileError::Broken { .. })));
        assert_eq!(std::fs::read_to_string(home.join("web/access.json")).unwrap(), "{\"tokens\":[{");
        std::fs::remove_dir_all(&home).unwrap();
    }
}
