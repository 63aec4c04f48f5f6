//! Removal of what is in the copy already, while the writers of the file go on, and the way back.
//!
//! To shorten a file, the kernel frees its blocks and its pages in memory one by one, with the file locked: some tenths of a millisecond per
//! megabyte where it is slow. So that nobody waits for all of it at once, nearly all is freed before, in slices that take a moment each. The
//! file keeps its length: to whoever reads it there it has zeros, until it is shortened.

use std::fs::File;
use std::io;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use super::Failure;
use super::copied::{Copied, Gate, move_bytes};

/// Bytes at the end that are not taken: quickly freed, and whoever follows the file is hardly ever so far behind.
const KEPT: u64 = 4 << 20;
/// Size below which a file is shortened at once.
pub(super) const MUCH: u64 = 2 * KEPT;
/// New bytes after a round below which no other round is worth it.
const ENOUGH: u64 = 1 << 20;
/// Most rounds: a writer that is faster than we are is not followed for ever.
const ROUNDS: usize = 16;
/// Alignment of what is freed: file systems free whole blocks; none has larger ones.
const ALIGNED: u64 = 64 << 10;
/// Bytes per call: at first, at least, at most.
const SLICE: (u64, u64, u64) = (1 << 20, ALIGNED, 8 << 20);
/// Longest time that a writer may wait for one call.
const MOMENT: Duration = Duration::from_millis(1);
/// Bytes that are put back by one step.
const STEP: u64 = 4 << 20;

impl Copied {
    /// True if it would take long to shorten the file.
    pub(crate) fn is_large(&self) -> bool {
        self.length > MUCH
    }
}

/// Removes from the file what is in the copy, and copies what comes meanwhile. That it may be so must be in the journal.
pub(super) fn empty(mut copied: Copied, gate: &Gate) -> Result<Copied, Failure> {
    // What is empty already costs nothing.
    let mut from = 0;
    for _ in 0..ROUNDS {
        let before = copied.length;
        let upto = before.saturating_sub(KEPT) / ALIGNED * ALIGNED;
        match free(&copied.source, &mut from, upto, gate) {
            Ok(true) => {}
            Ok(false) => return Err(Failure::NotWritten),
            // Not on this file system: then it takes as long as it takes.
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

/// Frees a part of the file in slices. False: no more is to be taken.
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
        // Whoever waited for the file comes first.
        std::thread::sleep(took.min(MOMENT * 5));
    }
    Ok(true)
}

/// Size of the next slice, after one that took so long.
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

/// Puts back what was taken; its writers may go on meanwhile. Can be repeated. What the file has by itself stays as it is, also if somebody
/// has emptied it and new lines came.
///
/// # Errors
/// No room. What is missing then is the beginning, and the copy has no more than that.
pub(super) fn put_back(source: &File, copy: &File) -> io::Result<()> {
    while let Some((begin, mut end)) = hole(source, copy.metadata()?.len())? {
        while begin < end {
            // From behind: so the copy has always one beginning of the file, and nothing twice.
            let at = end.saturating_sub(STEP).max(begin);
            if let Err(error) = move_bytes(copy, at, source, at, end - at) {
                // What got there of this step would be there twice.
                let _ = fallocate(source, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, end - at);
                copy.set_len(end)?;
                return Err(error);
            }
            end = at;
        }
    }
    Ok(())
}

/// First hole of the file before `length`.
fn hole(source: &File, length: u64) -> io::Result<Option<(u64, u64)>> {
    let length = length.min(source.metadata()?.len());
    let begin = match seek(source, SeekFrom::Hole(0)) {
        Ok(begin) if begin < length => begin,
        // Where there are no holes none was made.
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
    fn no_call_takes_long() {
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
