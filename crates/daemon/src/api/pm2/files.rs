//! Watch over the socket files. The daemon recreates a file that was removed. If another manager's
//! socket occupied the path, the daemon takes the path over when that manager has exited.

use std::path::Path;

use ostler_sys::fs::inotify::{Inotify, WatchFlags};
use rustix::fs::{AtFlags, CWD};

use crate::platform::reactor::{Reactor, Source};

/// Device and inode.
type FileId = (u64, u64);

/// Watch and identities of the files, in the order of the sockets.
#[derive(Debug, Default)]
pub(super) struct Files {
    inotify: Option<Inotify>,
    ids: [Option<FileId>; 2],
}

fn id_at(path: &Path) -> Option<FileId> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

impl Files {
    /// Records that the file at this path is ours.
    pub(super) fn note(&mut self, number: usize, path: &Path) {
        if let Some(id) = self.ids.get_mut(number) {
            *id = id_at(path);
        }
    }

    /// Returns true if the file at this path is the recorded file.
    pub(super) fn is_recorded(&self, number: usize, path: &Path) -> bool {
        self.ids.get(number).is_some_and(|id| id.is_some() && *id == id_at(path))
    }

    /// Watches the files that are at these paths now.
    pub(super) fn follow(&mut self, paths: [&Path; 2], reactor: &Reactor, source: Source) {
        if let Some(former) = self.inotify.take() {
            reactor.remove(&former);
        }
        let Ok(inotify) = Inotify::new() else { return };
        let of_itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ATTRIB | WatchFlags::DONT_FOLLOW;
        for path in paths {
            let _ = inotify.watch(path, of_itself);
        }
        self.inotify = Some(inotify).filter(|inotify| reactor.add(inotify, source).is_ok());
    }

    /// Discards pending notifications of the kernel.
    pub(super) fn clear(&self) {
        if let Some(inotify) = &self.inotify {
            inotify.clear();
        }
    }
}
