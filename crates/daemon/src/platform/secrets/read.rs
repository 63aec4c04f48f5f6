//! Secret from a file.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::Path;

use ostler_core::app::secrets::{MAX_BYTES, value};
use ostler_core::lifecycle::SpawnFailure;
use ostler_sys::SecretBytes;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::path::Arg;

use super::Value;
use crate::platform::rights::Rights;

/// Returns the value in this file.
pub(super) fn file(name: &str, path: &Path, rights: &Rights) -> Result<Value, SpawnFailure> {
    let opened = rights.open(path, OFlags::RDONLY, 0, None).map_err(|error| failed(name, path, error.raw_os_error().unwrap_or(0)))?;
    match opened {
        Some((file, _)) => value_in(name, &file, path),
        None => file_in(name, CWD, path, path),
    }
}

/// Returns the value in a file of this folder; `shown` is its full path. Only regular files are
/// read, because a pipe or device could block the daemon.
pub(super) fn file_in(name: &str, folder: BorrowedFd<'_>, path: impl Arg, shown: &Path) -> Result<Value, SpawnFailure> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(folder, path, flags, Mode::empty()).map_err(|errno| failed(name, shown, errno.raw_os_error()))?;
    value_in(name, &File::from(file), shown)
}

fn value_in(name: &str, file: &File, shown: &Path) -> Result<Value, SpawnFailure> {
    let failure = |what: &str, errno: i32| SpawnFailure::new(format!("read secret {name} from {}{what}", shown.display()), errno);
    let io = |error: std::io::Error| failure("", error.raw_os_error().unwrap_or(0));
    if !file.metadata().map_err(io)?.is_file() {
        return Err(failure(": it is not a regular file", 0));
    }
    let mut bytes = SecretBytes::default();
    // One byte more than the maximum, and an end of line.
    while bytes.read_from(file, MAX_BYTES + 3).map_err(|errno| io(errno.into()))? > 0 {}
    value(&bytes).map(Value::from).map_err(|bad| failure(&format!(": it {bad}"), 0))
}

/// Returns the failure of a secret that cannot be read.
pub(super) fn failed(name: &str, shown: &Path, errno: i32) -> SpawnFailure {
    SpawnFailure::new(format!("read secret {name} from {}", shown.display()), errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_with_a_value_are_read() {
        let dir = std::env::temp_dir().join(format!("ostler-secret-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("s");
        std::fs::write(&path, "v4lue\n").unwrap();
        assert_eq!(&*file("S", &path, &Rights::default()).unwrap(), "v4lue");
        let linked = dir.join("link");
        std::os::unix::fs::symlink(&path, &linked).unwrap();
        assert_eq!(&*file("S", &linked, &Rights::default()).unwrap(), "v4lue", "Kubernetes' secrets are links");
        std::fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
        for (path, words) in [
            (path.as_path(), "64 KiB"),
            (&dir, "not a regular file"),
            (Path::new("/dev/zero"), "not a regular file"),
            (&dir.join("none"), "none"),
        ] {
            let failure = file("S", path, &Rights::default()).unwrap_err();
            assert!(failure.step.contains("read secret S") && failure.step.contains(words), "{failure:?}");
        }
        let fifo = dir.join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
        assert!(file("S", &fifo, &Rights::default()).unwrap_err().step.contains("not a regular file"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
