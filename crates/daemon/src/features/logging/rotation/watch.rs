//! Watches of folders that fire once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ostler_sys::fs::inotify::{Inotify, WatchFlags};

use crate::platform::reactor::{Reactor, Source};

/// Bit of a folder in which something was written.
const FIRED: u64 = 0;

/// Folders that are watched now.
#[derive(Debug, Default)]
pub(super) struct Watch {
    inotify: Option<Inotify>,
    armed: BTreeMap<i32, PathBuf>,
}

impl Watch {
    /// Arms the watch. The next write in this folder, or the folder's removal, wakes the daemon.
    ///
    /// # Errors
    /// Returns an error if the folder does not exist or the kernel gives no more watches.
    pub(super) fn arm(&mut self, folder: &Path, reactor: &Reactor) -> std::io::Result<()> {
        if self.inotify.is_none() {
            let inotify = Inotify::new()?;
            reactor.add(&inotify, Source::Feature(super::Rotation::NAME, FIRED))?;
            self.inotify = Some(inotify);
        }
        let Some(inotify) = &self.inotify else { return Ok(()) };
        let flags = WatchFlags::MODIFY | WatchFlags::DELETE_SELF | WatchFlags::ONLYDIR | WatchFlags::ONESHOT;
        let number = inotify.watch(folder, flags)?;
        self.armed.insert(number, folder.to_owned());
        Ok(())
    }

    /// Returns the folders that had a write since they were armed. They are not watched any more.
    pub(super) fn fired(&mut self) -> Vec<PathBuf> {
        let Some(inotify) = &self.inotify else { return Vec::new() };
        let mut fired = Vec::new();
        // A watch that the kernel removed is handled in the same way. Two paths to one folder share
        // a number.
        inotify.read(|event| fired.extend(self.armed.remove(&event.watch)));
        fired
    }
}
