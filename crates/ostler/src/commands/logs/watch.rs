//! Who tells when a file has changed: inotify, or the clock where that is not to be had.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// Watches files and the folders they are in.
pub(super) struct Watch {
    fd: Option<OwnedFd>,
    folders: HashMap<i32, ()>,
    /// Something could not be watched: look at everything from time to time.
    pub blind: bool,
}

impl Watch {
    pub(super) fn new() -> Self {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        Self { blind: fd.is_none(), fd, folders: HashMap::new() }
    }

    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(|fd| fd.as_fd())
    }

    /// Wakes when something is made in, or moved to, the folder of this file.
    pub(super) fn folder_of(&mut self, path: &Path) {
        let folder = path.parent().unwrap_or(Path::new("/"));
        match self.add(folder, WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR) {
            Ok(wd) => drop(self.folders.insert(wd, ())),
            Err(_) => self.blind = true,
        }
    }

    /// Wakes when this open file is changed, whatever it is called by now.
    pub(super) fn file(&mut self, file: &std::fs::File) {
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
        if self.add(Path::new(&path), WatchFlags::MODIFY).is_err() {
            self.blind = true;
        }
    }

    fn add(&self, path: &Path, flags: WatchFlags) -> io::Result<i32> {
        let fd = self.fd.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        Ok(inotify::add_watch(fd, path, flags)?)
    }

    /// Takes the news. Which file it was is not asked: looking at all of them costs one `fstat` each. True if something may have been made.
    pub(super) fn drain(&self) -> bool {
        let Some(fd) = &self.fd else { return true };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(fd, &mut buffer);
        let mut made = false;
        while let Ok(event) = reader.next() {
            made |= event.wd() < 0 || self.folders.contains_key(&event.wd());
        }
        made
    }
}
