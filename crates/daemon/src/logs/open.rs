//! Opening of log files of any type.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ostler_core::app::LogSpec;
use ostler_core::logs::files::own_stream;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::reclaim::rename_to_free;
use crate::platform::rights::{FolderEntry, Rights};

/// Reason why a log file cannot be opened. The app cannot start with it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} log file \"{}\"{hint}", .path.display())]
pub(crate) struct OpenError {
    /// Path of the file.
    pub path: PathBuf,
    /// Failed step: `open`, `make the folder of`, `look at`.
    pub step: &'static str,
    /// Advice if the error text of the system is not enough.
    pub hint: String,
    /// Error of the system.
    #[source]
    pub source: io::Error,
}

impl OpenError {
    /// Returns the `errno`, or 0 if the error has none.
    pub(crate) fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(0)
    }
}

/// Stream of the runtime itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// Returns the stream of the runtime that this path names, as users write it in containers.
pub(crate) fn runtime_stream(path: &Path) -> Option<Stream> {
    match own_stream(path.to_str()?)? {
        1 => Some(Stream::Stdout),
        _ => Some(Stream::Stderr),
    }
}

/// Returns true if the path is PM2's notation for discarding output.
pub(crate) fn is_nowhere(path: &Path) -> bool {
    path == Path::new("/dev/null") || path == Path::new("NULL")
}

/// Returns true if the daemon must process each line, false if the app can write the files itself.
pub(crate) fn needs_pipe(logs: &LogSpec) -> bool {
    let nowhere = |file: &Option<String>| file.as_deref().is_some_and(|path| is_nowhere(Path::new(path)));
    let somewhere = logs.log_file.is_some() || !(nowhere(&logs.out_file) && nowhere(&logs.error_file));
    let each_line = logs.json || logs.log_file.is_some() || logs.date_format.as_ref().is_some_and(|format| !format.is_empty());
    !logs.disable_logs && somewhere && each_line
}

/// Folder of log files, and the runtime's own streams as they were at its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogTargets<'a> {
    /// Home: everything below it is for the owner only.
    pub home: &'a Path,
    /// Rights of the app.
    pub rights: &'a Rights,
    /// The original standard output, if it was kept.
    pub stdout: Option<BorrowedFd<'a>>,
    /// The original standard error, if it was kept.
    pub stderr: Option<BorrowedFd<'a>>,
}

/// Open log file.
#[derive(Debug)]
pub(crate) struct OpenedLog {
    /// The file.
    pub file: File,
    /// New name of root's file that was at the path, in a folder of the app's user.
    pub aside: Option<PathBuf>,
}

impl From<File> for OpenedLog {
    fn from(file: File) -> Self {
        Self { file, aside: None }
    }
}

impl LogTargets<'_> {
    /// Opens a file for appending. Creates it if it is missing (0600 below the home, otherwise
    /// 0640), and missing folders, too (0700, otherwise 0755). Never blocks, neither on a FIFO
    /// without a reader nor on a terminal.
    ///
    /// # Errors
    ///
    /// Returns the failed step and the system's error; nothing was started yet.
    pub(crate) fn open(&self, path: &Path) -> Result<OpenedLog, OpenError> {
        let fail = |step| move |source| OpenError { path: path.to_owned(), step, hint: String::new(), source };
        if is_nowhere(path) {
            return OpenOptions::new().write(true).open("/dev/null").map(OpenedLog::from).map_err(fail("open"));
        }
        if let Some(kept) = self.original_stream(path) {
            return kept.try_clone_to_owned().map(|fd| File::from(fd).into()).map_err(fail("open"));
        }
        let private = path.starts_with(self.home);
        if !self.rights.is_daemon_user() && runtime_stream(path).is_none() {
            return self.open_with_rights(path, private);
        }
        let opened = match open_without_waiting(path, private) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_folder(path, private).map_err(fail("create the folder of"))?;
                open_without_waiting(path, private)
            }
            other => other,
        };
        opened.map(OpenedLog::from).map_err(fail("open"))
    }

    /// Opens a file for an app of another user.
    fn open_with_rights(&self, path: &Path, private: bool) -> Result<OpenedLog, OpenError> {
        let opened = self.append(path, private).or_else(|error| {
            // Another manager that ran as root may have created the file in the user's own folder,
            // without access for that user.
            if error.kind() != io::ErrorKind::PermissionDenied {
                return Err(error);
            }
            let aside = self.rights.entry(path)?.and_then(|entry| set_aside(&entry)).ok_or(error)?;
            Ok(OpenedLog { aside: Some(aside), ..self.append(path, private)? })
        });
        opened.map_err(|source| {
            let user = self.rights.user().map_or(0, |user| user.uid);
            let hint = match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    format!(" as uid {user}: make that user the owner of the file and its folder (chown {user})")
                }
                _ => String::new(),
            };
            OpenError { path: path.to_owned(), step: "open", hint, source }
        })
    }

    fn append(&self, path: &Path, private: bool) -> io::Result<OpenedLog> {
        let (mode, folders) = modes(private);
        let open = |access: OFlags| -> io::Result<File> {
            let opened = self.rights.open(path, access | OFlags::APPEND | OFlags::CREATE, mode, Some(folders))?;
            opened.map(|(file, _)| file).ok_or_else(|| io::ErrorKind::NotFound.into())
        };
        let file = match open(OFlags::WRONLY) {
            // The FIFO has no reader.
            Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => open(OFlags::RDWR)?,
            opened => opened?,
        };
        waiting(file).map(OpenedLog::from)
    }

    /// Creates a folder that was removed.
    ///
    /// # Errors
    ///
    /// Returns the system's error.
    pub(crate) fn make(&self, folder: &Path) -> io::Result<()> {
        self.rights.make_folder(folder, modes(folder.starts_with(self.home)).1)
    }

    fn make_folder(&self, path: &Path, private: bool) -> io::Result<()> {
        path.parent().map_or(Ok(()), |folder| self.rights.make_folder(folder, modes(private).1))
    }

    fn original_stream(&self, path: &Path) -> Option<BorrowedFd<'_>> {
        match runtime_stream(path)? {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }
}

/// Returns the modes of files and folders.
fn modes(private: bool) -> (u32, u32) {
    if private { (0o600, 0o700) } else { (0o640, 0o755) }
}

/// Renames root's file, with the rights of the user who owns the folder. Nothing is lost, and the
/// daemon does nothing that this user could not do. Returns the new path, or `None` if that fails.
fn set_aside(entry: &FolderEntry) -> Option<PathBuf> {
    let rights = entry.rights();
    let stat = entry.act(|folder, name| Ok(rustix::fs::statat(folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?)).ok()?;
    let is_ours = stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw();
    if rights.is_daemon_user() || !is_ours || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let from = entry.through();
    for again in 0..MOST_ASIDE {
        let suffix = if again == 0 { ".root-owned".to_owned() } else { format!(".root-owned-{again}") };
        let neighbor = |path: &Path| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(&suffix);
            path.with_file_name(name)
        };
        match rights.act(|| rename_to_free(&from, neighbor(&from))) {
            Ok(()) => return Some(neighbor(entry.path())),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(_) => return None,
        }
    }
    None
}

/// Most names that are tried.
const MOST_ASIDE: u32 = 100;

fn open_without_waiting(path: &Path, private: bool) -> io::Result<File> {
    let file = match open_nonblocking(path, private, false) {
        // The FIFO has no reader yet. A descriptor with both ends keeps the bytes in the pipe until
        // a reader opens it.
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) && is_fifo(path) => open_nonblocking(path, private, true)?,
        other => other?,
    };
    waiting(file)
}

/// Returns the file, opened for appending, in blocking mode, which the app expects.
fn waiting(file: File) -> io::Result<File> {
    rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(file)
}

fn open_nonblocking(path: &Path, private: bool, both_ends: bool) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let (mode, _) = modes(private);
    OpenOptions::new().append(true).create(true).read(both_ends).mode(mode).custom_flags(flags.bits().cast_signed()).open(path)
}

fn is_fifo(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
}

/// Returns device and inode of an open file, and whether it is a regular file.
pub(super) fn identity(file: &File) -> io::Result<((u64, u64), bool)> {
    let meta = file.metadata()?;
    Ok(((meta.dev(), meta.ino()), meta.file_type().is_file()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;

    use ostler_core::app::CombinedLog;

    use super::super::testing::Folder;
    use super::*;
    use crate::platform::rights::OURS;

    fn places(home: &Path) -> LogTargets<'_> {
        LogTargets { home, rights: &OURS, stdout: None, stderr: None }
    }

    #[test]
    fn folders_and_files_are_created_private_to_the_owner() {
        let folder = Folder::new("open");
        let home = folder.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let inside = home.join("logs/deep/app-out.log");
        places(&home).open(&inside).unwrap().file.write_all(b"a").unwrap();
        assert_eq!((mode(&inside), mode(&home.join("logs/deep"))), (0o600, 0o700));
        let outside = folder.path().join("var/app.log");
        places(&home).open(&outside).unwrap();
        assert_eq!(mode(&outside) & 0o027, 0, "nothing for others, no writing for the group");
        // After it is opened again, writing continues at the end.
        places(&home).open(&inside).unwrap().file.write_all(b"b").unwrap();
        assert_eq!(std::fs::read(&inside).unwrap(), b"ab");
    }

    #[test]
    fn errors_name_path_step_and_errno() {
        let folder = Folder::new("open-errors");
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let cases = [
            (folder.path().to_owned(), "open", rustix::io::Errno::ISDIR),
            (file.join("below/x.log"), "open", rustix::io::Errno::NOTDIR),
            (PathBuf::from("/proc/no/such.log"), "create the folder of", rustix::io::Errno::NOENT),
        ];
        for (path, step, errno) in cases {
            let error = places(Path::new("/nowhere")).open(&path).unwrap_err();
            assert_eq!((&error.path, error.step, error.errno()), (&path, step, errno.raw_os_error()));
            assert!(error.to_string().contains(path.to_str().unwrap()));
        }
    }

    #[test]
    fn fifo_without_a_reader_does_not_block() {
        let folder = Folder::new("open-fifo");
        let path = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let mut file = places(Path::new("/nowhere")).open(&path).unwrap().file;
        file.write_all(b"early").unwrap();
        let mut seen = [0; 5];
        File::open(&path).unwrap().read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"early");
    }

    #[test]
    fn links_to_files_are_followed() {
        let folder = Folder::new("open-link");
        std::os::unix::fs::symlink(folder.path().join("real.log"), folder.path().join("link.log")).unwrap();
        places(Path::new("/nowhere")).open(&folder.path().join("link.log")).unwrap().file.write_all(b"x").unwrap();
        assert_eq!(std::fs::read(folder.path().join("real.log")).unwrap(), b"x");
    }

    #[test]
    fn kept_runtime_streams_are_used_for_stdout_paths() {
        let folder = Folder::new("open-stdout");
        let kept = File::create(folder.path().join("stdout")).unwrap();
        let places = LogTargets { home: Path::new("/nowhere"), rights: &OURS, stdout: Some(std::os::fd::AsFd::as_fd(&kept)), stderr: None };
        for path in ["/dev/stdout", "/proc/1/fd/1", "/proc/self/fd/1", "/dev/fd/1"] {
            places.open(Path::new(path)).unwrap().file.write_all(b"x").unwrap();
        }
        places.open(Path::new("NULL")).unwrap().file.write_all(b"gone").unwrap();
        assert_eq!(std::fs::read(folder.path().join("stdout")).unwrap(), b"xxxx");
        assert!(!Path::new("NULL").exists());
    }

    #[test]
    fn pipe_is_needed_only_if_lines_are_processed() {
        let plain = LogSpec::default();
        let json = LogSpec { json: true, ..plain.clone() };
        let null = Some("/dev/null".to_owned());
        let cases = [
            (plain.clone(), false),
            (json.clone(), true),
            (LogSpec { date_format: Some("YYYY".into()), ..plain.clone() }, true),
            (LogSpec { date_format: Some(String::new()), ..plain.clone() }, false),
            (LogSpec { log_file: Some(CombinedLog::Default), ..plain.clone() }, true),
            (LogSpec { disable_logs: true, ..json.clone() }, false),
            (LogSpec { out_file: null.clone(), error_file: null.clone(), ..json.clone() }, false),
            (LogSpec { out_file: null.clone(), error_file: null, log_file: Some(CombinedLog::Default), ..json }, true),
        ];
        for (spec, expected) in cases {
            assert_eq!(needs_pipe(&spec), expected, "{spec:?}");
        }
    }
}
