//! Taking over the file that an app has written. The path comes from the app: it may say anything.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ostler_proto::control::Profile;
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};

use super::ending;
use super::store::MOST_BYTES;

/// Largest file that is taken.
const LARGEST: u64 = MOST_BYTES / 2;

/// A reason why the file stays where it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum TakeError {
    #[error("the app names \"{}\", which is no profile", .0.display())]
    Name(PathBuf),
    #[error("cannot take over \"{}\": {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("\"{}\" is no file of the app's own", .0.display())]
    Foreign(PathBuf),
    #[error("\"{}\" has more than {} MiB, and stays there", .0.display(), LARGEST >> 20)]
    TooLarge(PathBuf),
    #[error("cannot write \"{}\": {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Copies the file of a process to `to`, and removes it: its length in bytes. What fails leaves both as they were.
pub(super) fn take_over(told: &Path, kind: Profile, pid: i32, to: &Path) -> Result<u64, TakeError> {
    let (folder, name) = parts(told, kind).ok_or_else(|| TakeError::Name(told.to_owned()))?;
    let failed = |source: io::Error| TakeError::Read { path: told.to_owned(), source };
    // The folder is held: what is looked at, read and removed is in the same one, whatever becomes of its name.
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed(errno.into()))?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut from = File::from(openat(&folder, name, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?);
    let meta = from.metadata().map_err(failed)?;
    let is_own = meta.uid() == rustix::process::geteuid().as_raw() || user_of(pid) == Some(meta.uid());
    if !meta.is_file() || meta.nlink() != 1 || !is_own {
        return Err(TakeError::Foreign(told.to_owned()));
    }
    if meta.len() > LARGEST {
        return Err(TakeError::TooLarge(told.to_owned()));
    }
    let bytes = copy(&mut from, to).map_err(|source| TakeError::Write { path: to.to_owned(), source })?;
    if bytes > LARGEST {
        let _ = std::fs::remove_file(to);
        return Err(TakeError::TooLarge(told.to_owned()));
    }
    let _ = unlinkat(&folder, name, AtFlags::empty());
    Ok(bytes)
}

/// Folder and name of a path that the preload may have made: `ostler-<pid>-<ms>.<ending>`.
fn parts(told: &Path, kind: Profile) -> Option<(&Path, &str)> {
    let (folder, name) = (told.parent()?, told.file_name()?.to_str()?);
    let numbers = name.strip_prefix("ostler-")?.strip_suffix(ending(kind))?.strip_suffix('.')?;
    let (pid, at) = numbers.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    (told.is_absolute() && is_number(pid) && is_number(at)).then_some((folder, name))
}

/// The user of a process, if it is there.
fn user_of(pid: i32) -> Option<u32> {
    (pid > 0).then(|| std::fs::metadata(format!("/proc/{pid}")).ok().map(|meta| meta.uid())).flatten()
}

/// Copies at most one byte more than is taken; what fails leaves nothing.
fn copy(from: &mut File, to: &Path) -> io::Result<u64> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let copied = io::copy(&mut from.take(LARGEST + 1), &mut file);
    if copied.is_err() {
        let _ = std::fs::remove_file(to);
    }
    copied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_preload_alone() {
        for (told, kind, works) in [
            ("/tmp/ostler-12-1764000000000.cpuprofile", Profile::Cpu, true),
            ("/tmp/a b/ostler-1-2.heapprofile", Profile::Memory, true),
            ("/tmp/ostler-1-2.heapsnapshot", Profile::Heap, true),
            ("/tmp/ostler-1-2.cpuprofile", Profile::Heap, false),
            ("/root/.ssh/id_ed25519", Profile::Cpu, false),
            ("ostler-1-2.cpuprofile", Profile::Cpu, false),
            ("/tmp/ostler-1-2.cpuprofile/..", Profile::Cpu, false),
            ("/tmp/ostler--.cpuprofile", Profile::Cpu, false),
            ("/tmp/ostler-1-2x.cpuprofile", Profile::Cpu, false),
            ("/tmp/ostler-1-2cpuprofile", Profile::Cpu, false),
            ("/", Profile::Cpu, false),
            ("", Profile::Cpu, false),
        ] {
            assert_eq!(parts(Path::new(told), kind).is_some(), works, "{told}");
        }
    }

    #[test]
    fn what_is_no_plain_file_of_its_own_stays() {
        let folder = std::env::temp_dir().join(format!("ostler-take-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let (from, to, secret) = (folder.join("ostler-1-2.cpuprofile"), folder.join("to"), folder.join("secret"));
        let take = || take_over(&from, Profile::Cpu, 0, &to);
        std::fs::write(&secret, "secret").unwrap();
        assert!(matches!(take(), Err(TakeError::Read { .. })));
        std::os::unix::fs::symlink(&secret, &from).unwrap();
        assert!(matches!(take(), Err(TakeError::Read { .. })));
        std::fs::remove_file(&from).unwrap();
        std::fs::hard_link(&secret, &from).unwrap();
        assert!(matches!(take(), Err(TakeError::Foreign(_))));
        std::fs::remove_file(&from).unwrap();
        std::fs::create_dir(&from).unwrap();
        assert!(matches!(take(), Err(TakeError::Foreign(_))));
        std::fs::remove_dir(&from).unwrap();
        // A pipe that nobody writes to does not hold us.
        rustix::fs::mknodat(rustix::fs::CWD, &from, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(matches!(take(), Err(TakeError::Foreign(_))));
        std::fs::remove_file(&from).unwrap();
        let file = File::create(&from).unwrap();
        file.set_len(LARGEST + 1).unwrap();
        assert!(matches!(take(), Err(TakeError::TooLarge(_))) && from.exists() && !to.exists());
        file.set_len(0).unwrap();
        std::fs::write(&from, "{}").unwrap();
        assert_eq!(take().unwrap(), 2);
        assert!(!from.exists() && std::fs::read_to_string(&to).unwrap() == "{}" && std::fs::read_to_string(&secret).unwrap() == "secret");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
