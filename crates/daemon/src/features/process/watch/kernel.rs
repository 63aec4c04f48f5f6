//! Watches of the kernel: one inotify descriptor for everything that is watched, and who is interested in which of its watches.
//!
//! The same folder has one watch, however many apps watch it.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use ostler_sys::fs::inotify::{Inotify, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// Reason to watch a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// It is part of a watched tree.
    Tree {
        /// Number of the group.
        group: u32,
        /// Index of the folder in the tree.
        node: u32,
    },
    /// It leads to something that is watched.
    Way {
        /// Number of the group.
        group: u32,
        /// Index of its root.
        root: usize,
        /// Index of the step.
        step: usize,
    },
}

/// Events in a folder of a tree. Files count when they are written and closed: never half of one.
const IN_TREE: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);
/// Events of a name on the way: it appears or is removed.
const NAMED: WatchFlags = WatchFlags::CREATE.union(WatchFlags::DELETE).union(WatchFlags::MOVED_FROM).union(WatchFlags::MOVED_TO);
/// Events of the folder itself: it is removed.
const GOES: WatchFlags = WatchFlags::DELETE_SELF.union(WatchFlags::MOVE_SELF);

/// Wanted events of a folder on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All events.
    Tree,
    /// Its removal.
    Itself,
    /// That a name in it appears or is removed.
    Name,
    /// That, and writes to it.
    File,
}

impl Wanted {
    fn flags(self) -> WatchFlags {
        let flags = match self {
            Self::Tree => IN_TREE,
            Self::Itself => GOES,
            Self::Name => NAMED | GOES,
            Self::File => NAMED | GOES | WatchFlags::CLOSE_WRITE,
        };
        // Somebody else may want more of it.
        flags | WatchFlags::ONLYDIR | WatchFlags::EXCL_UNLINK | WatchFlags::MASK_ADD
    }
}

/// Descriptor and its watches.
#[derive(Debug)]
pub(super) struct Kernel {
    inotify: Option<Inotify>,
    interests: HashMap<i32, Vec<Interest>>,
    buffer: Vec<MaybeUninit<u8>>,
}

/// Reason why there is no watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAdded {
    /// A folder of the same tree is this one: a link leads in a circle, or it was moved.
    Alias(u32),
    /// The kernel refuses.
    Errno(Errno),
}

/// Events as they were read, in order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    events: Vec<(i32, ReadFlags, usize, usize)>,
    names: Vec<u8>,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Watch, event, and the name (empty: the folder itself).
    pub(super) fn get(&self, at: usize) -> Option<(i32, ReadFlags, &[u8])> {
        let (wd, flags, from, to) = *self.events.get(at)?;
        Some((wd, flags, self.names.get(from..to)?))
    }
}

impl Kernel {
    /// Watches with this descriptor; without one, nothing is ever reported.
    pub(super) fn new(inotify: Option<Inotify>) -> Self {
        Self { inotify, interests: HashMap::new(), buffer: Vec::new() }
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Watches a folder.
    ///
    /// # Errors
    /// [`Errno::NOSYS`] where there is no descriptor.
    pub(super) fn add(&mut self, path: &Path, wanted: Wanted, interest: Interest) -> Result<i32, NotAdded> {
        let inotify = self.inotify.as_ref().ok_or(NotAdded::Errno(Errno::NOSYS))?;
        let wd = inotify.watch(path, wanted.flags()).map_err(NotAdded::Errno)?;
        let interests = self.interests.entry(wd).or_default();
        let same_tree = |known: &Interest| match (known, interest) {
            (Interest::Tree { group, node }, Interest::Tree { group: own, .. }) if *group == own => Some(*node),
            _ => None,
        };
        if let Some(node) = interests.iter().find_map(same_tree) {
            return Err(NotAdded::Alias(node));
        }
        if !interests.contains(&interest) {
            interests.push(interest);
        }
        Ok(wd)
    }

    /// Removes a reason to watch.
    pub(super) fn release(&mut self, wd: i32, interest: Interest) {
        let Some(interests) = self.interests.get_mut(&wd) else { return };
        interests.retain(|known| *known != interest);
        if interests.is_empty() {
            self.interests.remove(&wd);
            self.forget(wd);
        }
    }

    /// Handles the end of a watch in the kernel.
    pub(super) fn ended(&mut self, wd: i32) -> Vec<Interest> {
        self.interests.remove(&wd).unwrap_or_default()
    }

    /// Interest in the watch; one after the other, because each may change this.
    pub(super) fn interest(&self, wd: i32, at: usize) -> Option<Interest> {
        self.interests.get(&wd)?.get(at).copied()
    }

    /// True for a watch of a former daemon that nobody needs.
    pub(super) fn is_stray(&self, wd: i32) -> bool {
        !self.interests.contains_key(&wd)
    }

    /// Ends a watch.
    pub(super) fn forget(&self, wd: i32) {
        if let Some(inotify) = &self.inotify {
            inotify.forget(wd);
        }
    }

    /// Reads what has happened since, as much as fits. False: there was nothing.
    pub(super) fn read(&mut self, batch: &mut Batch) -> bool {
        const BYTES: usize = 32 << 10;
        batch.events.clear();
        batch.names.clear();
        let Some(inotify) = &self.inotify else { return false };
        self.buffer.resize(BYTES, MaybeUninit::uninit());
        inotify.read_once(&mut self.buffer, |event| {
            let from = batch.names.len();
            batch.names.extend_from_slice(event.name);
            batch.events.push((event.watch, event.what, from, batch.names.len()));
        });
        if batch.events.is_empty() {
            // Nothing for a while, most likely.
            self.buffer = Vec::new();
            *batch = Batch::default();
        }
        !batch.events.is_empty()
    }
}
