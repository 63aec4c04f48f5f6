//! The home as a place: that it can be reached, and that it is where it was.
//!
//! What is removed from it comes back: the socket by which clients find us, the lock that keeps a second keeper out, the whole folder. A
//! folder that was moved is left where it is (its socket still leads to us) and told of; the keeper refuses to make another in its old place.
//! The kernel tells of changes to these three alone, so nothing wakes us when we write in the home or when nothing happens; a client that
//! finds no socket has the keeper asked by a signal ([`Control::look_at_home`]).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ostler_keeper::{HELD_LOCK, HELD_SOCKET, LOCK_FILE, PID_FILE, SOCKET_FILE};
use ostler_sys::{ProcRef, lock, socket};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::control::Control;
use crate::control::turn::now;
use crate::reactor::{Reactor, Source};

/// Whoever removes the whole folder is not done when the first file is gone.
const SETTLE_MS: u64 = 50;
/// So long it is tried again where somebody else has the lock of a new folder for a moment.
const TRIES: u32 = 100;

/// Device and inode.
type FileId = (u64, u64);

/// What is watched.
#[derive(Debug, Default)]
pub(crate) struct HomeWatch {
    inotify: Option<OwnedFd>,
    /// The folder itself, wherever it is.
    folder: Option<OwnedFd>,
    /// The socket as it lies in the folder.
    socket: Option<FileId>,
    look_at_ms: Option<u64>,
    tries: u32,
    /// Where it was moved to, as was told.
    told: Option<PathBuf>,
}

/// What is the matter with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    Fine,
    /// It is elsewhere, and can be reached there.
    Moved,
    /// Something that belongs into it is missing.
    Incomplete,
    /// It does not exist any more.
    Gone,
}

fn judge(exists: bool, is_complete: bool, is_at_its_place: bool) -> Finding {
    match (exists, is_complete, is_at_its_place) {
        (false, ..) => Finding::Gone,
        (true, false, _) => Finding::Incomplete,
        (true, true, false) => Finding::Moved,
        (true, true, true) => Finding::Fine,
    }
}

fn id_in(folder: &OwnedFd, name: &str) -> Option<FileId> {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

fn id_of(file: impl AsFd) -> Option<FileId> {
    let stat = rustix::fs::fstat(file).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

impl HomeWatch {
    /// When to look although nobody said anything.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.look_at_ms
    }

    fn open(&mut self, home: &Path) {
        self.folder = rustix::fs::open(home, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok();
    }

    /// Where the folder is now; `None` where it does not exist any more.
    fn place(&self) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        // A removed folder has no links, or where the file system does not count them, a name that says so.
        let path = std::fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).ok()?;
        let is_removed = rustix::fs::fstat(folder).is_ok_and(|stat| stat.st_nlink == 0) || path.to_string_lossy().ends_with(" (deleted)");
        (!is_removed).then_some(path)
    }

    /// A path into the folder that is right wherever it is.
    fn within(&self, name: &str) -> Option<PathBuf> {
        Some(PathBuf::from(format!("/proc/self/fd/{}/{name}", self.folder.as_ref()?.as_raw_fd())))
    }

    fn find(&self, home: &Path, lock: &OwnedFd) -> Finding {
        let place = self.place();
        let has = |name, id: Option<FileId>| id.is_some() && self.folder.as_ref().and_then(|folder| id_in(folder, name)) == id;
        let is_complete = has(SOCKET_FILE, self.socket) && has(LOCK_FILE, id_of(lock));
        let is_at_its_place = place.is_some() && home.canonicalize().ok() == place;
        judge(place.is_some(), is_complete, is_at_its_place)
    }

    /// Has the kernel tell of the folder, the socket and the lock as they are now.
    fn follow(&mut self, reactor: &Reactor) {
        if let Some(former) = self.inotify.take() {
            reactor.remove(&former);
        }
        let Some(folder) = self.within("") else { return };
        let Ok(inotify) = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) else { return };
        let of_itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        // What cannot be watched is still looked at when a client asks.
        let _ = add_watch(&inotify, &folder, of_itself | WatchFlags::ONLYDIR);
        for name in [SOCKET_FILE, LOCK_FILE] {
            let _ = add_watch(&inotify, folder.join(name), of_itself | WatchFlags::ATTRIB | WatchFlags::DONT_FOLLOW);
        }
        self.inotify = Some(inotify).filter(|inotify| reactor.add(inotify, Source::Home).is_ok());
    }
}

impl Control {
    /// From now on. What is missing comes back at once.
    pub(crate) fn begin_to_watch_home(&mut self) {
        self.home_watch.open(&self.settings.home);
        // A daemon that died in the moment in which it had made a socket leaves one that nobody listens at.
        let leads_somewhere =
            self.home_watch.within(SOCKET_FILE).is_some_and(|path| !matches!(socket::connect_at(&path), Err(Errno::CONNREFUSED)));
        let folder = self.home_watch.folder.as_ref().filter(|_| leads_somewhere);
        self.home_watch.socket = folder.and_then(|folder| id_in(folder, SOCKET_FILE));
        self.home_watch.follow(&self.reactor);
        self.look_at_home();
    }

    /// The kernel says that something happened to it.
    pub(crate) fn hear_home(&mut self) {
        if let Some(inotify) = &self.home_watch.inotify {
            let mut buffer = [std::mem::MaybeUninit::uninit(); 1024];
            let mut events = Reader::new(inotify, &mut buffer);
            while events.next().is_ok() {}
        }
        self.home_watch.look_at_ms.get_or_insert(now().mono_ms + SETTLE_MS);
        self.home_watch.tries = 0;
    }

    /// Looks again, if that is due.
    pub(crate) fn tick_home(&mut self, now_ms: u64) {
        if self.home_watch.look_at_ms.take_if(|due_ms| *due_ms <= now_ms).is_some() {
            self.look_at_home();
        }
    }

    /// Looks whether clients find us, and sees to it.
    pub(crate) fn look_at_home(&mut self) {
        if self.ending.is_some() {
            return;
        }
        match self.home_watch.find(&self.settings.home, &self.lock) {
            Finding::Fine => {
                if self.home_watch.told.take().is_some() {
                    self.log.line(format_args!("the home is back in its place"));
                }
            }
            Finding::Moved => self.tell_of_move(),
            Finding::Incomplete => self.complete_home(),
            Finding::Gone => {
                self.log.error(format_args!("the home \"{}\" was removed while apps run; making it anew", self.settings.home.display()));
                let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.settings.home);
                self.home_watch.open(&self.settings.home);
                match made {
                    Ok(()) => self.complete_home(),
                    Err(error) => self.try_home_again(format_args!("make the folder: {error}")),
                }
            }
        }
    }

    fn tell_of_move(&mut self) {
        let place = self.home_watch.place();
        if place == self.home_watch.told {
            return;
        }
        if let Some(place) = &place {
            let (home, place) = (self.settings.home.display(), place.display());
            self.log.error(format_args!(
                "the home was moved from \"{home}\" to \"{place}\" while apps run: they go on, but their logs and our state belong to the old \
                 place; move it back, or end them with OSTLER_HOME={place} ostler kill and start them there"
            ));
        }
        self.home_watch.told = place;
    }

    /// Puts back what is missing.
    fn complete_home(&mut self) {
        match self.restore_home() {
            Ok(()) => {
                self.log.line(format_args!("what was removed from the home is back: it can be reached again"));
                self.home_watch.follow(&self.reactor);
                if self.home_watch.find(&self.settings.home, &self.lock) == Finding::Moved {
                    self.tell_of_move();
                }
            }
            Err(why) => self.try_home_again(format_args!("{why}")),
        }
    }

    fn try_home_again(&mut self, why: std::fmt::Arguments<'_>) {
        self.home_watch.tries += 1;
        if self.home_watch.tries < TRIES {
            self.home_watch.look_at_ms = Some(now().mono_ms + SETTLE_MS);
        } else {
            self.log.error(format_args!("the home \"{}\" cannot be put in order: {why}", self.settings.home.display()));
        }
    }

    fn restore_home(&mut self) -> Result<(), String> {
        let within = |name| self.home_watch.within(name).ok_or_else(|| "there is no folder".to_owned());
        let folder = self.home_watch.folder.as_ref().ok_or_else(|| "there is no folder".to_owned())?;
        if id_in(folder, LOCK_FILE) != id_of(&self.lock) {
            let lock = lock::try_lock(&within(LOCK_FILE)?).map_err(|errno| format!("lock {LOCK_FILE}: {}", std::io::Error::from(errno)))?;
            self.lock = lock.ok_or_else(|| format!("somebody else has {LOCK_FILE}"))?;
            self.keeper.hold(HELD_LOCK, self.lock.as_fd());
            // Files of a moment ago are gone with the old lock.
            self.state_file.distrust();
            if let Ok(keeper) = ProcRef::of(self.keeper.pid()) {
                let marked = ostler_keeper::mark_lock(self.lock.as_fd(), keeper);
                let written = std::fs::write(within(PID_FILE)?, keeper.pid.to_string());
                marked.and(written).map_err(|error| format!("write {LOCK_FILE} and {PID_FILE}: {error}"))?;
            }
        }
        if self.home_watch.socket.is_none() || id_in(folder, SOCKET_FILE) != self.home_watch.socket {
            let path = within(SOCKET_FILE)?;
            let listener = socket::listen_at(&path).map_err(|errno| format!("listen at {SOCKET_FILE}: {}", std::io::Error::from(errno)))?;
            self.reactor.remove(&self.listener);
            self.listener = listener.into();
            self.deaf_until_ms = None;
            self.reactor.add(&self.listener, Source::Listener).map_err(|error| format!("watch {SOCKET_FILE}: {error}"))?;
            self.keeper.hold(HELD_SOCKET, self.listener.as_fd());
            self.home_watch.socket = id_in(folder, SOCKET_FILE);
        }
        if self.state_file.needs_rewrite() {
            self.write_state_file();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_matter() {
        let table = [
            ((true, true, true), Finding::Fine),
            ((true, true, false), Finding::Moved),
            ((true, false, true), Finding::Incomplete),
            ((true, false, false), Finding::Incomplete),
            ((false, false, false), Finding::Gone),
            ((false, true, true), Finding::Gone),
        ];
        for ((exists, complete, at_its_place), finding) in table {
            assert_eq!(judge(exists, complete, at_its_place), finding, "{exists} {complete} {at_its_place}");
        }
    }
}
