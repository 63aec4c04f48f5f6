//! Watches of the kernel: one inotify descriptor for all watched folders, and the interests in each
//! watch.
//!
//! A folder has one watch, regardless of the number of apps that watch it.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use ostler_sys::fs::inotify::{Inotify, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// Reason to watch a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// The folder is part of a watched tree.
    Tree {
        /// Number of the group.
        group: u32,
        /// Index of the folder in the tree.
        node: u32,
    },
    /// The folder leads to a watched path.
    Way {
        /// Number of the group.
        group: u32,
        /// Index of its root.
        root: usize,
        /// Index of the step.
        step: usize,
    },
}

/// Events in a folder of a tree. A file counts when it is written and closed, so never
/// half-written.
const IN_TREE: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);
/// Events of a name on the way: it appears or disappears.
const NAMED: WatchFlags = WatchFlags::CREATE.union(WatchFlags::DELETE).union(WatchFlags::MOVED_FROM).union(WatchFlags::MOVED_TO);
/// Events of the folder itself: it is removed or moved.
const GOES: WatchFlags = WatchFlags::DELETE_SELF.union(WatchFlags::MOVE_SELF);

/// Events that are wanted of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FolderEvents {
    /// All events.
    Tree,
    /// Removal of the folder.
    Removal,
    /// Removal of the folder, and changes of the names in it.
    Name,
    /// Changes as in `Name`, and writes to files in the folder.
    File,
}

impl FolderEvents {
    fn flags(self) -> WatchFlags {
        let flags = match self {
            Self::Tree => IN_TREE,
            Self::Removal => GOES,
            Self::Name => NAMED | GOES,
            Self::File => NAMED | GOES | WatchFlags::CLOSE_WRITE,
        };
        // Another interest may need more events of this folder.
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

/// Reason why a folder has no watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAdded {
    /// This folder of the same tree has the watch already: a link leads in a circle, or the folder
    /// was moved.
    Alias(u32),
    /// The kernel refuses.
    Errno(Errno),
}

/// Events in the order in which they were read.
#[derive(Debug, Default)]
pub(super) struct Batch {
    events: Vec<(i32, ReadFlags, usize, usize)>,
    names: Vec<u8>,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Returns the watch, the event, and the name (empty: the folder itself).
    pub(super) fn get(&self, at: usize) -> Option<(i32, ReadFlags, &[u8])> {
        let (wd, flags, from, to) = *self.events.get(at)?;
        Some((wd, flags, self.names.get(from..to)?))
    }
}

impl Kernel {
    /// Creates watches with this descriptor. Without a descriptor, no event is ever reported.
    pub(super) fn new(inotify: Option<Inotify>) -> Self {
        Self { inotify, interests: HashMap::new(), buffer: Vec::new() }
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Watches a folder.
    ///
    /// # Errors
    /// Returns [`Errno::NOSYS`] if there is no descriptor.
    pub(super) fn add(&mut self, path: &Path, wanted: FolderEvents, interest: Interest) -> Result<i32, NotAdded> {
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

    /// Returns the interest at this position of a watch. The caller asks for each separately,
    /// because handling one may change the list.
    pub(super) fn interest(&self, wd: i32, at: usize) -> Option<Interest> {
        self.interests.get(&wd)?.get(at).copied()
    }

    /// Returns true for a watch of a former daemon that no group needs.
    pub(super) fn is_stray(&self, wd: i32) -> bool {
        !self.interests.contains_key(&wd)
    }

    /// Removes a watch.
    pub(super) fn forget(&self, wd: i32) {
        if let Some(inotify) = &self.inotify {
            inotify.forget(wd);
        }
    }

    /// Reads the pending events, as many as fit. Returns false if there were none.
    pub(super) fn read(&mut self, batch: &mut Batch) -> bool {
        const BYTES: usize = 32 << 10;
        batch.events.clear();
        batch.names.clear();
        let Some(inotify) = &self.inotify else { return false };
        self.buffer.resize(BYTES, MaybeUninit::uninit());
        inotify.read_once(&mut self.buffer, |event| {
            let from = batch.names.len();
            batch.names.extend_from_slice(event.name);
            batch.events.push((event.watch, event.flags, from, batch.names.len()));
        });
        if batch.events.is_empty() {
            // Most likely no events come for a while.
            self.buffer = Vec::new();
            *batch = Batch::default();
        }
        !batch.events.is_empty()
    }
}
