//! Sends whose count outlives the sender.
//!
//! If the sender is killed between a `send` and a note of the sent bytes, the number is lost.
//! `sendmmsg` writes that number into memory before it returns, whatever signal is pending. Here
//! this memory is a memfd that other processes hold, too. A slot has two places for the number: one
//! is filled while the other counts. At every moment, the slot therefore shows either the state
//! before a send or the state after it.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::SendFlags;

/// Number of slots.
pub const SLOTS: usize = 64;
/// Number of words for the caller's use.
pub const WORDS: usize = 16;
/// Size in bytes of the memory that this module uses; the memory after it belongs to the caller.
pub const HEAD_BYTES: usize = SLOTS_AT + SLOTS * SLOT_BYTES;

const SLOTS_AT: usize = 4096;
const SLOT_BYTES: usize = 256;
/// Offsets of the two places in a slot. The slot's first word selects the place that counts (1 or
/// 2; 0 = the slot is free).
const PLACE_AT: [usize; 2] = [64, 160];
/// Offset of the header that the kernel writes to, after the byte count before the send.
const HEADER_AT: usize = 8;
const SENT_AT: usize = HEADER_AT + std::mem::offset_of!(libc::mmsghdr, msg_len);

const _: () = assert!(HEADER_AT + size_of::<libc::mmsghdr>() <= PLACE_AT[1] - PLACE_AT[0] && PLACE_AT[1] + 96 <= SLOT_BYTES);

/// Shared memory with counts.
#[derive(Debug)]
pub struct CountedSends {
    file: File,
    map: NonNull<u8>,
    /// Whether the system refuses `sendmmsg`. Then a short gap remains between a send and its
    /// count.
    is_refused: bool,
}

impl CountedSends {
    /// Creates new memory (CLOEXEC) without slots in use. The name is only for people.
    ///
    /// # Errors
    /// Returns the errors of a memfd and a mapping: `EMFILE`, `ENOMEM`, `ENOSPC`.
    pub fn create(name: &str) -> Result<Self, Errno> {
        let file = File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        // Allocate the pages now: a later failure could not be reported.
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, HEAD_BYTES as u64)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK)?;
        // SAFETY: a new mapping at an address of the kernel's choice; its file never gets shorter.
        let map =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), HEAD_BYTES, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0)? };
        let map = NonNull::new(map.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { file, map, is_refused: false })
    }

    /// Returns the memory as a file, for the caller's data after [`HEAD_BYTES`].
    pub const fn file(&self) -> &File {
        &self.file
    }

    fn at(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset.is_multiple_of(8) && offset + 8 <= HEAD_BYTES, "{offset} is no word of the head");
        // SAFETY: within the mapping (callers' offsets are constants and bounded numbers), aligned,
        // and lives as long as it.
        unsafe { AtomicU64::from_ptr(self.map.as_ptr().add(offset.min(HEAD_BYTES - 8)).cast()) }
    }

    /// Sets one of the caller's words. Earlier writes become visible before it.
    pub fn set_word(&mut self, index: usize, value: u64) {
        self.at(8 * index.min(WORDS - 1)).store(value, Ordering::SeqCst);
    }

    /// Takes a free slot and sets its byte count.
    pub fn open(&mut self, count: u64) -> Option<usize> {
        let slot = (0..SLOTS).find(|slot| self.at(slot_at(*slot)).load(Ordering::SeqCst) == 0)?;
        self.prepare(slot, 0, count);
        self.at(slot_at(slot)).store(1, Ordering::SeqCst);
        Some(slot)
    }

    /// Frees a slot.
    pub fn close(&mut self, slot: usize) {
        self.at(slot_at(slot)).store(0, Ordering::SeqCst);
    }

    /// Returns the byte count of a slot, or `None` if the slot is free.
    pub fn count(&self, slot: usize) -> Option<u64> {
        let at = self.counting(slot)?;
        Some(self.at(at).load(Ordering::SeqCst).saturating_add(u64::from(self.sent(at))))
    }

    fn counting(&self, slot: usize) -> Option<usize> {
        let place = usize::try_from(self.at(slot_at(slot)).load(Ordering::SeqCst)).ok()?.checked_sub(1)?;
        PLACE_AT.get(place).map(|at| slot_at(slot) + at)
    }

    fn header(&self, place: usize) -> *mut libc::mmsghdr {
        // SAFETY: a place is within the mapping with all of its header.
        unsafe { self.map.as_ptr().add(place.min(HEAD_BYTES - 96) + HEADER_AT).cast() }
    }

    fn sent(&self, place: usize) -> u32 {
        // SAFETY: the header is within the mapping and aligned; only the kernel writes to it,
        // during our own call.
        unsafe { (&raw const (*self.header(place)).msg_len).read_volatile() }
    }

    /// Fills the place that does not count at the moment.
    fn prepare(&self, slot: usize, place: usize, count: u64) {
        let at = slot_at(slot) + PLACE_AT[place & 1];
        self.at(at).store(count, Ordering::SeqCst);
        // SAFETY: as in `sent`; an all-zero header is an empty header.
        unsafe { self.header(at).write_volatile(std::mem::zeroed()) };
    }

    /// Sends as many bytes as the socket accepts now, and counts them for a slot. Never waits and
    /// never raises SIGPIPE.
    ///
    /// # Errors
    /// Returns the errors of `send(2)`, and `EINVAL` if the slot is free.
    pub fn send(&mut self, slot: usize, socket: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
        let (count, now) = self.count(slot).zip(self.counting(slot)).ok_or(Errno::INVAL)?;
        let next = usize::from(now == slot_at(slot) + PLACE_AT[0]);
        self.prepare(slot, next, count);
        let at = slot_at(slot) + PLACE_AT[next];
        let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // SAFETY: as in `sent`.
        unsafe {
            (&raw mut (*self.header(at)).msg_hdr.msg_iov).write_volatile(&raw mut part);
            (&raw mut (*self.header(at)).msg_hdr.msg_iovlen).write_volatile(1);
        }
        fence(Ordering::SeqCst);
        self.at(slot_at(slot)).store(next as u64 + 1, Ordering::SeqCst);
        if !self.is_refused {
            match self.send_prepared(at, socket.as_fd()) {
                Err(Errno::NOSYS | Errno::PERM) => self.is_refused = true,
                result => return result,
            }
        }
        let sent = rustix::net::send(&socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
        self.at(at).store(count.saturating_add(sent as u64), Ordering::SeqCst);
        Ok(sent)
    }

    fn send_prepared(&self, place: usize, socket: BorrowedFd<'_>) -> Result<usize, Errno> {
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        // A direct system call: musl's `sendmmsg` sends one message after the other and writes the
        // numbers itself.
        // SAFETY: one header, whose one part is alive and not written to; the kernel writes a
        // number to it.
        let sent = unsafe { libc::syscall(libc::SYS_sendmmsg, socket.as_raw_fd(), self.header(place), 1_u32, flags) };
        match sent {
            1 => Ok(self.sent(place) as usize),
            _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        }
    }
}

impl AsFd for CountedSends {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for CountedSends {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and no reference into it exists any more.
        let _ = unsafe { rustix::mm::munmap(self.map.as_ptr().cast(), HEAD_BYTES) };
    }
}

const fn slot_at(slot: usize) -> usize {
    SLOTS_AT + (if slot < SLOTS { slot } else { SLOTS - 1 }) * SLOT_BYTES
}

/// Returns one of the caller's words from the head of such memory.
pub fn word_of(head: &[u8], index: usize) -> u64 {
    word(head, 8 * index)
}

/// Returns the counts of all slots in use from the head of such memory.
pub fn counts_of(head: &[u8]) -> Vec<u64> {
    let count = |slot| {
        let place = usize::try_from(word(head, slot_at(slot))).ok()?.checked_sub(1)?;
        let at = slot_at(slot) + PLACE_AT.get(place)?;
        let sent = head.get(at + SENT_AT..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))?;
        Some(word(head, at).saturating_add(sent.into()))
    };
    (0..SLOTS).filter_map(count).collect()
}

fn word(head: &[u8], at: usize) -> u64 {
    head.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::FileExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn head(sends: &CountedSends) -> Vec<u8> {
        let mut head = vec![0; HEAD_BYTES];
        sends.file().read_exact_at(&mut head, 0).unwrap();
        head
    }

    #[test]
    fn sent_bytes_are_counted_in_shared_memory() {
        let mut sends = CountedSends::create("test").unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (first, second) = (sends.open(1000).unwrap(), sends.open(7).unwrap());
        assert_eq!(sends.send(first, &ours, b"hello").unwrap(), 5);
        assert_eq!(sends.send(first, &ours, b"!").unwrap(), 1);
        assert_eq!((counts_of(&head(&sends)), sends.count(first)), (vec![1006, 7], Some(1006)));
        let flood = vec![b'x'; 1 << 22];
        let mut all = 1006;
        let ended = std::iter::repeat_with(|| sends.send(first, &ours, &flood).map(|sent| all += sent as u64)).find(Result::is_err);
        assert_eq!(ended, Some(Err(Errno::AGAIN)));
        assert!(all > 1006 && counts_of(&head(&sends)) == [all, 7]);
        drop(theirs);
        assert_eq!(sends.send(first, &ours, b"x"), Err(Errno::PIPE));
        assert_eq!(counts_of(&head(&sends)), [all, 7]);
        sends.close(second);
        assert_eq!((counts_of(&head(&sends)), sends.send(second, &ours, b"x")), (vec![all], Err(Errno::INVAL)));
        sends.set_word(3, 4711);
        assert_eq!((word_of(&head(&sends), 3), sends.open(8)), (4711, Some(second)));
    }

    #[test]
    fn bytes_are_counted_after_the_send_without_sendmmsg() {
        let mut sends = CountedSends::create("test").unwrap();
        sends.is_refused = true;
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let slot = sends.open(10).unwrap();
        assert_eq!((sends.send(slot, &ours, b"abc"), sends.send(slot, &ours, b"d")), (Ok(3), Ok(1)));
        assert_eq!(counts_of(&head(&sends)), [14]);
    }

    #[test]
    fn invalid_head_has_no_counts() {
        assert_eq!((counts_of(&[]), word_of(&[], 3)), (vec![], 0));
        assert_eq!(counts_of(&vec![0xff; HEAD_BYTES]), []);
        assert_eq!(counts_of(&vec![1; HEAD_BYTES]), []);
    }
}
