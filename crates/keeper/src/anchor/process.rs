//! The anchor itself.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ostler_sys::process::exec::{OWN_EXE, replace};
use ostler_sys::process::fork::{ForkSide, fork};
use ostler_sys::process::signal::SignalFd;
use ostler_sys::process::tree::marker;
use ostler_sys::{
    ProcRef, memory,
    net::socket,
    process::{scheduling, title},
    time::clock,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

use super::message::ToAnchor;
use super::{AnchorLink, Role, anchor_of, name_of};
use crate::daemon::respawn::Respawn;
use crate::environment::{DEATHS_VAR, ROLE_VAR, STATE_FD_VAR, for_role};
use crate::home::keeper_of_lock;
use crate::keeper::{Keeper, REST_AFTER_MS, duration};
use crate::link::codec::decode;
use crate::link::message::{HELD_LOCK, Originals};
use crate::link::{Channel, Packet};
use crate::state::{KeeperState, LOCK_FILE};
use crate::title::{anchor_title, keeper_title};

/// Number of attempts to become the keeper when memory or descriptors are short.
const TRIES: u32 = 40;
/// Number of deaths in a row, each at most a second after the previous, after which the anchor
/// gives up. Such a fault is beyond repair from here.
const DEATHS: u32 = 60;
const BETWEEN_TRIES: Duration = Duration::from_millis(250);

/// State of the anchor.
pub(crate) struct Anchor {
    home: PathBuf,
    as_pm2: bool,
    originals: Originals,
    held: BTreeMap<String, OwnedFd>,
    link: Channel,
    armed: bool,
    /// Deaths of daemon and keeper together.
    deaths: Respawn,
    /// Signals that the keeper leaves to the daemon. If a sender signals all processes of the
    /// manager, these two get the signal as well.
    signals: SignalFd,
}

/// Reason why the anchor woke up.
enum WakeReason {
    /// The keeper asked it to exit.
    Dismissed,
    /// Daemon and keeper are gone.
    BothGone,
}

impl Anchor {
    /// Creates the anchor from the keeper's copy and closes everything else in the copy.
    pub(crate) fn from_copy(keeper: Keeper, link: OwnedFd) -> Self {
        let (home, as_pm2, originals, held, deaths, signals) = keeper.into_anchor();
        Self { home, as_pm2, originals, held: held.into_names(), link: Channel::new(link), armed: false, deaths, signals }
    }

    /// Sleeps until the keeper asks it to leave, or until it has to become the keeper.
    pub(crate) fn run(mut self) -> ExitCode {
        // These titles serve people, and programs that look for a keeper.
        let _ = title::set_comm("ostler-anchor");
        let _ = title::disguise(anchor_title(&self.home).as_bytes(), ROLE_VAR, "anchor");
        loop {
            // A signal to the keeper's process group must not reach the anchor.
            let _ = rustix::process::setsid();
            // The keeper announces a channel to us immediately before it starts a process. That
            // start must not wait for us, so we run at batch priority. If the kernel refuses, we
            // only compete a little more.
            let _ = scheduling::set_batch(true);
            let end = self.hold_until_end();
            // Apps must not inherit batch scheduling.
            let _ = scheduling::set_batch(false);
            match end {
                WakeReason::BothGone if self.armed => {}
                // The anchor was not armed: either another anchor is, or the daemon cannot run
                // without its keeper yet.
                WakeReason::Dismissed | WakeReason::BothGone => return ExitCode::SUCCESS,
            }
            match self.become_keeper() {
                Role::Keeper => return ExitCode::FAILURE,
                // This is the next anchor, forked while the former one becomes the keeper.
                Role::Anchor(link) => self.link = Channel::new(link),
            }
        }
    }

    fn hold_until_end(&mut self) -> WakeReason {
        let mut resting = false;
        loop {
            match self.link.recv() {
                Ok(Some(packet)) => {
                    resting = false;
                    if let Some(end) = self.take(packet) {
                        return end;
                    }
                    continue;
                }
                Ok(None) => {}
                // Only a closed link proves that both are gone. A sender of an unknown packet is
                // alive.
                Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => return WakeReason::BothGone,
                Err(_) => return WakeReason::Dismissed,
            }
            let timeout = duration(REST_AFTER_MS);
            match poll(&mut [PollFd::new(&self.link, PollFlags::IN)], (!resting).then_some(&timeout)) {
                Ok(0) => {
                    memory::rest();
                    resting = true;
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => {
                    complain(&format!("cannot wait: {errno}"));
                    std::thread::sleep(BETWEEN_TRIES);
                }
            }
        }
    }

    /// Executes the request in a packet. `Some` means that the anchor's work is over.
    fn take(&mut self, Packet { payload, fds, lost_fds }: Packet) -> Option<WakeReason> {
        match decode::<ToAnchor>(&payload) {
            Ok(ToAnchor::Arm) => self.armed = true,
            Ok(ToAnchor::Hold { names }) if names.len() == fds.len() && !lost_fds => self.held.extend(names.into_iter().zip(fds)),
            Ok(ToAnchor::Release { names }) => names.iter().for_each(|name| drop(self.held.remove(name))),
            Ok(ToAnchor::Leave) => return Some(WakeReason::Dismissed),
            // An anchor that lacks a descriptor is worse than a new one. The keeper starts a new
            // one as soon as we are gone.
            Ok(ToAnchor::Hold { .. }) | Err(_) => return Some(WakeReason::Dismissed),
        }
        None
    }

    /// Becomes the keeper in the same process, with every held descriptor. Children of the former
    /// keeper have lost their supervising parent; the next daemon finds them through the journal.
    ///
    /// A copy of this process stays behind, so that there is no moment without an anchor. In the
    /// copy, this function returns with the copy's end of the link. Otherwise it returns only if
    /// there is nothing to do.
    fn become_keeper(&mut self) -> Role {
        if !self.owns_home() {
            complain("the daemon, the keeper and their home are gone: nothing is restarted");
            return Role::Keeper;
        }
        if self.has_keeper() {
            complain("the link to the keeper is closed, but a keeper runs: the anchor exits");
            return Role::Keeper;
        }
        let delay_ms = self.deaths.died(clock::boot_ms());
        if self.deaths.count() > DEATHS {
            complain("no keeper stays alive; giving up: apps run without supervision until the next command");
            return Role::Keeper;
        }
        complain("daemon and keeper were killed: starting both again");
        std::thread::sleep(Duration::from_millis(delay_ms));
        // Discard old signals: their target was the former daemon.
        while self.signals.next().is_some() {}
        if let Some(link) = self.leave_copy() {
            return Role::Anchor(link);
        }
        for _ in 0..TRIES {
            let Err(errno) = self.replace_by_keeper();
            complain(&format!("cannot become the keeper: {errno}"));
            std::thread::sleep(BETWEEN_TRIES);
        }
        complain("giving up: apps run without supervision until the next command");
        let copy = self.held.iter().find_map(|(name, _)| Some((name.clone(), anchor_of(name)?)));
        if let Some((name, process)) = copy
            && let Some(link) = self.held.remove(&name)
        {
            drop(AnchorLink::of_former(process, link).leave());
        }
        Role::Keeper
    }

    /// Returns true if the home is still ours. The folder may have been removed, or replaced by a
    /// folder that has its own keeper. A home that was moved is still ours.
    fn owns_home(&self) -> bool {
        let lock = self.held.get(HELD_LOCK).and_then(|lock| rustix::fs::fstat(lock).ok());
        let Some(lock) = lock else { return false };
        match rustix::fs::lstat(self.home.join(LOCK_FILE)) {
            Ok(found) => (found.st_dev, found.st_ino) == (lock.st_dev, lock.st_ino),
            Err(_) => lock.st_nlink > 0 || self.home.is_dir(),
        }
    }

    /// Returns true if the home has a keeper. Normally it has none when the anchor has to act; two
    /// keepers in one home would be worse than none. A dying keeper loses its memory, and with it
    /// its environment, before its descriptors.
    fn has_keeper(&self) -> bool {
        let keeper = self.held.get(HELD_LOCK).and_then(|lock| keeper_of_lock(lock.as_fd()));
        keeper.is_some_and(|keeper| marker(keeper.pid, ROLE_VAR).is_some_and(|role| role == b"keeper"))
    }

    /// Forks the next anchor. In the new process the function returns with its end of the link. The
    /// other end becomes one of the held descriptors of the keeper that we become, as if a former
    /// keeper had left it.
    fn leave_copy(&mut self) -> Option<OwnedFd> {
        self.held.retain(|name, _| anchor_of(name).is_none());
        // If this fails, no anchor exists until the keeper starts one.
        let (ours, theirs) = socket::packet_pair().ok()?;
        match fork().ok()? {
            ForkSide::Child => return Some(theirs),
            ForkSide::Parent(pid) => drop(ProcRef::of(pid).map(|anchor| self.held.insert(name_of(anchor), ours))),
        }
        None
    }

    fn replace_by_keeper(&self) -> Result<std::convert::Infallible, Errno> {
        let number = |fd: &OwnedFd| fd.as_raw_fd();
        let state = KeeperState {
            home: self.home.clone(),
            as_pm2: self.as_pm2,
            originals: self.originals,
            held: self.held.iter().map(|(name, fd)| (name.clone(), number(fd))).collect(),
            ..KeeperState::default()
        };
        let memory = state.to_memfd()?;
        for fd in self.held.values().chain([&memory]) {
            fcntl_setfd(fd.as_fd(), FdFlags::empty())?;
        }
        let (state_fd, deaths) = (number(&memory).to_string(), self.deaths.to_text());
        let vars = [(ROLE_VAR, "keeper"), (STATE_FD_VAR, state_fd.as_str()), (DEATHS_VAR, deaths.as_str())];
        let envp = for_role(&self.home, self.as_pm2, &vars, |_| true);
        let argv = [keeper_title(&self.home, self.as_pm2)].into_iter().collect();
        Err(replace(OWN_EXE, &argv, &envp))
    }
}

fn complain(text: &str) {
    let line = format!("ostler anchor: {text}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}
