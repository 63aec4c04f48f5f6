//! Path of the service's credentials, for a daemon that is older than the service or its unit.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use ostler_core::app::secrets::CREDENTIALS_LINK;
use ostler_sys::fs::replace::replace_link;

/// Returns the folder that systemd gave this process.
fn given() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).filter(|folder| folder.is_absolute())
}

/// Creates a link to them in the home, which replaces that of a former service.
///
/// # Errors
/// Returns an error if another file has that name, or if the link cannot be written.
pub(super) fn announce(home: &Path) -> io::Result<()> {
    lay(home, given().as_deref())
}

/// Removes the link: the service has stopped, and its credentials are gone with it.
pub(super) fn withdraw(home: &Path) {
    drop(lay(home, None));
}

fn lay(home: &Path, folder: Option<&Path>) -> io::Result<()> {
    let link = home.join(CREDENTIALS_LINK);
    match (fs::symlink_metadata(&link), folder) {
        (Ok(meta), _) if !meta.is_symlink() => Err(ErrorKind::AlreadyExists.into()),
        (Ok(_), None) => fs::remove_file(&link),
        (Err(error), _) if error.kind() != ErrorKind::NotFound => Err(error),
        (Err(_), None) => Ok(()),
        (_, Some(folder)) if fs::read_link(&link).is_ok_and(|known| known == folder) => Ok(()),
        (_, Some(folder)) => replace_link(&link, folder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_link_is_updated_but_foreign_file_is_kept() {
        let home = std::env::temp_dir().join(format!("ostler-credentials-{}", std::process::id()));
        fs::create_dir_all(&home).unwrap();
        let link = home.join(CREDENTIALS_LINK);
        let target = || fs::read_link(&link).ok();
        lay(&home, None).unwrap();
        for folder in ["/run/a", "/run/a", "/run/b"] {
            lay(&home, Some(Path::new(folder))).unwrap();
            assert_eq!(target(), Some(folder.into()));
        }
        lay(&home, None).unwrap();
        assert_eq!((target(), fs::read_dir(&home).unwrap().count()), (None, 0));
        fs::write(&link, "mine").unwrap();
        for folder in [None, Some(Path::new("/run/a"))] {
            lay(&home, folder).unwrap_err();
        }
        assert_eq!(fs::read_to_string(&link).unwrap(), "mine");
        fs::remove_dir_all(&home).unwrap();
        lay(&home, Some(Path::new("/run/a"))).unwrap_err();
    }
}
