//! The keeper's loop: one `epoll` over the link, the signals and the pidfds of adopted processes.
//! It sleeps without a timeout unless a daemon is due to be started, killed or judged.

mod drill;

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ostler_sys::process::ending_by_fd;
use ostler_sys::process::fork::ForkSide;
use ostler_sys::process::signal::{self};
use ostler_sys::{
    ProcRef, Usage, WaitStatus,
    fd::{epoll_wait, fdpass, memfd},
    fs::lock,
    memory,
    net::socket,
    process::{child, oom, rlimit},
    time::clock,
};
use rustix::event::epoll;
use rustix::fs::Mode;
use rustix::io::Errno;

use crate::anchor::{Anchor, Role};
use crate::children::Watch;
use crate::daemon::Daemon;
use crate::daemon::watchdog::DOUBT_SIGNAL;
use crate::environment::{AS_PM2_VAR, CHECK_VAR, HOME_VAR, READY_FD_VAR, STARTER_VAR, STATE_FD_VAR, runtime};
use crate::home::{self, ForeignKeeper};
use crate::keeper::{
    ANSWERS_WAITING, Keeper, OWN_FDS, REST_AFTER_MS, TOKEN_ADOPTED, TOKEN_ANCHOR, TOKEN_DAEMON, TOKEN_DOOR, TOKEN_LINK, TOKEN_SIGNALS,
    adopted_token, complain, duration, ended, exited,
};
use crate::launch::{EXIT_CHECKED, EXIT_LOCKED, READY_FAILED, READY_LISTENING, READY_TAKEN};
use crate::link::message::{Ended, FromKeeper, HELD_JOURNAL, HELD_LOCK, HELD_SOCKET, Originals, STARTER_KEY};
use crate::state::{KeeperState, LOCK_FILE, PID_FILE, SOCKET_FILE, pid_file};
use drill::drill;

/// Returns the process that this process started before it became the keeper.
fn starter() -> Option<ProcRef> {
    let text = std::env::var(STARTER_VAR).ok()?;
    let (pid, start_ticks) = text.split_once(':')?;
    Some(ProcRef { pid: pid.parse().ok()?, start_ticks: start_ticks.parse().ok()? })
}

/// Requests handled before the loop reaps exited children.
const REQUESTS_PER_TURN: usize = 64;
/// OOM score that protects the keeper and the daemon from the out-of-memory killer, if that is
/// allowed. Apps keep their original score.
const OOM_SCORE_ADJ: i32 = -900;

/// Runs the role `keeper` of the binary, which its environment selects (see [`crate::launch`]).
/// Returns only when there is no work left.
pub fn main() -> ExitCode {
    let inherited = |var: &str| fdpass::inherited(std::env::var(var).ok()?.parse().ok()?).ok();
    let started = match inherited(STATE_FD_VAR) {
        Some(fd) => match KeeperState::from_memfd(fd.as_fd()) {
            Ok(_) if std::env::var_os(CHECK_VAR).is_some() => return ExitCode::from(EXIT_CHECKED),
            Ok(state) => Keeper::resume(state),
            Err(error) => Err(io::Error::other(error)),
        },
        None => match Keeper::start(inherited(READY_FD_VAR)) {
            Ok(None) => return ExitCode::from(EXIT_LOCKED),
            Ok(Some(keeper)) => Ok(keeper),
            Err(error) => Err(error),
        },
    };
    match started {
        Ok(keeper) => keeper.run(),
        Err(error) => {
            complain(&format!("cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}

impl Keeper {
    /// Creates a new keeper for the home in the environment, or returns `None` if the home has one
    /// already. Reports the result to `ready`.
    fn start(ready: Option<OwnedFd>) -> io::Result<Option<Self>> {
        let mut ready = ready.map(std::fs::File::from);
        // The other side may have stopped waiting.
        let mut report = |text: &[u8]| ready.take().map(|mut file| file.write_all(text));
        match Self::take_home() {
            // A keeper that cannot start even its first daemon would only block the home.
            Ok(Some(mut keeper)) => match keeper.start_first_daemon() {
                Ok(()) => {
                    report(&[READY_LISTENING]);
                    Ok(Some(keeper))
                }
                Err(error) => {
                    keeper.remove_files();
                    report(&[&[READY_FAILED], error.to_string().as_bytes()].concat());
                    Err(error)
                }
            },
            Ok(None) => {
                report(&[READY_TAKEN]);
                if runtime().is_some() {
                    return Err(io::Error::other("another daemon runs in this home"));
                }
                Ok(None)
            }
            Err(error) => {
                report(&[&[READY_FAILED], error.to_string().as_bytes()].concat());
                Err(error)
            }
        }
    }

    fn take_home() -> io::Result<Option<Self>> {
        let home = PathBuf::from(std::env::var_os(HOME_VAR).ok_or_else(|| io::Error::other(format!("{HOME_VAR} is not set")))?);
        let as_pm2 = std::env::var_os(AS_PM2_VAR).is_some_and(|value| value == "1");
        let at = |what: &'static str, file: &str| {
            let path = home.join(file);
            move |errno: Errno| io::Error::new(errno.kind(), format!("cannot {what} \"{}\": {}", path.display(), io::Error::from(errno)))
        };
        let Some(lock) = lock::try_lock(&home.join(LOCK_FILE)).map_err(at("lock", LOCK_FILE))? else { return Ok(None) };
        if let Some(other) = home::find_other(&home, lock.as_fd()) {
            return Self::yield_home(&other, &home, lock);
        }
        crate::cgroup::leave_group_of_app();
        let originals = Originals {
            umask: rustix::process::umask(Mode::from_raw_mode(0o077)).as_raw_mode(),
            nofile: rlimit::raise_nofile(),
            oom_score_adj: oom::own_score_adj().filter(|&own| own > OOM_SCORE_ADJ && oom::set_own_score_adj(OOM_SCORE_ADJ).is_ok()),
        };
        let listener = socket::listen_at(&home.join(SOCKET_FILE)).map_err(at("listen at", SOCKET_FILE))?;
        let step = |what: &'static str| move |error: io::Error| io::Error::new(error.kind(), format!("cannot {what}: {error}"));
        let journal = memfd::create("ostler-journal").map_err(|errno| step("create the journal")(errno.into()))?;
        let mut keeper = Self::assemble(KeeperState { home: home.clone(), as_pm2, originals, ..KeeperState::default() })
            .map_err(step("set up its event loop"))?;
        for (name, fd) in [(HELD_LOCK, lock), (HELD_SOCKET, listener), (HELD_JOURNAL, journal)] {
            keeper.hold(name.to_owned(), fd).map_err(|errno| step("store its descriptors")(errno.into()))?;
        }
        keeper.mark_lock();
        match keeper.write_pid_file() {
            // A full disk is no reason to leave apps without supervision. Clients also find the
            // keeper through the lock.
            Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) => complain(&format!("cannot write {PID_FILE}: {errno}")),
            written => written.map_err(at("write", PID_FILE))?,
        }
        if let Some(starter) = starter() {
            keeper.children.add(STARTER_KEY, starter, Watch::Reap);
        }
        Ok(Some(keeper))
    }

    /// Leaves the home to another keeper, whose own folder is a different one by now. No keeper
    /// starts here.
    fn yield_home(other: &ForeignKeeper, home: &Path, lock: OwnedFd) -> io::Result<Option<Self>> {
        if matches!(other, ForeignKeeper::Displaced(_)) {
            home::unmake(home);
        }
        drop(lock);
        if other.returns(home) { Ok(None) } else { Err(io::Error::new(io::ErrorKind::AddrInUse, other.refusal(home))) }
    }

    fn mark_lock(&self) {
        let Some(lock) = self.held.get(HELD_LOCK) else { return };
        if let Err(error) = home::mark_lock(lock, ProcRef::me()) {
            complain(&format!("cannot write {LOCK_FILE}: {error}"));
        }
    }

    /// Continues the work of another keeper: ourselves with another binary, or a keeper that was
    /// killed. After a kill, the processes are not our children. We open the living ones here, and
    /// report the exit of the others to the daemon, which still believes them alive.
    fn resume(state: KeeperState) -> io::Result<Self> {
        let held = state.held.clone();
        let children = state.children.clone();
        let daemon = state.daemon;
        let is_revival = daemon.is_some_and(|daemon| !daemon.retire);
        let mut keeper = Self::assemble(state)?;
        for (name, number) in held {
            if keeper.take_over_anchor(&name, number) {
                continue;
            }
            match fdpass::inherited(number) {
                Ok(fd) => keeper.held.take_over(name, fd),
                Err(errno) => complain(&format!("the descriptor \"{name}\" was not inherited: {errno}")),
            }
        }
        for (child, pidfd) in children {
            let process = ProcRef { pid: child.pid, start_ticks: child.start_ticks };
            match (child.ended, pidfd) {
                (Some(ended), _) => keeper.children.add_ended(child.key, process, ended),
                (None, None) if is_revival => match process.open() {
                    Ok(pidfd) => keeper.adopt(child.key, process, pidfd),
                    // A sandbox refuses pidfds, or memory or descriptors are short. A living process that was
                    // reported as exited would be killed and replaced.
                    Err(_) if !process.has_ended() => keeper.adopt_by_looking(child.key, process),
                    Err(_) => keeper.children.add_ended(child.key, process, ended(WaitStatus::Unknown, Usage::default())),
                },
                (None, None) if child::is_own_child(process.pid) => keeper.children.add(child.key, process, Watch::Reap),
                // The former keeper could not get a pidfd, either.
                (None, None) => keeper.adopt_by_looking(child.key, process),
                (None, Some(number)) => match fdpass::inherited(number) {
                    Ok(fd) => keeper.adopt(child.key, process, fd),
                    Err(_) => keeper.children.add_ended(child.key, process, ended(WaitStatus::Unknown, Usage::default())),
                },
            }
        }
        keeper.mark_lock();
        // The file may name an older keeper; without it, only scripts break.
        if let Err(errno) = keeper.write_pid_file() {
            complain(&format!("cannot write {PID_FILE}: {errno}"));
        }
        if let Some(daemon) = daemon {
            keeper.take_over_daemon(daemon);
        }
        if is_revival {
            keeper.send_all_exits();
        }
        Ok(keeper)
    }

    /// Runs until the keeper is asked to exit.
    fn run(mut self) -> ExitCode {
        // Reap the processes that exited before our signals were set up.
        self.reap();
        let mut events: Vec<epoll::Event> = Vec::with_capacity(64);
        let mut resting = false;
        let (mut is_tracked, mut is_drilled) = (false, false);
        loop {
            // Start the anchor before another daemon: that daemon finds it in its inventory, and
            // there is no moment without an anchor.
            if let Role::Anchor(link) = self.supervise_anchor(clock::boot_ms()) {
                return Anchor::from_copy(self, link).run();
            }
            // The first daemon is starting at this point. From here on, the keeper only does its
            // routine work.
            if !std::mem::replace(&mut is_tracked, true) {
                memory::track_use();
            }
            self.handle_time();
            if let Some(code) = self.exiting.filter(|_| matches!(self.daemon, Daemon::Absent { .. })) {
                return self.finish(code);
            }
            self.update_interest();
            self.update_door();
            let due_ms = self.deadline_ms().map(|at| at.saturating_sub(clock::boot_ms()));
            // Wake up once after an event; then nothing wakes the keeper any more.
            let timeout = due_ms.into_iter().chain((!resting).then_some(REST_AFTER_MS)).min().map(duration);
            match epoll_wait::wait(&self.epoll, &mut events, timeout.as_ref()) {
                Ok(()) | Err(Errno::INTR) => {}
                // This can only be a bug of ours. The next turn may succeed, but must not become a
                // busy loop.
                Err(errno) => {
                    complain(&format!("cannot wait: {errno}"));
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
            }
            if !resting && events.is_empty() && due_ms.is_none_or(|due| due > REST_AFTER_MS) {
                // Run the drill now, while no process waits for the keeper.
                if !std::mem::replace(&mut is_drilled, true) && drill(&self) == ForkSide::Child {
                    return ExitCode::SUCCESS;
                }
                memory::rest_locked();
                resting = true;
            } else if !events.is_empty() {
                resting = false;
            }
            for event in &events {
                match event.data.u64() {
                    TOKEN_SIGNALS => self.on_signals(),
                    TOKEN_LINK => self.on_daemon_link(),
                    TOKEN_DAEMON => self.daemon_ended(),
                    TOKEN_DOOR => self.on_clients_waiting(),
                    TOKEN_ANCHOR => self.on_anchor(),
                    token => self.adopted_ended(token),
                }
            }
        }
    }

    fn finish(&self, code: u8) -> ExitCode {
        if let Some(lock) = self.held.get(HELD_LOCK) {
            home::clear_lock(lock);
            // Release it explicitly, because the lock lives as long as any duplicate of it.
            let _ = lock::release(lock);
        }
        ExitCode::from(code)
    }

    /// Removes the files that indicate a running daemon.
    pub(crate) fn remove_files(&self) {
        for path in [self.home.join(SOCKET_FILE), pid_file(&self.home)] {
            // A missing file is fine.
            drop(std::fs::remove_file(path));
        }
    }

    fn write_pid_file(&self) -> Result<(), Errno> {
        let path = pid_file(&self.home);
        let mut temporary = path.clone().into_os_string();
        temporary.push(".new");
        // No fsync: a power cut ends the process, too.
        let write = || {
            std::fs::write(&temporary, std::process::id().to_string())?;
            std::fs::rename(&temporary, &path)
        };
        write().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    /// Returns the time at which the keeper has work even if no event occurs.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let check = self.check.as_ref().map(|check| check.deadline_ms);
        self.daemon.deadline_ms().into_iter().chain(check).chain(self.poll_ms).chain(self.anchor_deadline_ms()).min()
    }

    pub(crate) fn handle_time(&mut self) {
        let now = clock::boot_ms();
        if self.check.as_ref().is_some_and(|check| check.deadline_ms <= now) {
            self.check_took_too_long();
        }
        self.daemon_time(now);
        self.check_daemon(now);
        self.poll_children(now);
    }

    fn on_signals(&mut self) {
        while let Some(received) = self.signals.next() {
            match received.signal {
                signal::CHLD => self.reap(),
                DOUBT_SIGNAL => self.doubt_daemon(),
                signal if (1..64).contains(&signal) => {
                    if !self.daemon.has_link() {
                        self.unsent_signals |= 1 << signal;
                    } else if self.daemon.waiting() < ANSWERS_WAITING {
                        self.send(&FromKeeper::Signal { signal }, &[]);
                    }
                }
                _ => {}
            }
        }
    }

    /// Reaps all exited children.
    pub(crate) fn reap(&mut self) {
        while let Some(reaped) = child::reap_any() {
            if let Some(running) = self.daemon.running_as(reaped.pid) {
                running.life.ending = Some(reaped.ending);
                self.daemon_ended();
            } else if self.check.as_ref().is_some_and(|check| check.pid == reaped.pid) {
                self.checked(reaped.ending);
            } else if !self.anchors.is(reaped.pid) {
                // The anchor's link reports its exit.
                self.ended(reaped.pid, ended(reaped.ending, reaped.usage));
            }
        }
    }

    /// Handles the exit of a process that is not our child.
    pub(crate) fn adopted_ended(&mut self, token: u64) {
        // If an app handed over to this process, we may have become its parent. Then the kernel
        // reports how it exited.
        self.reap();
        let pid = token.checked_sub(TOKEN_ADOPTED).and_then(|pid| i32::try_from(pid).ok());
        let Some((_, process, Some(pidfd))) = pid.and_then(|pid| self.children.alive(pid)) else { return };
        let ending = ending_by_fd(pidfd, process);
        self.unwatch(pidfd);
        self.ended(process.pid, ended(ending, Usage::default()));
    }

    pub(crate) fn ended(&mut self, pid: i32, ended: Ended) {
        self.forget_undead(pid);
        if let Some((_, _, Some(pidfd))) = self.children.alive(pid) {
            self.unwatch(pidfd);
        }
        match self.children.end(pid, ended) {
            Some(key) => self.send(&exited(key, pid, ended), &[]),
            None if self.daemon.waiting() < ANSWERS_WAITING => self.send(&FromKeeper::OrphanExited { pid }, &[]),
            None => {}
        }
    }

    /// Reports every unacknowledged exit.
    fn send_all_exits(&mut self) {
        let ends: Vec<_> = self.children.list().filter_map(|(child, _)| Some((child.key, child.pid, child.ended?))).collect();
        for (key, pid, ended) in ends {
            self.send(&exited(key, pid, ended), &[]);
        }
    }

    /// Watches a process that is not our child. From now on it is reported and handled like a
    /// child.
    pub(crate) fn adopt(&mut self, key: u64, process: ProcRef, pidfd: OwnedFd) {
        match self.watch(pidfd.as_fd(), adopted_token(process.pid)) {
            Ok(()) => self.children.add(key, process, Watch::Pidfd(pidfd)),
            Err(errno) => {
                // `ENOSPC`: the user has too many watches (`/proc/sys/fs/epoll/max_user_watches`).
                complain(&format!("cannot watch process {}, so it is polled: {errno}", process.pid));
                self.adopt_by_looking(key, process);
            }
        }
    }

    pub(crate) fn hold(&mut self, name: String, fd: OwnedFd) -> Result<(), Errno> {
        self.held.hold(name.clone(), fd, self.children.alive_count() + OWN_FDS, self.nofile)?;
        self.update_anchor(&name);
        Ok(())
    }

    pub(crate) fn on_daemon_link(&mut self) {
        for _ in 0..REQUESTS_PER_TURN {
            let Some(received) = self.daemon.receive() else { return };
            match received {
                Ok(Some(packet)) => self.handle(packet),
                Ok(None) => return,
                Err(error) => return self.lost_link(&error),
            }
        }
    }
}
