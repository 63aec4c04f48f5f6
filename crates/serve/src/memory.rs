//! Small files in memory: content and headers, used while the file that a request has opened is the one that was read.
//!
//! Every request opens its file nevertheless: whether a path leads somewhere, and who may read what is there, is always the kernel's word. What is
//! spared is reading and describing it. Device, inode, size and times tell two contents apart, but for two cases. A file that is written twice
//! within a tick of the kernel's clock can look the same, so one that was changed just now is not held (`Found::is_at_rest`). And who writes
//! through a mapping, or from another machine, may leave the times as they were for a while, so nothing is used for longer than [`FRESH`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use hyper::header::HeaderValue;

use crate::conditions::Validators;
use crate::files::{Found, State};
use crate::kinds;

/// Most bytes of a file that is held.
pub(crate) const SMALL: u64 = 64 << 10;
/// Most bytes of all, with what it takes to find them.
const MOST: usize = 4 << 20;
/// What an entry takes beside its name and content, about.
const ENTRY: usize = 512;
/// How long content is used before it is read again.
const FRESH: Duration = Duration::from_secs(1);

/// What the headers say of a file.
#[derive(Debug)]
pub(crate) struct About {
    pub validators: Validators,
    pub etag: Option<HeaderValue>,
    pub modified: Option<HeaderValue>,
    pub kind: HeaderValue,
    pub encoding: Option<&'static str>,
}

impl About {
    /// Of the file that is asked for by this path, and sent in this encoding.
    pub(crate) fn new(path: &[u8], found: &Found, encoding: Option<&'static str>) -> Self {
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
struct Held {
    state: State,
    read: Instant,
    about: Rc<About>,
    content: Bytes,
}

/// Files that were asked for, by their paths below the root.
#[derive(Debug, Default)]
struct Shelf {
    files: HashMap<Vec<u8>, Held>,
    /// What all of them take.
    taken: usize,
}

/// What is held of small files.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    shelf: RefCell<Shelf>,
}

impl Memory {
    /// What is held of this file, if it is as it was.
    pub(crate) fn of(&self, path: &[u8], state: State, encoding: Option<&'static str>) -> Option<(Rc<About>, Bytes)> {
        self.at(Instant::now(), path, state, encoding)
    }

    fn at(&self, now: Instant, path: &[u8], state: State, encoding: Option<&'static str>) -> Option<(Rc<About>, Bytes)> {
        let shelf = self.shelf.borrow();
        let held = shelf.files.get(path).filter(|held| held.state == state && held.about.encoding == encoding)?;
        (now.duration_since(held.read) < FRESH).then(|| (Rc::clone(&held.about), held.content.clone()))
    }

    /// How many files are held.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.shelf.borrow().files.len()
    }

    /// Holds the content that was read of a file in this state, at rest.
    pub(crate) fn hold(&self, path: &[u8], state: State, about: &Rc<About>, content: &Bytes) {
        let shelf = &mut *self.shelf.borrow_mut();
        if let Some(before) = shelf.files.remove(path) {
            shelf.taken -= size(path, &before.content);
        }
        if shelf.taken + size(path, content) > MOST {
            // All at once: whoever asks for more files in turn than there is room for would find none otherwise.
            *shelf = Shelf::default();
        }
        shelf.taken += size(path, content);
        let (about, content) = (Rc::clone(about), content.clone());
        shelf.files.insert(path.to_vec(), Held { state, read: Instant::now(), about, content });
    }
}

fn size(path: &[u8], content: &Bytes) -> usize {
    path.len() + content.len() + ENTRY
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Root;

    /// A file, opened.
    fn found() -> Found {
        let program = std::env::current_exe().unwrap();
        let root = Root::new(program.parent().unwrap().to_owned(), true).unwrap();
        root.open(program.file_name().unwrap().as_encoded_bytes()).unwrap()
    }

    #[test]
    fn room_is_bounded() {
        let (memory, found) = (Memory::default(), found());
        let about = Rc::new(About::new(b"a", &found, None));
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
        // Names without content take room, too.
        for number in 0..100_000_u32 {
            memory.hold(&number.to_ne_bytes(), found.state(), &about, &Bytes::new());
        }
        assert!(memory.count() <= MOST / ENTRY, "{}", memory.count());
    }

    #[test]
    fn nothing_is_used_for_long() {
        let (memory, found) = (Memory::default(), found());
        let about = Rc::new(About::new(b"a", &found, None));
        memory.hold(b"a", found.state(), &about, &Bytes::from_static(b"x"));
        let read = memory.shelf.borrow().files[&b"a"[..]].read;
        for (after, is_used) in [(Duration::ZERO, true), (FRESH - Duration::from_nanos(1), true), (FRESH, false)] {
            assert_eq!(memory.at(read + after, b"a", found.state(), None).is_some(), is_used, "{after:?}");
        }
        assert!(memory.at(read, b"a", found.state(), Some("gzip")).is_none());
    }
}
