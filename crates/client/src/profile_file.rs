//! Profile files that the preload of a Node app writes and reports to us.
//!
//! The app may be hostile and report any path. So the file is opened, read and removed with the
//! rights of the app's user. It also has to be a regular file of that user, with a name as the
//! preload chooses it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ostler_core::message;
use ostler_proto::control::Profile;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, openat, openat2, unlinkat};
use rustix::io::Errno;

use crate::app_rights::AppRights;

/// Reason why a profile file is rejected.
#[derive(Debug, thiserror::Error)]
pub enum ProfileFileError {
    /// The preload does not choose such names.
    #[error("{}", message!("the app reported \"{path}\", which is not a profile", path = _0.display()))]
    Name(PathBuf),
    /// The file is missing, or the app's user may not read it.
    #[error("{}", message!("cannot move \"{path}\": {source}", path = path.display(), source))]
    Read {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file belongs to another user, has another name, or is not a regular file.
    #[error("{}", message!("\"{path}\" is not a regular file of the app's user", path = _0.display()))]
    Foreign(PathBuf),
    /// The file is too large, and stays in the app's folder.
    #[error("{}", message!("\"{path}\" is larger than {most} MiB and is not moved", path = path.display(), most = most_mib))]
    TooLarge {
        /// Its path.
        path: PathBuf,
        /// The limit.
        most_mib: u64,
    },
    /// The copy cannot be written.
    #[error("{}", message!("cannot write the copy: {reason}", reason = _0))]
    Write(io::Error),
}

/// Returns the file extension for this kind of profile.
pub fn extension(kind: Profile) -> &'static str {
    match kind {
        Profile::Cpu => "cpuprofile",
        Profile::Memory => "heapprofile",
        Profile::Heap => "heapsnapshot",
    }
}

/// Copies the profile file that an app reports, and removes it. Returns the number of bytes.
///
/// # Errors
/// Returns [`ProfileFileError`]. The app's file stays then, and the caller has to remove `to`.
pub fn take_over(named: &Path, kind: Profile, rights: &AppRights, to: &mut File, most_bytes: u64) -> Result<u64, ProfileFileError> {
    let (folder, name) = parts(named, kind).ok_or_else(|| ProfileFileError::Name(named.to_owned()))?;
    let read_error = |source| ProfileFileError::Read { path: named.to_owned(), source };
    let too_large = || ProfileFileError::TooLarge { path: named.to_owned(), most_mib: most_bytes >> 20 };
    // The folder stays open: check, read and removal use the same folder, even if its path changes.
    let (folder, mut from) = rights.act(|| open(folder, name)).map_err(read_error)?;
    let meta = from.metadata().map_err(read_error)?;
    if !meta.is_file() || meta.nlink() != 1 || meta.uid() != rights.uid() {
        return Err(ProfileFileError::Foreign(named.to_owned()));
    }
    if meta.len() > most_bytes {
        return Err(too_large());
    }
    let bytes = io::copy(&mut (&mut from).take(most_bytes + 1), to).map_err(ProfileFileError::Write)?;
    if bytes > most_bytes {
        return Err(too_large());
    }
    // If the app has replaced its file since then, this removes the new one. Its user could have
    // removed it as well.
    let _ = rights.act(|| Ok(unlinkat(&folder, name, AtFlags::empty())?));
    Ok(bytes)
}

/// Opens the folder and the file in it. Does not wait for a FIFO, and follows no link at the end of
/// the path.
fn open(folder: &Path, name: &str) -> io::Result<(OwnedFd, File)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Links in `/proc/self/fd` lead to open files of this process, without a check of the parent
    // folders.
    let folder = match openat2(CWD, folder, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
        // The kernel is older than 5.6, or a sandbox refuses the call.
        Err(Errno::NOSYS | Errno::PERM) if !folder.starts_with("/proc") => openat(CWD, folder, flags, Mode::empty())?,
        opened => opened?,
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(&folder, name, flags, Mode::empty())?;
    Ok((folder, file.into()))
}

/// Returns folder and name of a path that the preload may have chosen:
/// `ostler-<pid>-<ms>.<extension>`.
fn parts(named: &Path, kind: Profile) -> Option<(&Path, &str)> {
    let (folder, name) = (named.parent()?, named.file_name()?.to_str()?);
    let numbers = name.strip_prefix("ostler-")?.strip_suffix(extension(kind))?.strip_suffix('.')?;
    let (pid, at) = numbers.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    (named.is_absolute() && is_number(pid) && is_number(at)).then_some((folder, name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;
    use ostler_core::app::AppSpec;

    const MOST: u64 = 1 << 20;
    const USER: u32 = 54_321;

    #[test]
    fn only_profile_names_of_the_preload_are_accepted() {
        for (named, kind, works) in [
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
            assert_eq!(parts(Path::new(named), kind).is_some(), works, "{named}");
        }
    }

    struct Scene {
        folder: PathBuf,
        from: PathBuf,
        copy: PathBuf,
    }

    impl Scene {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("ostler-profile-file-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
            let (from, copy) = (folder.join("ostler-1-2.cpuprofile"), folder.join("copy"));
            Self { folder, from, copy }
        }

        fn take(&self, named: &Path, rights: &AppRights) -> Result<u64, ProfileFileError> {
            take_over(named, Profile::Cpu, rights, &mut File::create(&self.copy).unwrap(), MOST)
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    #[test]
    fn profile_that_is_not_a_regular_file_is_left_in_place() {
        let scene = Scene::new("plain");
        let (from, secret) = (&scene.from, scene.folder.join("secret"));
        let take = || scene.take(from, &AppRights::default());
        std::fs::write(&secret, "secret").unwrap();
        assert!(matches!(take(), Err(ProfileFileError::Read { .. })));
        symlink(&secret, from).unwrap();
        assert!(matches!(take(), Err(ProfileFileError::Read { .. })));
        std::fs::remove_file(from).unwrap();
        std::fs::hard_link(&secret, from).unwrap();
        assert!(matches!(take(), Err(ProfileFileError::Foreign(_))));
        std::fs::remove_file(from).unwrap();
        std::fs::create_dir(from).unwrap();
        assert!(matches!(take(), Err(ProfileFileError::Foreign(_))));
        std::fs::remove_dir(from).unwrap();
        rustix::fs::mknodat(CWD, from, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(matches!(take(), Err(ProfileFileError::Foreign(_))), "a fifo that nobody writes to");
        std::fs::remove_file(from).unwrap();
        File::create(from).unwrap().set_len(MOST + 1).unwrap();
        assert!(matches!(take(), Err(ProfileFileError::TooLarge { .. })) && from.exists());
        std::fs::write(from, "{}").unwrap();
        assert_eq!(take().unwrap(), 2);
        assert!(!from.exists() && std::fs::read_to_string(&scene.copy).unwrap() == "{}");
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
    }

    #[test]
    fn files_of_root_are_not_taken_for_an_app_user() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let scene = Scene::new("root");
        let spec = AppSpec { uid: Some(USER.to_string()), gid: Some(USER.to_string()), ..AppSpec::default() };
        let rights = AppRights::of(&spec, 0).unwrap();
        std::fs::write(&scene.from, "root's, and everybody may read it").unwrap();
        assert!(matches!(scene.take(&scene.from, &rights), Err(ProfileFileError::Foreign(_))));
        // The user's own file, but inside a folder of root's, and reached by a link that the user
        // created.
        let (private, theirs) = (scene.folder.join("private"), scene.folder.join("theirs"));
        for (folder, mode, owner) in [(&private, 0o700, 0), (&theirs, 0o755, USER)] {
            std::fs::create_dir(folder).unwrap();
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).unwrap();
            chown(folder, Some(owner), Some(owner)).unwrap();
        }
        let hidden = private.join("ostler-1-2.cpuprofile");
        std::fs::write(&hidden, "hidden").unwrap();
        chown(&hidden, Some(USER), Some(USER)).unwrap();
        symlink(&private, theirs.join("link")).unwrap();
        let held = File::open(&private).unwrap();
        let magic = format!("/proc/self/fd/{}/ostler-1-2.cpuprofile", std::os::fd::AsRawFd::as_raw_fd(&held));
        for named in [hidden.clone(), theirs.join("link/ostler-1-2.cpuprofile"), magic.into()] {
            assert!(matches!(scene.take(&named, &rights), Err(ProfileFileError::Read { .. })), "{}", named.display());
        }
        assert_eq!(std::fs::read_to_string(&hidden).unwrap(), "hidden");
        // The user's own file in the user's own folder.
        let own = theirs.join("ostler-1-2.cpuprofile");
        std::fs::write(&own, "own").unwrap();
        chown(&own, Some(USER), Some(USER)).unwrap();
        assert!(matches!(scene.take(&own, &AppRights::default()), Err(ProfileFileError::Foreign(_))), "an app of root");
        assert_eq!(scene.take(&own, &rights).unwrap(), 3);
        assert!(!own.exists());
    }
}
