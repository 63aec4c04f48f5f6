//! Heartbeats of daemon and keeper, and the kill of a hung process.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use ostler_core::message;
use ostler_proto::control::Request;
use ostler_sys::process::signal::KILL;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};

use crate::client::{self, ClientError};
use crate::error::CliError;
use crate::unresponsive::daemon_of;
pub(super) use crate::unresponsive::keeper_of;

/// Health of daemon and keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Both answer.
    Alive,
    /// The daemon answers, the keeper does not.
    KeeperHangs,
    /// The daemon does not answer.
    DaemonHangs,
    /// No process listens: daemon and keeper are about to start, or have exited.
    Gone,
}

/// Returns a descriptor that becomes readable after this time.
pub(super) fn alarm(after: Duration) -> Result<OwnedFd, CliError> {
    let set = || {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec::try_from(after.max(Duration::from_millis(1))).unwrap_or(never);
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: never, it_value: value })?;
        Ok(timer)
    };
    set().map_err(CliError::system::<rustix::io::Errno>(message!("set a timer")))
}

/// Checks once; takes at most twice this time.
pub(super) fn ask(home: &Path, within: Duration) -> Result<Health, CliError> {
    let ask = |request: Request| -> Result<Option<Health>, CliError> {
        let mut client = match client::connect(home) {
            Ok(client) => client,
            Err(ClientError::NotRunning { .. }) => return Ok(Some(Health::Gone)),
            Err(error) => return Err(error.into()),
        };
        client.interrupt_on(alarm(within)?.as_fd())?;
        // The service itself supervises the daemon.
        client.set_silence_handler(None);
        match client.allow_any_protocol().request(&request, &mut |_| {}) {
            Err(ClientError::Interrupted) => Ok(None),
            // The daemon was just replaced, or has another version: it works.
            _ => Ok(Some(Health::Alive)),
        }
    };
    if let Some(health) = ask(Request::Pulse)? {
        return Ok(health);
    }
    Ok(match ask(Request::Ping)? {
        Some(Health::Alive) => Health::KeeperHangs,
        Some(health) => health,
        None => Health::DaemonHangs,
    })
}

/// Sends SIGKILL to the daemon of a home. Its keeper starts another daemon, which gets the complete
/// state.
pub(super) fn kill_daemon(home: &Path) -> bool {
    let Some(keeper) = keeper_of(home) else { return false };
    let found = daemon_of(home, Some(keeper));
    found.is_some_and(|entry| entry.process().signal(KILL).is_ok())
}

/// Sends SIGKILL to the keeper. The daemon starts another keeper and passes everything to it.
pub(super) fn kill_keeper(home: &Path) -> bool {
    keeper_of(home).is_some_and(|keeper| keeper.signal(KILL).is_ok())
}
