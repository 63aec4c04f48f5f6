//! Watch over the home as a place: that it can be reached, and that it is at its path.
//!
//! The daemon restores removed parts of the home. These are the socket by which clients find it,
//! the lock that keeps a second keeper out, the keeper's pid file, and the whole folder. Another
//! manager that had the same home removes the pid file, for example. A folder that was moved stays
//! at its new path, where its socket still works. The daemon logs that; the keeper refuses to make
//! another folder at the old path. The kernel reports only changes of these parts, so the daemon's
//! own writes do not wake it. If a client finds no socket, it sends the keeper a signal, which
//! causes a check ([`HomeWatch::check_home`]).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ostler_keeper::{HELD_LOCK, HELD_SOCKET, LOCK_FILE, PID_FILE, SOCKET_FILE};
use ostler_proto::control::{Request, Response};
use ostler_sys::fs::inotify::{Inotify, WatchFlags};
use ostler_sys::process::signal::HUP;
use ostler_sys::{ProcRef, fs::lock, net::socket};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::engine::{ClientRequest, Ctx, Input, Key};
use crate::platform::reactor::{LISTENER, Reactor, Source};

/// Delay of the check, because the removal of a whole folder takes a moment after the first file.
const SETTLE_MS: u64 = 50;
/// Most attempts if another process holds the lock of a new folder for a moment.
const TRIES: u32 = 100;

/// Device and inode.
type FileId = (u64, u64);

/// State of the watch.
#[derive(Debug, Default)]
pub(crate) struct HomeWatch {
    inotify: Option<Inotify>,
    /// Folder itself, at any path.
    folder: Option<OwnedFd>,
    /// Socket file in the folder.
    socket: Option<FileId>,
    tries: u32,
    /// Path after the last move that was logged.
    reported: Option<PathBuf>,
    /// Whether the file with the keeper's pid is outside the home.
    has_pid_elsewhere: bool,
}

/// State of the home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HomeState {
    Intact,
    /// It is at another path, and can be reached there.
    Moved,
    /// A part of it is missing.
    Incomplete,
    /// The folder does not exist any more.
    Gone,
}

fn judge(exists: bool, is_complete: bool, is_at_its_place: bool) -> HomeState {
    match (exists, is_complete, is_at_its_place) {
        (false, ..) => HomeState::Gone,
        (true, false, _) => HomeState::Incomplete,
        (true, true, false) => HomeState::Moved,
        (true, true, true) => HomeState::Intact,
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
    pub(crate) const NAME: &str = "home";
    const LOOK: Key = (Self::NAME, 0);

    fn open(&mut self, home: &Path) {
        self.folder = rustix::fs::open(home, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok();
    }

    /// Returns the present path of the folder; `None` if it does not exist any more.
    fn place(&self) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        // A removed folder has no links. If the file system does not count links, the name shows
        // the removal.
        let path = std::fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).ok()?;
        let is_removed = rustix::fs::fstat(folder).is_ok_and(|stat| stat.st_nlink == 0) || path.to_string_lossy().ends_with(" (deleted)");
        (!is_removed).then_some(path)
    }

    /// Returns a path into the folder that is valid even if the folder was moved.
    fn within(&self, name: &str) -> Option<PathBuf> {
        Some(PathBuf::from(format!("/proc/self/fd/{}/{name}", self.folder.as_ref()?.as_raw_fd())))
    }

    fn find(&self, home: &Path, lock: &OwnedFd) -> HomeState {
        let place = self.place();
        let has = |name, id: Option<FileId>| id.is_some() && self.folder.as_ref().and_then(|folder| id_in(folder, name)) == id;
        let has_pid = self.has_pid_elsewhere || self.folder.as_ref().is_some_and(|folder| id_in(folder, PID_FILE).is_some());
        let is_complete = has(SOCKET_FILE, self.socket) && has(LOCK_FILE, id_of(lock)) && has_pid;
        let is_at_its_place = place.is_some() && home.canonicalize().ok() == place;
        judge(place.is_some(), is_complete, is_at_its_place)
    }

    /// Watches the folder, the socket and the lock as they are now.
    fn follow(&mut self, reactor: &Reactor) {
        if let Some(former) = self.inotify.take() {
            reactor.remove(&former);
        }
        let Some(folder) = self.within("") else { return };
        let Ok(inotify) = Inotify::new() else { return };
        let of_itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        // Parts that cannot be watched are still checked when a client sends the signal.
        let _ = inotify.watch(&folder, of_itself | WatchFlags::ONLYDIR);
        for name in [SOCKET_FILE, LOCK_FILE, PID_FILE] {
            let _ = inotify.watch(folder.join(name), of_itself | WatchFlags::ATTRIB | WatchFlags::DONT_FOLLOW);
        }
        self.inotify = Some(inotify).filter(|inotify| reactor.add(inotify, Source::Feature(Self::NAME, 0)).is_ok());
    }
}

impl HomeWatch {
    /// Starts the watch, and restores missing parts at once.
    pub(crate) fn on_boot(&mut self, ctx: &mut Ctx) {
        self.open(&ctx.io.settings.home);
        self.has_pid_elsewhere = ctx.io.settings.paths.pid != ctx.io.settings.home.join(PID_FILE);
        // If a daemon died just after it made a socket, no process listens on that socket.
        let leads_somewhere = self.within(SOCKET_FILE).is_some_and(|path| !matches!(socket::connect_at(&path), Err(Errno::CONNREFUSED)));
        let folder = self.folder.as_ref().filter(|_| leads_somewhere);
        self.socket = folder.and_then(|folder| id_in(folder, SOCKET_FILE));
        self.follow(&ctx.io.reactor);
        self.check_home(ctx);
    }

    /// Handles SIGHUP, which a client sends if it does not find the daemon.
    pub(crate) fn on_signal(&mut self, ctx: &mut Ctx, signal: i32) -> bool {
        let is_ours = signal == HUP;
        if is_ours {
            self.check_home(ctx);
        }
        is_ours
    }

    /// Handles a client's report that the settings have changed.
    pub(crate) fn on_client_request(&mut self, ctx: &mut Ctx, ask: ClientRequest) -> Option<ClientRequest> {
        if ask.request != Request::SettingsChanged {
            return Some(ask);
        }
        ctx.outbox.queue.push_back(Input::Settings);
        ctx.reply(ask.client, ask.id, Response::Done { ids: Vec::new() });
        None
    }

    /// Handles a change that the kernel reports.
    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, _key: u64, _writable: bool) {
        if let Some(inotify) = &self.inotify {
            inotify.clear();
        }
        ctx.outbox.timers.set_if_none(Self::LOOK, ctx.now.mono_ms + SETTLE_MS);
        self.tries = 0;
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, _key: u64) {
        self.check_home(ctx);
    }
}

impl HomeWatch {
    /// Checks that clients can reach the daemon, and repairs the home if not.
    fn check_home(&mut self, ctx: &mut Ctx) {
        if ctx.outbox.shutdown.ending.is_some() {
            return;
        }
        match self.find(&ctx.io.settings.home, &ctx.io.lock) {
            HomeState::Intact => {
                if self.reported.take().is_some() {
                    ctx.io.log.line(format_args!("the home is available again"));
                }
            }
            HomeState::Moved => self.log_move(ctx),
            HomeState::Incomplete => self.complete(ctx),
            HomeState::Gone => {
                ctx.io
                    .log
                    .error(format_args!("the home \"{}\" was removed while apps run; creating it again", ctx.io.settings.home.display()));
                let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&ctx.io.settings.home);
                self.open(&ctx.io.settings.home);
                match made {
                    Ok(()) => self.complete(ctx),
                    Err(error) => self.schedule_retry(ctx, format_args!("create the folder: {error}")),
                }
            }
        }
    }

    fn log_move(&mut self, ctx: &mut Ctx) {
        let place = self.place();
        if place == self.reported {
            return;
        }
        if let Some(place) = &place {
            let (home, place) = (ctx.io.settings.home.display(), place.display());
            ctx.io.log.error(format_args!(
                "the home was moved from \"{home}\" to \"{place}\" while apps run. They keep running, but their logs and the daemon's state use the old \
                 place; move it back, or stop them with OSTLER_HOME={place} ostler kill and start them there"
            ));
        }
        self.reported = place;
    }

    /// Restores the missing parts.
    fn complete(&mut self, ctx: &mut Ctx) {
        match self.restore(ctx) {
            Ok(()) => {
                ctx.io.log.line(format_args!("the home is repaired: clients can connect again"));
                self.follow(&ctx.io.reactor);
                match self.find(&ctx.io.settings.home, &ctx.io.lock) {
                    HomeState::Intact => {}
                    HomeState::Moved => self.log_move(ctx),
                    // A part was removed again before it was watched.
                    HomeState::Incomplete | HomeState::Gone => self.schedule_retry(ctx, format_args!("the new home was removed again")),
                }
            }
            Err(why) => self.schedule_retry(ctx, format_args!("{why}")),
        }
    }

    fn schedule_retry(&mut self, ctx: &mut Ctx, why: std::fmt::Arguments<'_>) {
        self.tries += 1;
        if self.tries < TRIES {
            ctx.outbox.timers.set(Self::LOOK, Some(ctx.now.mono_ms + SETTLE_MS));
        } else {
            ctx.io.log.error(format_args!("cannot repair the home \"{}\": {why}", ctx.io.settings.home.display()));
        }
    }

    fn restore(&mut self, ctx: &mut Ctx) -> Result<(), String> {
        let within = |name| self.within(name).ok_or_else(|| "the folder is missing".to_owned());
        let folder = self.folder.as_ref().ok_or_else(|| "the folder is missing".to_owned())?;
        if id_in(folder, LOCK_FILE) != id_of(&ctx.io.lock) {
            let lock = lock::try_lock(&within(LOCK_FILE)?).map_err(|errno| format!("lock {LOCK_FILE}: {}", std::io::Error::from(errno)))?;
            ctx.io.lock = lock.ok_or_else(|| format!("another process has locked {LOCK_FILE}"))?;
            // This comes first, because clients that search for the daemon read it.
            let keeper = ProcRef::of(ctx.io.keeper.pid());
            let marked = keeper.map_or(Ok(()), |keeper| ostler_keeper::mark_lock(ctx.io.lock.as_fd(), keeper));
            ctx.io.keeper.hold(HELD_LOCK, ctx.io.lock.as_fd());
            // The other files were lost together with the old lock.
            ctx.state.state_file.distrust();
            marked.map_err(|error| format!("write {LOCK_FILE}: {error}"))?;
        }
        if !self.has_pid_elsewhere && id_in(folder, PID_FILE).is_none() {
            std::fs::write(within(PID_FILE)?, ctx.io.keeper.pid().to_string()).map_err(|error| format!("write {PID_FILE}: {error}"))?;
        }
        if self.socket.is_none() || id_in(folder, SOCKET_FILE) != self.socket {
            let path = within(SOCKET_FILE)?;
            let listener = socket::listen_at(&path).map_err(|errno| format!("listen at {SOCKET_FILE}: {}", std::io::Error::from(errno)))?;
            ctx.io.reactor.remove(&ctx.io.listener);
            ctx.io.listener = listener.into();
            ctx.io.reactor.add(&ctx.io.listener, LISTENER).map_err(|error| format!("watch {SOCKET_FILE}: {error}"))?;
            ctx.io.keeper.hold(HELD_SOCKET, ctx.io.listener.as_fd());
            self.socket = id_in(folder, SOCKET_FILE);
        }
        if ctx.state.state_file.needs_rewrite() {
            ctx.state.state_file.hurry();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finding_depends_on_the_state_of_the_home() {
        let table = [
            ((true, true, true), HomeState::Intact),
            ((true, true, false), HomeState::Moved),
            ((true, false, true), HomeState::Incomplete),
            ((true, false, false), HomeState::Incomplete),
            ((false, false, false), HomeState::Gone),
            ((false, true, true), HomeState::Gone),
        ];
        for ((exists, complete, at_its_place), finding) in table {
            assert_eq!(judge(exists, complete, at_its_place), finding, "{exists} {complete} {at_its_place}");
        }
    }
}
