//! Bytes that may be a secret: no copy of them remains in freed memory.
//!
//! Every environment travels in this type, because values of `secrets` may exist only in the app's
//! process. It also overwrites the old memory when the list grows, which the `Drop` of a plain
//! `Vec` cannot reach.

use std::fmt;
use std::ops::Deref;
use std::os::fd::AsFd;

use rustix::io::Errno;
use zeroize::Zeroize;

/// Minimum number of bytes per read.
const READ_BYTES: usize = 256;

/// Bytes that are overwritten before their memory is freed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Creates an empty list with room for `count` bytes.
    pub fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// Appends one byte.
    pub fn push(&mut self, byte: u8) {
        self.extend_from_slice(&[byte]);
    }

    /// Appends bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// Keeps only the first `count` bytes.
    pub fn truncate(&mut self, count: usize) {
        if let Some(rest) = self.0.get_mut(count..) {
            rest.zeroize();
        }
        self.0.truncate(count);
    }

    /// Reads once and appends the bytes, up to `most` bytes in total. Returns the number of bytes
    /// read; 0 means the end, or that the list is full.
    ///
    /// # Errors
    /// Returns the error of the read; nothing is appended then. An interrupted read is repeated.
    pub fn read_from(&mut self, fd: impl AsFd, most: usize) -> Result<usize, Errno> {
        let before = self.0.len();
        let room = most.saturating_sub(before).min(READ_BYTES.max(self.0.capacity() - before));
        self.make_room(room);
        self.0.resize(before + room, 0);
        let got = loop {
            match rustix::io::read(&fd, self.0.get_mut(before..).unwrap_or_default()) {
                Err(Errno::INTR) => {}
                got => break got,
            }
        };
        self.0.truncate(before + got.unwrap_or(0));
        got
    }

    /// Reallocates by hand: a `Vec` that grows by itself would leave a copy behind.
    fn make_room(&mut self, more: usize) {
        let needed = self.0.len() + more;
        if needed > self.0.capacity() {
            let mut larger = Vec::with_capacity(needed.max(self.0.capacity() * 2));
            larger.extend_from_slice(&self.0);
            std::mem::replace(&mut self.0, larger).zeroize();
        }
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Deref for SecretBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for SecretBytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl<const N: usize> PartialEq<[u8; N]> for SecretBytes {
    fn eq(&self, other: &[u8; N]) -> bool {
        self.0 == other
    }
}

impl fmt::Debug for SecretBytes {
    /// Never shows the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Overwrites bytes in memory that is about to be reused.
pub fn wipe(bytes: &mut [u8]) {
    bytes.zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_bounded() {
        let (reader, writer) = crate::fd::pipe::pipe().unwrap();
        rustix::io::write(&writer, &[7; 5000]).unwrap();
        drop(writer);
        let mut bytes = SecretBytes::default();
        while bytes.read_from(&reader, 4000).unwrap() > 0 {}
        assert_eq!(*bytes, [7; 4000]);
        assert_eq!(bytes.read_from(&reader, 4000), Ok(0));
        while bytes.read_from(&reader, 10_000).unwrap() > 0 {}
        assert_eq!(*bytes, [7; 5000]);
    }

    #[test]
    fn failed_read_changes_nothing() {
        let (reader, _writer) = crate::fd::pipe::pipe().unwrap();
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        let mut bytes = SecretBytes::from(&b"abc"[..]);
        assert_eq!(bytes.read_from(&reader, 100), Err(Errno::AGAIN));
        assert_eq!(bytes, *b"abc");
        assert_eq!(format!("{bytes:?}"), "3 bytes");
    }

    #[test]
    fn wiped_bytes_grow_and_truncate_like_a_vec() {
        let (mut bytes, mut plain) = (SecretBytes::default(), Vec::new());
        for n in 0..200_u8 {
            let part = vec![n; usize::from(n) % 71];
            bytes.extend_from_slice(&part);
            bytes.push(n);
            plain.extend(part);
            plain.push(n);
            assert_eq!(*bytes, *plain);
        }
        for keep in [10_000, 3000, 1, 0] {
            bytes.truncate(keep);
            plain.truncate(keep);
            assert_eq!(*bytes, *plain);
        }
        assert_eq!(bytes, SecretBytes::default());
    }
}
