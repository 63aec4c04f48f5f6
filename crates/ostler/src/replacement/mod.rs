//! Replacement of this program's own file by another version: `update --from`.
//!
//! Theory of operation: the folder of the program is opened once and locked. Every later step uses
//! names relative to that descriptor, so no other user can exchange the folder. The given file is
//! copied to a new file beside the program. The checksum is computed over the copied bytes, so
//! exactly the verified bytes will run. The copy must answer `--version`. It then gets the
//! permissions and owner of the program, is flushed to disk, and takes the program's name by one
//! `rename`. The previous file keeps a second name until the daemon runs from the new one.

mod folder;
mod package;

use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ostler_core::message;
use ostler_core::text::language::translated;

use flate2::read::GzDecoder;
use sha2::{Digest as _, Sha256};

use folder::Folder;
use package::{CHECKSUM_FILE_MAX, HEAD, PackageForm, Version};

/// Largest program.
const MAX_BYTES: u64 = 256 << 20;
/// Most files in an archive.
const MAX_FILES: usize = 1000;
/// Name of the program in an archive, in any folder.
const PROGRAM: &str = "ostler";
/// Name of the file with checksums.
const CHECKSUM_FILE: &str = "SHA256SUMS";
/// Time within which a program has to print its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// File to install, with its conditions.
#[derive(Debug)]
pub(crate) struct ReplaceRequest<'a> {
    /// The file.
    pub(crate) from: &'a Path,
    /// Its checksum, 64 hexadecimal digits; none: the checksum from `SHA256SUMS` in the same
    /// folder.
    pub(crate) sha256: Option<&'a str>,
    /// Version of this program.
    pub(crate) ours: &'a str,
    /// Whether it may be older than this program.
    pub(crate) may_be_older: bool,
}

/// Reason why a program is rejected; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplaceError {
    /// The file is not acceptable.
    #[error("{}", message!("cannot install {path}: {why}", path = path.display(), why))]
    Refused {
        /// The file.
        path: PathBuf,
        /// The problem, and how to fix it.
        why: String,
    },
    /// The program's own folder cannot be used.
    #[error("{}", message!("cannot replace {path}: {why}", path = path.display(), why))]
    Place {
        /// The program.
        path: PathBuf,
        /// The obstacle.
        why: String,
    },
}

/// Reason why an update was undone: the daemon did not become the new program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpdateError {
    /// The previous program was restored, and its daemon runs.
    #[error("{}", message!("{why}; the previous program was restored at {path}; all apps keep running", why, path = path.display()))]
    PutBack {
        /// The fault of the new program.
        why: String,
        /// The program.
        path: PathBuf,
    },
    /// The previous program was restored, but its daemon does not respond.
    #[error("{}", message!("{why}; the previous program was restored at {path}, but its daemon does not respond: {also}", why, path = path.display(), also))]
    NoDaemon {
        /// The fault of the new program.
        why: String,
        /// The program.
        path: PathBuf,
        /// Error of the previous program.
        also: String,
    },
    /// The previous program could not be restored.
    #[error("{}", message!("{why}; cannot restore the previous program at {path}: {source}", why, path = path.display(), source))]
    NotPutBack {
        /// The fault of the new program.
        why: String,
        /// The program.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A replaced program, which can be restored.
#[derive(Debug)]
pub(crate) struct ReplacedProgram {
    folder: Folder,
    /// Path of the program.
    pub(crate) path: PathBuf,
    /// Version of the new program.
    pub(crate) version: String,
}

impl ReplacedProgram {
    /// Keeps the new program.
    pub(crate) fn keep(self) {
        self.folder.remove_previous();
    }

    /// Restores the previous program.
    ///
    /// # Errors
    /// Returns an error if it cannot be renamed. It still exists, under the name that the message
    /// gives.
    pub(crate) fn undo(self) -> io::Result<()> {
        self.folder.restore()
    }
}

/// Verifies the file and installs it as the program at this path.
///
/// # Errors
/// See [`ReplaceError`].
pub(crate) fn replace(program: &Path, request: &ReplaceRequest<'_>) -> Result<ReplacedProgram, ReplaceError> {
    let refused = |why: String| ReplaceError::Refused { path: request.from.to_owned(), why };
    let place = |why: String| ReplaceError::Place { path: program.to_owned(), why };
    let sum = expected_sum(request).map_err(refused)?;
    let folder = Folder::of(program).map_err(place)?;
    let mut copy = folder.create().map_err(|error| place(error.to_string()))?;
    let path = folder.path_of_new();
    let outcome = copy_verified(request.from, &mut copy, &sum)
        .and_then(|head| package::runs_here(&head, std::env::consts::ARCH))
        .map_err(refused)
        .and_then(|()| folder.finish(&copy).map_err(|error| place(error.to_string())))
        .and_then(|()| {
            // A file that is open for writing cannot be executed.
            drop(copy);
            version_of(&path).and_then(|version| is_new_enough(&version, request).map(|()| version)).map_err(refused)
        })
        .and_then(|version| folder.exchange().map(|()| version).map_err(|error| place(error.to_string())));
    match outcome {
        Ok(version) => Ok(ReplacedProgram { folder, path: program.to_owned(), version }),
        Err(error) => {
            folder.remove_new();
            Err(error)
        }
    }
}

/// Returns the checksum that the file must have.
fn expected_sum(request: &ReplaceRequest<'_>) -> Result<[u8; 32], String> {
    if let Some(text) = request.sha256 {
        return package::checksum(text).map_err(|why| message!("--sha256: {why}", why = translated(why)));
    }
    let Some(name) = request.from.file_name().and_then(|name| name.to_str()) else { return Err(message!("its name is not valid UTF-8")) };
    let list = request.from.with_file_name(CHECKSUM_FILE);
    let mut text = String::new();
    match File::open(&list).and_then(|file| file.take(CHECKSUM_FILE_MAX).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(message!("there is no {list} beside it; give its checksum with --sha256", list = CHECKSUM_FILE));
        }
        Err(error) => return Err(message!("cannot read {path}: {error}", path = list.display(), error)),
    }
    package::listed(&text, name)
        .ok_or_else(|| message!("{list} has no line for it; give its checksum with --sha256", list = list.display()))
}

/// Reader that adds the bytes to a checksum.
struct HashingReader<R> {
    inner: R,
    sum: Sha256,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.sum.update(&buffer[..count]);
        Ok(count)
    }
}

/// Copies the program from a plain file or an archive; returns its first bytes. The copy must not
/// be run before this function has returned.
fn copy_verified(from: &Path, to: &mut File, expected: &[u8; 32]) -> Result<[u8; HEAD], String> {
    let cannot = |error: io::Error| message!("cannot read it: {error}", error);
    let file = File::open(from).map_err(cannot)?;
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err(message!("it is not a regular file"));
    }
    let mut summed = HashingReader { inner: file.take(MAX_BYTES), sum: Sha256::new() };
    let mut begin = Vec::new();
    (&mut summed).take(HEAD as u64).read_to_end(&mut begin).map_err(cannot)?;
    let form = package::form(&begin).map_err(translated)?;
    let mut whole = io::Cursor::new(begin).chain(&mut summed);
    let head = match form {
        PackageForm::Plain => copy(&mut whole, to)?,
        PackageForm::Archive => unpack(GzDecoder::new(&mut whole).take(MAX_BYTES), to)?,
    };
    // Bytes after the archive are a part of the file, too.
    io::copy(&mut whole, &mut io::sink()).map_err(cannot)?;
    drop(whole);
    if summed.inner.limit() == 0 {
        return Err(message!("it is longer than {size} MB", size = MAX_BYTES >> 20));
    }
    if summed.sum.finalize().as_slice() != expected {
        return Err(message!("its SHA-256 does not match: the file is damaged or was modified"));
    }
    Ok(head)
}

/// Copies a program; returns its first bytes.
fn copy(from: &mut impl Read, to: &mut File) -> Result<[u8; HEAD], String> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head).map_err(|error| message!("cannot read it: {error}", error))?;
    to.write_all(&head).and_then(|()| io::copy(from, to)).map_err(|error| message!("cannot copy it: {error}", error))?;
    Ok(head)
}

/// Copies the program out of an archive.
fn unpack(archive: impl Read, to: &mut File) -> Result<[u8; HEAD], String> {
    let cannot = |error: io::Error| message!("cannot unpack it: {error}", error);
    let mut archive = tar::Archive::new(archive);
    for (count, entry) in archive.entries().map_err(cannot)?.enumerate() {
        let mut entry = entry.map_err(cannot)?;
        if count >= MAX_FILES {
            return Err(message!("it contains more than {most} files", most = MAX_FILES));
        }
        let is_program = entry.path().map_err(cannot)?.file_name().is_some_and(|name| name == PROGRAM);
        if is_program && entry.header().entry_type().is_file() {
            return copy(&mut entry, to);
        }
    }
    Err(message!("it contains no program `{name}`", name = PROGRAM))
}

/// Returns the program's output for `--version`. Its environment is empty, so that no variable of
/// the caller affects it.
fn version_of(program: &Path) -> Result<String, String> {
    let cannot = |error: io::Error| message!("it cannot be run: {error}", error);
    let mut child = Command::new(program)
        .arg0(PROGRAM)
        .arg("--version")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(cannot)?;
    let end = Instant::now() + VERSION_TIMEOUT;
    let status = loop {
        match child.try_wait().map_err(cannot)? {
            Some(status) => break status,
            None if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
            None => {
                // The child is not reaped yet, so the pid is still its own.
                let _ = child.kill();
                let _ = child.wait();
                return Err(message!("its `--version` did not finish within {seconds} s", seconds = VERSION_TIMEOUT.as_secs()));
            }
        }
    };
    let mut text = Vec::new();
    if let Some(mut out) = child.stdout.take() {
        // A process that the program left running may hold the pipe open, so only the bytes that
        // are already there are read.
        let _ = rustix::io::ioctl_fionbio(&out, true);
        let _ = (&mut out).take(256).read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    match Version::of(&text) {
        Some(_) if status.success() => Ok(text),
        _ => Err(message!("its `--version` is not that of ostler ({status})", status)),
    }
}

/// Checks whether this version may replace ours.
fn is_new_enough(version: &str, request: &ReplaceRequest<'_>) -> Result<(), String> {
    let order = Version::of(version).zip(Version::of(request.ours)).map(|(new, old)| new.compare(&old));
    match order {
        Some(Ordering::Less) if !request.may_be_older => {
            Err(message!("it is version {version}, older than {ours}; use --downgrade to install it anyway", version, ours = request.ours))
        }
        _ => Ok(()),
    }
}
