//! Copy of a log file: the calls that fill it, and the search for the writers of the file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use ostler_sys::process::descriptors::has_open_for_writing;
use ostler_sys::{ProcRef, ProcTable};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{FileKey, ReclaimFailure};
use crate::platform::rights::Rights;

/// Bytes that are left to copy while the writers are stopped.
const LITTLE: u64 = 64 << 10;
/// Most rounds of copying, because a writer may be faster than the copy.
const ROUNDS: usize = 32;
/// Most attempts to stop writers before the file is left unchanged. A process that waits for a busy
/// disk or processor does not stop at once.
const TRIES: u32 = 4;
/// Bytes per call, so that no call takes long.
const AT_ONCE: usize = 16 << 20;
/// Bytes of a disk that a copy leaves free; less on a small disk.
const LEFT: u64 = 16 << 20;

/// Order to copy a file.
#[derive(Clone, Debug)]
pub(crate) struct CopyOrder {
    /// Number of the reclaim.
    pub id: u32,
    /// Present path of the file.
    pub source: String,
    /// Path of the copy.
    pub copy: String,
    /// Path to which the file returns.
    pub target: String,
    /// Identity of the file.
    pub file: FileKey,
    /// Folder that the paths may not leave, if any.
    #[expect(dead_code, reason = "held open while the paths are used")]
    pub folder: Option<Arc<super::Folder>>,
    /// Rights with which the paths are accessed.
    pub rights: Rights,
}

/// Nearly complete copy.
#[derive(Debug)]
pub(crate) struct Copied {
    /// The file itself.
    pub source: File,
    /// The copy.
    pub copy: File,
    /// Length of the copied part of the file.
    pub length: u64,
    /// All processes at the time of the search for writers.
    pub processes: Vec<ProcRef>,
    /// Processes that had the file open for writing, of any app or of none.
    pub writers: Vec<ProcRef>,
    /// Other file that was at the path at that time.
    pub new_file: Option<FileKey>,
    /// True if a process had that other file open for writing.
    pub is_new_file_written: bool,
    /// Order of this copy.
    pub(super) order: CopyOrder,
    /// Number of attempts in which a writer did not stop.
    pub(super) tries: u32,
}

impl Copied {
    /// Returns true if another attempt makes sense. The number of attempts is limited, and the file
    /// must not have been truncated.
    pub(super) fn may_try_again(&mut self) -> bool {
        self.tries += 1;
        self.tries < TRIES && self.source.metadata().is_ok_and(|meta| meta.len() >= self.length)
    }

    pub(super) fn chase(&mut self) -> Result<(), ReclaimFailure> {
        chase(&self.source, &self.copy, &mut self.length).map_err(ReclaimFailure::system("write", &self.order.copy))
    }

    /// Copies new bytes and searches for writers again. Otherwise newer processes would be searched
    /// while all writers are stopped.
    pub(super) fn catch_up(&mut self) -> Result<(), ReclaimFailure> {
        let WriterSearch { processes: looked_at, writers, new_file: beside, is_new_file_written: is_beside_written } =
            find_writers(&self.order);
        (self.processes, self.writers, self.new_file, self.is_new_file_written) = (looked_at, writers, beside, is_beside_written);
        self.chase()
    }
}

/// Gate that is shut if true. No copy begins then, and nothing is removed from a file.
pub(super) type Gate = Arc<Mutex<bool>>;

/// Removes a copy that is not needed.
pub(super) fn remove(rights: &Rights, copy: &str) {
    // The copy is hidden and belongs to us alone. If it cannot be removed, it stays.
    let _ = rights.act(|| std::fs::remove_file(copy));
}

/// Opens the file if it is still the same one.
pub(super) fn open_source(rights: &Rights, path: &Path, file: FileKey) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let source = rights.act(|| OpenOptions::new().read(true).write(true).custom_flags(flags.bits().cast_signed()).open(path))?;
    let meta = source.metadata()?;
    if (meta.dev(), meta.ino()) == file && meta.is_file() { Ok(source) } else { Err(Errno::STALE.into()) }
}

/// Copies new bytes until little is left.
pub(super) fn chase(source: &File, copy: &File, length: &mut u64) -> io::Result<()> {
    for _ in 0..ROUNDS {
        let before = *length;
        copy_on(source, copy, length)?;
        if *length - before <= LITTLE {
            break;
        }
    }
    Ok(())
}

/// Copies the bytes that the file has beyond `length` at this moment.
pub(super) fn copy_on(source: &File, copy: &File, length: &mut u64) -> io::Result<()> {
    let end = source.metadata()?.len();
    while *length < end {
        let wanted = usize::try_from(end - *length).unwrap_or(AT_ONCE).min(AT_ONCE);
        leave_room(copy, wanted as u64)?;
        let (mut from, mut to) = (*length, *length);
        match rustix::fs::copy_file_range(source, Some(&mut from), copy, Some(&mut to), wanted) {
            // The file is shorter than a moment ago: another process truncates it.
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => *length += count as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => {
                move_bytes(source, *length, copy, *length, end - *length)?;
                *length = end;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Fails if a copy of this many bytes would nearly fill the disk. A copy must not take the last
/// space from programs that write there.
fn leave_room(copy: &File, bytes: u64) -> io::Result<()> {
    // If the file system does not report its size, the write itself will fail.
    let Ok(disk) = rustix::fs::fstatvfs(copy) else { return Ok(()) };
    let free = if rustix::process::geteuid().is_root() { disk.f_bfree } else { disk.f_bavail };
    let left = LEFT.min(disk.f_blocks.saturating_mul(disk.f_frsize) / 16);
    if free.saturating_mul(disk.f_frsize) < bytes.saturating_add(left) { Err(Errno::NOSPC.into()) } else { Ok(()) }
}

/// Copies bytes; within one file only towards its beginning.
pub(super) fn move_bytes(from: &File, mut at: u64, into: &File, mut to: u64, mut count: u64) -> io::Result<()> {
    let mut buffer = vec![0; 128 << 10];
    while count > 0 {
        let wanted = usize::try_from(count).unwrap_or(usize::MAX).min(buffer.len());
        let got = match from.read_at(&mut buffer[..wanted], at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        into.write_all_at(&buffer[..got], to)?;
        at += got as u64;
        to += got as u64;
        count -= got as u64;
    }
    Ok(())
}

/// Result of a search through all processes.
pub(super) struct WriterSearch {
    pub processes: Vec<ProcRef>,
    pub writers: Vec<ProcRef>,
    pub new_file: Option<FileKey>,
    pub is_new_file_written: bool,
}

/// Returns all processes that have the file open for writing. Processes of other users may not be
/// inspected.
pub(super) fn find_writers(order: &CopyOrder) -> WriterSearch {
    let (_, meta) = super::inspect_path(Path::new(&order.target), order.file);
    let other_file = meta.map(|meta| (meta.dev(), meta.ino())).filter(|key| *key != order.file);
    let table = ProcTable::scan();
    let looked_at: Vec<ProcRef> = table.entries().iter().map(ostler_sys::process::ProcessEntry::process).collect();
    let writes = |process: &&ProcRef, key| has_open_for_writing(process.pid, key).unwrap_or(false);
    let writers = looked_at.iter().filter(|process| writes(process, order.file)).copied().collect();
    let is_beside_written = other_file.is_some_and(|key| looked_at.iter().any(|process| writes(&process, key)));
    WriterSearch { processes: looked_at, writers, new_file: other_file, is_new_file_written: is_beside_written }
}
