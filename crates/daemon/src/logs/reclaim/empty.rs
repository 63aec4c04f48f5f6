//! Removal of copied bytes while the writers of the file continue, and its undo.
//!
//! To truncate a file, the kernel frees its blocks and its pages in memory one by one, with the
//! file locked. On a slow file system that takes some tenths of a millisecond per megabyte. To
//! avoid a long stall, nearly all blocks are freed before, in slices that take a moment each. The
//! file keeps its length, and the freed part reads as zeros until the file is truncated.

use std::fs::File;
use std::io;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use super::ReclaimFailure;
use super::copy::{Copied, Gate, move_bytes};

/// Bytes at the end that are not freed. They are freed quickly later, and followers of the file are
/// seldom so far behind.
const KEPT: u64 = 4 << 20;
/// Size below which a file is truncated at once.
pub(super) const MUCH: u64 = 2 * KEPT;
/// Minimum of new bytes after a round that makes another round worthwhile.
const ENOUGH: u64 = 1 << 20;
/// Most rounds, because a writer may be faster than the copy.
const ROUNDS: usize = 16;
/// Alignment of freed ranges: file systems free whole blocks, and no file system has larger blocks.
const ALIGNED: u64 = 64 << 10;
/// Bytes per call: at first, at least, at most.
const SLICE: (u64, u64, u64) = (1 << 20, ALIGNED, 8 << 20);
/// Longest time that a writer may wait for one call.
const MOMENT: Duration = Duration::from_millis(1);
/// Bytes that one step puts back.
const STEP: u64 = 4 << 20;

impl Copied {
    /// Returns true if truncating the file would take long.
    pub(crate) fn is_large(&self) -> bool {
        self.length > MUCH
    }
}

/// Removes copied bytes from the file, and copies new bytes. The journal must record that before.
pub(super) fn empty(mut copied: Copied, gate: &Gate) -> Result<Copied, ReclaimFailure> {
    // A range that is empty already costs nothing.
    let mut from = 0;
    for _ in 0..ROUNDS {
        let before = copied.length;
        let upto = before.saturating_sub(KEPT) / ALIGNED * ALIGNED;
        match free(&copied.source, &mut from, upto, gate) {
            Ok(true) => {}
            Ok(false) => return Err(ReclaimFailure::NotWritten),
            // This file system cannot free ranges, so truncating takes its full time.
            Err(_) => break,
        }
        copied.chase()?;
        if copied.length - before <= ENOUGH {
            break;
        }
    }
    copied.catch_up()?;
    Ok(copied)
}

/// Frees a part of the file in slices. Returns false if the gate was shut.
fn free(source: &File, from: &mut u64, upto: u64, gate: &Gate) -> io::Result<bool> {
    let mut slice = SLICE.0;
    while *from < upto {
        let count = slice.min(upto - *from);
        let is_shut = gate.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_shut {
            return Ok(false);
        }
        let start = Instant::now();
        match fallocate(source, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, *from, count) {
            Ok(()) => *from += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let took = start.elapsed();
        drop(is_shut);
        slice = next_slice(slice, took);
        // Processes that waited for the file go first.
        std::thread::sleep(took.min(MOMENT * 5));
    }
    Ok(true)
}

/// Returns the size of the next slice, from the duration of the last one.
fn next_slice(slice: u64, took: Duration) -> u64 {
    let next = if took > MOMENT {
        slice / 2
    } else if took < MOMENT / 4 {
        slice * 2
    } else {
        slice
    };
    (next / ALIGNED * ALIGNED).clamp(SLICE.1, SLICE.2)
}

/// Puts removed bytes back; the writers may continue. Can be repeated. The file's own bytes stay
/// unchanged, even if the file was truncated and has new lines.
///
/// # Errors
///
/// Returns an error if the disk has no room. Then the beginning of the file is missing, and the
/// copy holds exactly that part.
pub(super) fn put_back(source: &File, copy: &File) -> io::Result<()> {
    while let Some((begin, mut end)) = hole(source, copy.metadata()?.len())? {
        while begin < end {
            // Working backwards, the copy always holds one beginning of the file, and no byte
            // exists twice.
            let at = end.saturating_sub(STEP).max(begin);
            if let Err(error) = move_bytes(copy, at, source, at, end - at) {
                // The part of this step that was written would otherwise exist twice.
                let _ = fallocate(source, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, end - at);
                copy.set_len(end)?;
                return Err(error);
            }
            end = at;
        }
    }
    Ok(())
}

/// Returns the first hole of the file before `length`.
fn hole(source: &File, length: u64) -> io::Result<Option<(u64, u64)>> {
    let length = length.min(source.metadata()?.len());
    let begin = match seek(source, SeekFrom::Hole(0)) {
        Ok(begin) if begin < length => begin,
        // A file system without holes has removed nothing.
        Ok(_) | Err(Errno::INVAL | Errno::NXIO | Errno::OPNOTSUPP) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let end = match seek(source, SeekFrom::Data(begin)) {
        Ok(end) => end.min(length),
        Err(Errno::NXIO) => length,
        Err(error) => return Err(error.into()),
    };
    Ok(Some((begin, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slice_size_adapts_to_the_duration_of_a_call() {
        let ms = Duration::from_millis;
        for (slice, took, expected) in [
            (1 << 20, ms(5), 512 << 10),
            (1 << 20, Duration::from_micros(500), 1 << 20),
            (1 << 20, Duration::ZERO, 2 << 20),
            (8 << 20, Duration::ZERO, 8 << 20),
            (64 << 10, ms(100), 64 << 10),
        ] {
            assert_eq!(next_slice(slice, took), expected, "{slice} {took:?}");
        }
    }
}
