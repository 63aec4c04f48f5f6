//! Process 1 of a container, for commands that are not designed for it: `logs`, `start --attach`,
//! `monit`.
//!
//! The kernel gives process 1 no default actions: a SIGTERM without a handler is lost, and the
//! container engine kills the container some seconds later. The command therefore runs in a child,
//! where signals act as anywhere else. Process 1 passes signals on and reaps orphans. If it was
//! asked to stop, it also stops the apps of a daemon in this container. Otherwise the kernel would
//! kill them together with process 1.

use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use ostler_core::message;
use ostler_keeper::{HOME_VAR, ROLE_VAR};
use ostler_sys::process::ProcRef;
use ostler_sys::process::child::{self, Reaped};
use ostler_sys::process::signal::{CHLD, HUP, INT, QUIT, SignalFd, TERM};
use ostler_sys::process::tree::marker;
use ostler_sys::{WaitStatus, process::exec};
use rustix::event::{PollFd, PollFlags, poll};

use crate::cli::{Call, DaemonUse};
use crate::cx::Cx;
use crate::error::CliError;

/// Commands that handle signals themselves.
const HANDLE_SIGNALS: [&str; 4] = ["runtime", "service", "dev", "up"];

/// Returns true if this is process 1 and the command has to run in a child.
pub(crate) fn needs_child(call: &Call) -> bool {
    std::process::id() == 1 && !call.has("no-daemon") && !HANDLE_SIGNALS.contains(&call.command.name)
}

/// Runs this call in a child. Returns its exit code; for a signal the code is 128 plus its number,
/// as in a shell.
///
/// # Errors
/// Returns an error if the child cannot be started.
pub(crate) fn run(cx: &mut Cx) -> Result<u8, CliError> {
    let failed = |what, source: std::io::Error| CliError::system(what)(source);
    let mut words = std::env::args_os();
    let mut command = Command::new(exec::OWN_EXE.to_string_lossy().as_ref());
    words.next().into_iter().for_each(|name| _ = command.arg0(name));
    let child = command.args(words).spawn().map_err(|error| failed(message!("start a process"), error))?;
    // Signals are blocked only after the start, because the child would inherit the blocked
    // signals.
    let signals = SignalFd::new(&[HUP, INT, QUIT, TERM, CHLD]).map_err(|errno| failed(message!("receive signals"), errno.into()))?;
    let (code, is_asked) = wait(child.id().cast_signed(), &signals);
    if is_asked {
        // Without a daemon no app must be stopped. A daemon that does not answer is killed together
        // with the container.
        let _ = stop_apps(cx);
    }
    Ok(code)
}

/// Passes signals on until the child has exited. Returns its exit code, and whether this process
/// was asked to stop.
fn wait(pid: i32, signals: &SignalFd) -> (u8, bool) {
    let process = ProcRef::of(pid);
    let mut is_asked = false;
    loop {
        while let Some(received) = signals.next() {
            if received.signal != CHLD {
                is_asked = true;
                // A child that has just exited receives no signal.
                let _ = process.as_ref().map(|process| process.signal(received.signal));
            }
        }
        while let Some(Reaped { pid: ended, ending, .. }) = child::reap_any() {
            if ended == pid {
                return (code_of(ending), is_asked);
            }
        }
        let _ = poll(&mut [PollFd::new(&signals.as_fd(), PollFlags::IN)], None);
    }
}

fn code_of(ending: WaitStatus) -> u8 {
    match ending {
        WaitStatus::Code(code) => u8::try_from(code).unwrap_or(1),
        WaitStatus::Signal { signal, .. } => u8::try_from(128 + signal).unwrap_or(1),
        _ => 1,
    }
}

/// Stops the apps and the daemon of the home, if the daemon runs in this container.
fn stop_apps(cx: &mut Cx) -> Result<(), CliError> {
    cx.needs = DaemonUse::Unused;
    let home = cx.home()?.to_owned();
    let Some(client) = cx.running_client()? else { return Ok(()) };
    client.list()?;
    let keeper = client.peer().map_or(0, |peer| peer.keeper_pid);
    let is = |name: &str, value: &[u8]| marker(keeper, name).is_some_and(|found| found == value);
    if is(ROLE_VAR, b"keeper") && is(HOME_VAR, home.as_os_str().as_encoded_bytes()) {
        cx.stop_daemon()?;
    }
    Ok(())
}
