//! What the kernel tells: one inotify descriptor for everything that is watched, and who is interested in which of its watches.
//!
//! The same folder has one watch, however many apps look at it.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use ostler_sys::inotify::{Inotify, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// Why somebody looks at a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// It is part of a watched tree.
    Tree {
        /// Whose.
        group: u32,
        /// Which folder of the tree.
        node: u32,
    },
    /// It leads to something that is watched.
    Way {
        /// Whose.
        group: u32,
        /// To which of its roots.
        root: usize,
        /// Which step.
        step: usize,
    },
}

/// What happens in a folder of a tree. Files count when they are written and closed: never half of one.
const IN_TREE: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);
/// A name on the way appears or goes.
const NAMED: WatchFlags = WatchFlags::CREATE.union(WatchFlags::DELETE).union(WatchFlags::MOVED_FROM).union(WatchFlags::MOVED_TO);
/// The folder itself goes.
const GOES: WatchFlags = WatchFlags::DELETE_SELF.union(WatchFlags::MOVE_SELF);

/// How much of a folder on the way is of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Everything.
    Tree,
    /// That it goes.
    Itself,
    /// That a name in it appears or goes.
    Name,
    /// That, and writing to it.
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

/// The descriptor and its watches.
#[derive(Debug)]
pub(super) struct Kernel {
    inotify: Option<Inotify>,
    interests: HashMap<i32, Vec<Interest>>,
    buffer: Vec<MaybeUninit<u8>>,
}

/// Why there is no watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAdded {
    /// That folder of the same tree is this one: a link leads in a circle, or it was moved.
    Alias(u32),
    /// The kernel says no.
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

    /// Watch, what happened, and the name (empty: the folder itself).
    pub(super) fn get(&self, at: usize) -> Option<(i32, ReadFlags, &[u8])> {
        let (wd, flags, from, to) = *self.events.get(at)?;
        Some((wd, flags, self.names.get(from..to)?))
    }
}

impl Kernel {
    /// Without a descriptor, nothing is ever told.
    pub(super) fn new(inotify: Option<Inotify>) -> Self {
        Self { inotify, interests: HashMap::new(), buffer: Vec::new() }
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Looks at a folder.
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

    /// Nobody looks for this reason any more.
    pub(super) fn release(&mut self, wd: i32, interest: Interest) {
        let Some(interests) = self.interests.get_mut(&wd) else { return };
        interests.retain(|known| *known != interest);
        if interests.is_empty() {
            self.interests.remove(&wd);
            self.forget(wd);
        }
    }

    /// The kernel has ended this watch.
    pub(super) fn ended(&mut self, wd: i32) -> Vec<Interest> {
        self.interests.remove(&wd).unwrap_or_default()
    }

    /// Who looks at it; one after the other, because each may change this.
    pub(super) fn interest(&self, wd: i32, at: usize) -> Option<Interest> {
        self.interests.get(&wd)?.get(at).copied()
    }

    /// A watch of a former daemon that nobody needs.
    pub(super) fn is_stray(&self, wd: i32) -> bool {
        !self.interests.contains_key(&wd)
    }

    /// Ends a watch.
    pub(super) fn forget(&self, wd: i32) {
        if let Some(inotify) = &self.inotify {
            inotify.forget(wd);
        }
    }

    /// What has happened since, as much as is read at once. False: there was nothing.
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
