//! `kill`: stop all apps and the daemon.

use std::time::Duration;

use ostler_keeper::ROLE_VAR;
use ostler_proto::control::Request;
use ostler_sys::process::{ProcRef, is_refusal};
use ostler_sys::tree::marker;

use crate::cli::{Call, CliError, Status};
use crate::cx::Cx;
use crate::render::{Teller, Wording};

/// How long the keeper has to end after its daemon said that all is done.
const KEEPER_END: Duration = Duration::from_secs(5);

/// PM2 differs: when no daemon runs, none is started to be killed.
pub(crate) fn run(cx: &mut Cx, _call: &Call) -> Result<Status, CliError> {
    let home = cx.home()?.to_owned();
    // Apps whose daemon was killed are stopped, too.
    if cx.running_client()?.is_none() && !cx.take_over(&home)? {
        cx.out.warn_err("No process found");
    } else {
        stop_daemon(cx)?;
    }
    let label = cx.program.label();
    cx.out.info("[v] All Applications Stopped");
    cx.out.info(format_args!("[v] {label} Daemon Stopped"));
    Ok(Status::Ok)
}

/// Asks the daemon to stop everything, and waits until the keeper is gone.
pub(super) fn stop_daemon(cx: &mut Cx) -> Result<(), CliError> {
    let (out, client) = cx.parts()?;
    let mut teller = Teller::new(out, Wording::Action);
    client.request(&Request::Kill, &mut |progress| teller.tell(progress))?;
    if let Some(keeper) = client.peer().map(|peer| peer.keeper_pid) {
        wait_for_end(keeper);
    }
    cx.disconnect();
    Ok(())
}

/// For where there are no descriptors of processes.
fn wait_by_looking(keeper: ProcRef) {
    let until = std::time::Instant::now() + KEEPER_END;
    while !keeper.has_ended() && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Waits until the keeper is gone, so that the next command finds a clean home.
pub(crate) fn wait_for_end(pid: i32) {
    let Ok(keeper) = ProcRef::of(pid) else { return };
    // In another pid namespace (a container whose home we see) that number is not the keeper's here.
    if marker(pid, ROLE_VAR).is_none_or(|role| role != b"keeper") {
        return;
    }
    let keeper = match keeper.open() {
        Ok(pidfd) => pidfd,
        Err(errno) if is_refusal(errno) => return wait_by_looking(keeper),
        Err(_) => return,
    };
    let mut fds = [rustix::event::PollFd::new(&keeper, rustix::event::PollFlags::IN)];
    let timeout = rustix::time::Timespec::try_from(KEEPER_END).ok();
    let _ = rustix::event::poll(&mut fds, timeout.as_ref());
}
