//! Loop of the main process.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use ostler_keeper::SOCKET_FILE;
use ostler_sys::process::ProcRef;
use ostler_sys::process::exec::replace;
use ostler_sys::process::signal::{CHLD, HUP, INT, SignalFd, TERM, USR1};
use ostler_sys::{CStrings, memory, process::child};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::credentials;
use super::job::{self, Unit};
use super::notify::Notify;
use super::start::{TakeoverMode, replace_hung, start_service};
use super::watch::{self, Health};
use super::{node_versions, stop};
use crate::cx::Cx;
use crate::error::{CliError, Status};
use ostler_core::message;
use ostler_core::text::causes::with_causes;

/// Heartbeats within the period that the service manager allows.
const BEATS: u32 = 3;
/// Longest search for the pid of a new keeper.
const KEEPER_TIMEOUT: Duration = Duration::from_secs(10);
/// Word on the command line: only the main process was replaced.
pub(crate) const AGAIN: &str = "again";

/// Next action of the loop.
enum NextAction {
    /// Exit, and leave keeper, daemon and apps running.
    Leave,
    /// Stop everything.
    Stop,
    /// Become the installed program.
    Reexec,
    /// The keeper has exited.
    KeeperExited,
}

/// Runs until the service stops. `unit`: its name in the service manager, if that is systemd.
///
/// # Errors
/// Returns an error if the start or stop failed; running apps keep running.
pub(crate) fn run(cx: &mut Cx, unit: Option<&str>, of_user: bool, mode: TakeoverMode) -> Result<Status, CliError> {
    let failed = |errno: rustix::io::Errno| CliError::system(message!("receive signals"))(errno);
    node_versions::enter_present();
    let unit = unit.map(|name| Unit { name: name.to_owned(), of_user });
    let notify = Notify::from_env();
    let signals = SignalFd::new(&[HUP, INT, USR1, TERM, CHLD]).map_err(failed)?;
    // The title only helps users.
    let _ = ostler_sys::process::title::set_comm("ostler-service");
    let home = cx.home()?.to_owned();
    let mut main = MainProcess { home: &home, beat: notify.watchdog.map(|period| period / BEATS), notify, signals };
    let status = match start_service(cx, mode, unit.as_ref()) {
        // After a failed start, the keeper and daemon that this call started are stopped.
        Err(error) if cx.launched.is_some() => {
            drop(stop::stop(cx, &home, &main.notify));
            return Err(error);
        }
        begun => begun?,
    };
    // `start_service` has just checked daemon and keeper, so this message is a heartbeat, too.
    main.notify.send(&format!("READY=1\nWATCHDOG=1\nSTATUS={}", super::notify::one_line(&status)));
    loop {
        cx.disconnect();
        memory::rest();
        let keeper = main.keeper(cx)?;
        match main.wait_beating(cx, keeper.as_ref())? {
            NextAction::Leave => return Ok(Status::Ok),
            NextAction::Stop if main.is_restart(unit.as_ref()) => {
                cx.out.info(message!("the service is restarted: apps keep running"));
                return Ok(Status::Ok);
            }
            NextAction::Stop => return stop::stop(cx, &home, &main.notify).map(|()| Status::Ok),
            NextAction::Reexec => main.reexec(cx),
            NextAction::KeeperExited if !home.join(SOCKET_FILE).exists() => {
                cx.out.info(message!("all apps were stopped, the service exits"));
                credentials::withdraw(&home);
                return Ok(Status::Ok);
            }
            NextAction::KeeperExited => main.notify.status(&start_service(cx, TakeoverMode::Keep, None)?),
        }
        cx.out.flush();
    }
}

struct MainProcess<'a> {
    home: &'a Path,
    notify: Notify,
    beat: Option<Duration>,
    signals: SignalFd,
}

impl MainProcess<'_> {
    /// Returns the current keeper. If a keeper was just killed, its successor appears soon.
    fn keeper(&self, cx: &mut Cx) -> Result<Option<OwnedFd>, CliError> {
        let until = Instant::now() + KEEPER_TIMEOUT;
        loop {
            let pidfd = match cx.running_client()? {
                None => return Ok(None),
                Some(client) => {
                    // The next heartbeat detects a hung process.
                    client.interrupt_on(watch::alarm(KEEPER_TIMEOUT)?.as_fd())?;
                    client.allow_any_protocol().request(&ostler_proto::control::Request::Ping, &mut |_| {})?;
                    client.peer().and_then(|peer| ProcRef::of(peer.keeper_pid).and_then(|keeper| keeper.open()).ok())
                }
            };
            cx.disconnect();
            if pidfd.is_some() || Instant::now() > until {
                return Ok(pidfd);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns true for a restart. The check may take a while, and this must not reduce the time
    /// for the apps.
    fn is_restart(&self, unit: Option<&Unit>) -> bool {
        stop::extend(&self.notify, KEEPER_TIMEOUT * 2);
        unit.is_some_and(job::is_restart)
    }

    fn wait_beating(&mut self, cx: &mut Cx, keeper: Option<&OwnedFd>) -> Result<NextAction, CliError> {
        let Some(keeper) = keeper else { return Ok(NextAction::KeeperExited) };
        loop {
            match self.wait(keeper)? {
                Some(next) => return Ok(next),
                // If the heartbeat replaced a keeper, the next wait notices it.
                None => self.beat(cx)?,
            }
        }
    }

    /// Waits. Returns none if it is time for a heartbeat.
    fn wait(&mut self, keeper: &OwnedFd) -> Result<Option<NextAction>, CliError> {
        let due = self.beat.map(|beat| Instant::now() + beat);
        loop {
            while let Some(received) = self.signals.next() {
                match received.signal {
                    CHLD => while child::reap_any().is_some() {},
                    HUP => return Ok(Some(NextAction::Reexec)),
                    USR1 => return Ok(Some(NextAction::Leave)),
                    _ => return Ok(Some(NextAction::Stop)),
                }
            }
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let mut fds = [PollFd::new(&self.signals, PollFlags::IN), PollFd::new(keeper, PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) if !fds[0].revents().is_empty() => {}
                Ok(_) if !fds[1].revents().is_empty() => return Ok(Some(NextAction::KeeperExited)),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(CliError::system(message!("wait"))(errno)),
            }
        }
    }

    /// Checks daemon and keeper, and replaces a hung one. The service manager gets a heartbeat only
    /// if both are healthy afterwards.
    fn beat(&self, cx: &mut Cx) -> Result<(), CliError> {
        let within = self.beat.unwrap_or(KEEPER_TIMEOUT) / 2;
        for _ in 0..BEATS {
            match watch::ask(self.home, within)? {
                // The loop notices the keeper's exit in another way.
                Health::Alive | Health::Gone => {
                    self.notify.send("WATCHDOG=1");
                    return Ok(());
                }
                health => replace_hung(cx, self.home, health),
            };
        }
        Ok(())
    }

    /// Becomes the program that is installed now. If that fails, nothing changes.
    fn reexec(&self, cx: &mut Cx) {
        let mut words: Vec<_> = std::env::args_os().filter(|word| word != AGAIN).collect();
        words.push(AGAIN.into());
        let exe = words.first().map(std::path::PathBuf::from).filter(|path| path.is_absolute() && path.is_file());
        let Some(exe) = exe.or_else(|| std::env::current_exe().ok()) else { return };
        let argv = words.iter().filter_map(|word| node_versions::c_string(word.as_encoded_bytes())).collect::<CStrings>();
        let Some(program) = node_versions::c_string(exe.as_os_str().as_encoded_bytes()) else { return };
        cx.out.flush();
        let errno = replace(&program, &argv, &node_versions::environment(None));
        cx.out.error(message!("cannot become {path}: {error}", path = exe.display(), error = with_causes(&std::io::Error::from(errno))));
    }
}
