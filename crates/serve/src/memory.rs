//! Cache of small files: content and headers, used while the file on disk is unchanged.
//!
//! Every request still opens its file, so the kernel always decides whether the path exists and may
//! be read.
//! The cache saves only reading the file and computing its headers.
//! Device, inode, size and times distinguish two contents, except in two cases:
//! - A file that is written twice within one tick of the kernel's clock can look the same. Files
//!   that changed just now are therefore not cached (`OpenedFile::is_at_rest`).
//! - A write through a mapping or from another machine may leave the times unchanged for a while.
//!   Cached content is therefore used for at most [`FRESH`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use hyper::header::HeaderValue;

use crate::conditions::Validators;
use crate::files::{FileVersion, OpenedFile};
use crate::kinds;

/// Maximum size of a cached file in bytes.
pub(crate) const SMALL: u64 = 64 << 10;
/// Maximum size of the whole cache in bytes, including its index.
const MOST: usize = 4 << 20;
/// Approximate bytes that an entry takes in addition to its name and content.
const ENTRY: usize = 512;
/// Time for which cached content is used before it is read again.
const FRESH: Duration = Duration::from_secs(1);

/// Precomputed headers of a file.
#[derive(Debug)]
pub(crate) struct FileHeaders {
    pub validators: Validators,
    pub etag: Option<HeaderValue>,
    pub modified: Option<HeaderValue>,
    pub kind: HeaderValue,
    pub encoding: Option<&'static str>,
}

impl FileHeaders {
    /// Computes the headers of a file for the requested path and the encoding that is sent.
    pub(crate) fn new(path: &[u8], found: &OpenedFile, encoding: Option<&'static str>) -> Self {
        let validators = Validators::new(found.size, found.modified.0, found.modified.1, encoding.unwrap_or_default());
        Self {
            etag: HeaderValue::from_str(&validators.etag).ok(),
            modified: HeaderValue::from_str(&httpdate::fmt_http_date(validators.modified)).ok(),
            kind: HeaderValue::from_static(kinds::of(path)),
            validators,
            encoding,
        }
    }
}

#[derive(Debug)]
struct CachedFile {
    state: FileVersion,
    read: Instant,
    about: Rc<FileHeaders>,
    content: Bytes,
}

/// Cached files by their paths below the root.
#[derive(Debug, Default)]
struct FileCache {
    files: HashMap<Vec<u8>, CachedFile>,
    /// Bytes that all entries take.
    taken: usize,
}

/// Cache of small files.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    shelf: RefCell<FileCache>,
}

impl Memory {
    /// Returns the cached headers and content of this file, unless its state changed.
    pub(crate) fn of(&self, path: &[u8], state: FileVersion, encoding: Option<&'static str>) -> Option<(Rc<FileHeaders>, Bytes)> {
        self.at(Instant::now(), path, state, encoding)
    }

    fn at(&self, now: Instant, path: &[u8], state: FileVersion, encoding: Option<&'static str>) -> Option<(Rc<FileHeaders>, Bytes)> {
        let shelf = self.shelf.borrow();
        let held = shelf.files.get(path).filter(|held| held.state == state && held.about.encoding == encoding)?;
        (now.duration_since(held.read) < FRESH).then(|| (Rc::clone(&held.about), held.content.clone()))
    }

    /// Returns the number of cached files.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.shelf.borrow().files.len()
    }

    /// Caches the content that was read from a file at rest in this state.
    pub(crate) fn hold(&self, path: &[u8], state: FileVersion, about: &Rc<FileHeaders>, content: &Bytes) {
        let shelf = &mut *self.shelf.borrow_mut();
        if let Some(before) = shelf.files.remove(path) {
            shelf.taken -= size(path, &before.content);
        }
        if shelf.taken + size(path, content) > MOST {
            // Clears everything at once. If single entries were evicted, a client that requests
            // more files in turn than fit would never hit the cache.
            *shelf = FileCache::default();
        }
        shelf.taken += size(path, content);
        let (about, content) = (Rc::clone(about), content.clone());
        shelf.files.insert(path.to_vec(), CachedFile { state, read: Instant::now(), about, content });
    }
}

fn size(path: &[u8], content: &Bytes) -> usize {
    path.len() + content.len() + ENTRY
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Root;

    /// Opens some file.
    fn found() -> OpenedFile {
        let program = std::env::current_exe().unwrap();
        let root = Root::new(program.parent().unwrap().to_owned(), true).unwrap();
        root.open(program.file_name().unwrap().as_encoded_bytes()).unwrap()
    }

    #[test]
    fn cache_size_is_bounded() {
        let (memory, found) = (Memory::default(), found());
        let about = Rc::new(FileHeaders::new(b"a", &found, None));
        let content = Bytes::from(vec![0; 64 << 10]);
        let mut most = 0;
        for number in 0..500_u16 {
            for _ in 0..2 {
                memory.hold(&number.to_ne_bytes(), found.state(), &about, &content);
                assert!(memory.of(&number.to_ne_bytes(), found.state(), None).is_some());
            }
            let shelf = memory.shelf.borrow();
            let sum: usize = shelf.files.iter().map(|(path, held)| size(path, &held.content)).sum();
            assert_eq!(shelf.taken, sum);
            most = most.max(sum);
        }
        assert!(most <= MOST && most > MOST / 2, "{most}");
        // Names without content take space, too.
        for number in 0..100_000_u32 {
            memory.hold(&number.to_ne_bytes(), found.state(), &about, &Bytes::new());
        }
        assert!(memory.count() <= MOST / ENTRY, "{}", memory.count());
    }

    #[test]
    fn cached_entry_expires() {
        let (memory, found) = (Memory::default(), found());
        let about = Rc::new(FileHeaders::new(b"a", &found, None));
        memory.hold(b"a", found.state(), &about, &Bytes::from_static(b"x"));
        let read = memory.shelf.borrow().files[&b"a"[..]].read;
        for (after, is_used) in [(Duration::ZERO, true), (FRESH - Duration::from_nanos(1), true), (FRESH, false)] {
            assert_eq!(memory.at(read + after, b"a", found.state(), None).is_some(), is_used, "{after:?}");
        }
        assert!(memory.at(read, b"a", found.state(), Some("gzip")).is_none());
    }
}
