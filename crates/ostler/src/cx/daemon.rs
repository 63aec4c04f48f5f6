//! Stop of a daemon, and its replacement by another, as commands wait for it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ostler_core::{marked, message};
use ostler_keeper::ROLE_VAR;
use ostler_proto::control::{Request, Response};
use ostler_sys::process::tree::marker;
use ostler_sys::process::{ProcRef, is_refusal};

use super::Cx;
use crate::client::{self, Client, ClientError, VERSION};
use crate::error::CliError;
use crate::render::Wording;
use crate::unresponsive::keeper_fault;

/// Time within which the new daemon has to answer.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time within which the keeper has to exit after the daemon has confirmed the stop.
const KEEPER_EXIT_TIMEOUT: Duration = Duration::from_secs(5);

impl Cx {
    /// Replaces keeper and daemon with this program. Returns the version of the new daemon, or none
    /// if no daemon was running.
    pub(crate) fn replace_daemon(&mut self) -> Result<Option<String>, CliError> {
        let exe = text(own_path()?)?;
        self.replace_daemon_by(exe)
    }

    /// Replaces keeper and daemon with the program at this path. Returns the version of the new
    /// daemon, or none if no daemon was running.
    ///
    /// # Errors
    /// Returns the daemon's error, or an error if no new daemon answers.
    pub(crate) fn replace_daemon_by(&mut self, exe: String) -> Result<Option<String>, CliError> {
        let Some(client) = self.running_client()? else { return Ok(None) };
        client.allow_any_protocol().request(&Request::Update { exe }, &mut |_| {})?;
        let old = client.peer().map(|peer| peer.pid);
        self.disconnect();
        let home = self.home()?.to_owned();
        wait_for_successor(&home, old).map(Some)
    }

    /// Asks the daemon to stop everything, and waits until the keeper has exited.
    pub(crate) fn stop_daemon(&mut self) -> Result<(), CliError> {
        self.request(&Request::Kill, Wording::Action)?;
        let keeper = self.client()?.peer().map(|peer| peer.keeper_pid);
        self.disconnect();
        keeper.map_or(Ok(()), wait_for_exit)
    }
}

/// Returns the path of this program's file, without links.
///
/// # Errors
/// Returns an error if the file no longer exists.
pub(crate) fn own_path() -> Result<PathBuf, CliError> {
    let exe = std::env::current_exe().map_err(|source| CliError::File { what: marked!("find"), path: message!("this program"), source })?;
    if !exe.is_file() {
        return Err(CliError::ProgramGone(exe));
    }
    Ok(exe)
}

/// Returns a path as text.
///
/// # Errors
/// Returns an error if the path is not UTF-8.
pub(crate) fn text(exe: PathBuf) -> Result<String, CliError> {
    exe.into_os_string().into_string().map_err(|path| CliError::NotText { what: marked!("the path of this program"), path })
}

/// Waits for the successor. The keeper holds the socket, so a connection waits until a daemon
/// accepts it. The old daemon may still accept the first one.
fn wait_for_successor(home: &std::path::Path, old: Option<i32>) -> Result<String, CliError> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let last = match client::connect(home).map_err(CliError::from).and_then(ping) {
            Ok((pid, version)) if Some(pid) != old => return Ok(version),
            Ok(_) => CliError::OldDaemon(READY_TIMEOUT.as_secs()),
            Err(error) => error,
        };
        if Instant::now() >= deadline {
            return Err(last);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ping(mut client: Client) -> Result<(i32, String), CliError> {
    let Response::Pong = client.allow_any_protocol().request(&Request::Ping, &mut |_| {})? else {
        return Err(ClientError::Unexpected.into());
    };
    Ok(client.peer().map_or((0, VERSION.to_owned()), |peer| (peer.pid, peer.version.clone())))
}

/// Waits by polling, on kernels without process descriptors.
fn wait_by_looking(keeper: ProcRef) {
    let until = std::time::Instant::now() + KEEPER_EXIT_TIMEOUT;
    while !keeper.has_ended() && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Waits until the keeper has exited, so that the next command finds a clean home.
///
/// # Errors
/// Returns an error if the keeper still runs after some seconds.
pub(crate) fn wait_for_exit(pid: i32) -> Result<(), CliError> {
    let Ok(keeper) = ProcRef::of(pid) else { return Ok(()) };
    // In another pid namespace (a container whose home is visible here), this pid does not belong
    // to the keeper.
    if marker(pid, ROLE_VAR).is_none_or(|role| role != b"keeper") {
        return Ok(());
    }
    match keeper.open() {
        Ok(pidfd) => {
            let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
            let timeout = rustix::time::Timespec::try_from(KEEPER_EXIT_TIMEOUT).ok();
            let _ = rustix::event::poll(&mut fds, timeout.as_ref());
        }
        Err(errno) if is_refusal(errno) => wait_by_looking(keeper),
        Err(_) => {}
    }
    if keeper.has_ended() {
        return Ok(());
    }
    let seconds = KEEPER_EXIT_TIMEOUT.as_secs();
    let problem = message!("all apps were stopped, but the keeper (pid {pid}) has not exited within {seconds} s", pid, seconds);
    let text = match keeper_fault(pid) {
        None => problem,
        Some(fault) => message!("{problem}: {reason}; hint: {hint}", problem, reason = fault.found, hint = fault.remedy),
    };
    Err(ClientError::Silent(text).into())
}
