//! Credentials: files that a service manager puts into a folder of the service.
//!
//! # Theory of operation
//!
//! A daemon outlives its service's restarts, and may be older than the service. The main process of
//! the service therefore publishes the folder by a link in the home. Without a link, the daemon
//! uses the folder of the service that it was started in.
//!
//! systemd recreates the folder at each start of the service, and removes it before. After the main
//! process was killed, it is missing for a second. An app that starts just then must not fail, so
//! the daemon keeps the last folder open and uses it until there is another one. A daemon that
//! takes over after a restart knows only the new folder.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use ostler_core::app::secrets::{CREDENTIALS_LINK, is_credential_name};
use ostler_core::lifecycle::SpawnFailure;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::{Value, read};

/// Folder of credentials.
#[derive(Debug)]
pub(crate) struct Credentials {
    link: PathBuf,
    /// Folder of the service that this process was started in.
    given: Option<PathBuf>,
    /// Last existing folder.
    last: RefCell<Option<OwnedFd>>,
}

impl Credentials {
    /// Opens the present credentials.
    pub(crate) fn new(home: &Path, given: Option<PathBuf>) -> Self {
        let this = Self { link: home.join(CREDENTIALS_LINK), given, last: RefCell::default() };
        // A folder that does not exist yet is searched again later.
        let last = this.folder().and_then(|folder| open(&folder).ok());
        this.last.replace(last);
        this
    }

    fn folder(&self) -> Option<PathBuf> {
        let linked = std::fs::read_link(&self.link).ok().filter(|folder| folder.is_absolute());
        linked.or_else(|| self.given.clone())
    }

    /// Returns the value of a credential for this variable.
    pub(super) fn read(&self, name: &str, credential: &str) -> Result<Value, SpawnFailure> {
        let folder = self.folder().ok_or_else(|| {
            SpawnFailure::new(
                format!("read secret {name}: no credentials: the daemon does not run in a systemd service with credentials"),
                0,
            )
        })?;
        if !is_credential_name(credential) {
            return Err(SpawnFailure::new(format!("read secret {name}: {credential:?} is not a valid credential name"), 0));
        }
        let shown = folder.join(credential);
        let present = open(&folder).map_err(|errno| read::failed(name, &shown, errno.raw_os_error()));
        match present.and_then(|present| Ok((read::file_in(name, present.as_fd(), credential, &shown)?, present))) {
            Ok((value, present)) => {
                self.last.replace(Some(present));
                Ok(value)
            }
            Err(missing) if missing.errno == Errno::NOENT.raw_os_error() => {
                let last = self.last.borrow();
                let former = last.as_ref().and_then(|last| read::file_in(name, last.as_fd(), credential, &shown).ok());
                former.ok_or(missing)
            }
            Err(other) => Err(other),
        }
    }
}

fn open(folder: &Path) -> Result<OwnedFd, Errno> {
    openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Creates a folder as systemd does, with this token in it.
    fn folder(path: &Path, token: &str) {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("token"), token).unwrap();
    }

    #[test]
    fn unmounted_credentials_folder_is_read_until_it_returns() {
        let home = std::env::temp_dir().join(format!("ostler-credentials-of-{}", std::process::id()));
        let (service, former) = (home.join("service"), home.join("former"));
        folder(&service, "one");
        let credentials = Credentials::new(&home, Some(service.clone()));
        // The folder was opened before any read. An unmounted folder behaves like a moved one: it
        // stays with the process that has it open.
        fs::rename(&service, &former).unwrap();
        assert_eq!(&*credentials.read("TOKEN", "token").unwrap(), "one");
        // The folder is created first and filled later.
        fs::create_dir(&service).unwrap();
        assert_eq!(&*credentials.read("TOKEN", "token").unwrap(), "one");
        folder(&service, "two");
        assert_eq!(&*credentials.read("TOKEN", "token").unwrap(), "two");
        fs::remove_dir_all(&former).unwrap();
        let missing = credentials.read("TOKEN", "other").unwrap_err();
        assert!(missing.step.contains("TOKEN") && missing.step.contains("service/other") && missing.errno == 2, "{missing:?}");
        // The link of the service's main process has precedence while it exists.
        let linked = home.join("linked");
        folder(&linked, "three");
        std::os::unix::fs::symlink(&linked, home.join(CREDENTIALS_LINK)).unwrap();
        assert_eq!(&*credentials.read("TOKEN", "token").unwrap(), "three");
        fs::remove_file(home.join(CREDENTIALS_LINK)).unwrap();
        assert_eq!(&*credentials.read("TOKEN", "token").unwrap(), "two");
        assert!(Credentials::new(&home, None).read("TOKEN", "token").unwrap_err().step.contains("systemd"));
        assert!(credentials.read("TOKEN", "../former/token").unwrap_err().step.contains("not a valid credential name"));
        fs::remove_dir_all(&home).unwrap();
    }
}
